//! Taking over a run whose tasks go on, after the coordinator before this one has gone.
//!
//! Received from: [`super::Claiming`], a claim of the same run in the next term. Handed to:
//! [`Running`]. Invariants: no entry of an earlier term can follow the claim in the log; what was
//! published before it is committed again before anything else is.
//!
//! # Flow
//! Adopt to all -> all say where they stand -> tell what is published, and that every epoch that
//! is not in the log is aborted -> commit the newest snapshot -> go on.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::session::{Command, Report};
use millstream_protocol::time::Timestamp;

use super::{Running, State};
use crate::context::Context;
use crate::history::History;
use crate::machine::Event;
use crate::snapshot::Snapshot;
use crate::status::{Phase, Restored};

/// How long a worker may take to say where its tasks stand: it looks at its own memory.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The workers are being asked where they stand.
#[derive(Debug)]
pub(crate) struct Adopting {
    missing: BTreeSet<WorkerIndex>,
    ended: BTreeSet<WorkerIndex>,
    /// A sink is running out of room, and says so once.
    wanted: bool,
    /// The last barrier that a worker had seen was a stopping one.
    stopping: bool,
    until: Timestamp,
}

/// Whether the run that the log ends with still goes on, on all workers, just as a new one would.
pub(super) fn is_possible(ctx: &Context, history: &History) -> bool {
    let Some((_, claim)) = history.in_force().next_back() else { return false };
    if claim.run != history.highest_run() {
        return false;
    }
    let goes_on = |index: WorkerIndex| {
        let worker = &ctx.workers[index.0 as usize];
        worker.going.as_ref().is_some_and(|going| {
            going.run == claim.run
                && going.lineage == claim.lineage
                && going.started
                && going.plan == ctx.facts().plan
                && ctx.is_like(&going.spec)
        })
    };
    ctx.indexes().all(goes_on)
}

/// What the run that goes on began with, as its first claim says.
fn began_with(ctx: &Context) -> Option<Restored> {
    let (_, claim) = ctx.history.in_force().next_back()?;
    let seq = claim.base?;
    // What retention has overwritten since has its epoch still.
    let epoch = ctx.history.entry(seq)?.epoch()?;
    Some(Restored { from: ctx.config.prefix.snapshot_uri(seq), epoch, at: claim.at })
}

impl Adopting {
    pub(super) fn enter(ctx: &mut Context) -> State {
        let (run, term) = (ctx.reign().run, ctx.reign().term);
        ctx.send_all(&Command::Adopt { run, term });
        let (missing, until) = (ctx.indexes().collect(), ctx.now.after(ADOPT_TIMEOUT));
        let goings = ctx.workers.iter().filter_map(|worker| worker.going.as_ref());
        let stopping = goings.into_iter().any(|going| going.stopping);
        // They run all the time.
        ctx.status.phase = Phase::Running;
        ctx.status.restored = began_with(ctx);
        State::Adopting(Self { missing, ended: BTreeSet::new(), wanted: false, stopping, until })
    }

    pub(super) fn wake_at(&self) -> Timestamp {
        self.until
    }

    pub(super) fn on(mut self, ctx: &mut Context, event: &Event) -> State {
        match event {
            Event::Report(worker, Report::Adopted { run, term, epoch, ended })
                if (*run, *term) == (ctx.reign().run, ctx.reign().term) =>
            {
                self.missing.remove(worker);
                if *ended {
                    self.ended.insert(*worker);
                }
                let reign = ctx.reign();
                reign.epoch = reign.epoch.max(*epoch);
            }
            // It has said where it stands, and went on: it says this once.
            Event::Report(worker, Report::Finished { run }) if *run == ctx.reign().run => {
                self.ended.insert(*worker);
            }
            Event::Report(_, Report::SnapshotWanted { run }) if *run == ctx.reign().run => {
                self.wanted = true;
            }
            Event::Snapshot => self.wanted = true,
            _ => {}
        }
        match self.missing.first() {
            None => self.go_on(ctx),
            Some(worker) if ctx.now >= self.until => {
                let message = format!("worker {worker} does not say where its tasks stand");
                ctx.fail(Failure::new(ErrorKind::Unavailable, message))
            }
            Some(_) => State::Adopting(self),
        }
    }

    fn go_on(self, ctx: &mut Context) -> State {
        let (run, epoch, parent) = (ctx.reign().run, ctx.reign().epoch, ctx.reign().parent);
        let manifest = parent.and_then(|seq| Some((seq, ctx.history.manifest(seq)?.clone())));
        let own = manifest.filter(|(_, manifest)| manifest.run == run);
        let published = own.as_ref().map(|(_, manifest)| manifest.epoch);
        if epoch > published.unwrap_or_default() {
            ctx.send_all(&Command::Abort { run, epoch });
        }
        // Where they were to stop: whoever wanted that says so again.
        if self.stopping {
            ctx.send_all(&Command::GoOn { run });
        }
        let snapshot = own.map(|(seq, manifest)| Snapshot::again(ctx, seq, &manifest));
        Running::go_on(ctx, snapshot.flatten(), self.ended, self.wanted)
    }
}
