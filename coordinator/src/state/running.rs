//! Processing, with a snapshot at every interval.
//!
//! Received from: [`super::Deploying`]. Handed to: [`Stopping`]. Invariant: at most one epoch is in
//! flight, until all its output is visible.

use std::collections::BTreeSet;

use millstream_protocol::error_kind::Failure;
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::session::{Command, Report};
use millstream_protocol::time::Timestamp;

use super::{State, Stopping, resolving};
use crate::context::Context;
use crate::edit::Readiness;
use crate::machine::Event;
use crate::savepoint::Wanted;
use crate::snapshot::{Progress, Purpose, Snapshot};
use crate::status::Phase;

/// The job processes.
#[derive(Debug)]
pub(crate) struct Running {
    epoch: Option<Snapshot>,
    /// When the last epoch began, or the run.
    last_start: Timestamp,
    /// Whether a snapshot is asked for.
    wanted: bool,
    /// Workers all of whose tasks have ended.
    finished: BTreeSet<WorkerIndex>,
}

impl Running {
    pub(super) fn enter(ctx: &mut Context) -> State {
        Self::go_on(ctx, None, BTreeSet::new(), false)
    }

    /// With a snapshot that is not yet committed, workers whose tasks have ended, and whether a
    /// snapshot is asked for.
    pub(super) fn go_on(
        ctx: &mut Context,
        epoch: Option<Snapshot>,
        finished: BTreeSet<WorkerIndex>,
        wanted: bool,
    ) -> State {
        ctx.status.phase = Phase::Running;
        ctx.mended(|last| &mut last.running_at);
        ctx.status.workers = ctx.config.spec.workers;
        ctx.editing = None;
        ctx.status.stood =
            ctx.still_since.take().map(|since| ctx.now.since(since)).or(ctx.status.stood);
        ctx.edit_later();
        ctx.running_since = Some(ctx.now);
        let last_start = ctx.now;
        State::Running(Self { epoch, last_start, wanted, finished })
    }

    /// Where it stands, for the table of all states and events.
    #[cfg(test)]
    pub(super) fn step(&self) -> &'static str {
        self.epoch.as_ref().map_or("", Snapshot::step)
    }

    fn due(&self, ctx: &Context) -> Timestamp {
        self.last_start.after(ctx.config.spec.snapshots.interval.0)
    }

    /// Whether the slot behind our last entry turns out to be taken while we append nothing there.
    fn overtaken(&self, ctx: &mut Context, event: &Event) -> Option<Failure> {
        let Event::Report(_, Report::Slot { seq, content: Ok(Some(_)) }) = event else {
            return None;
        };
        let ours = self.epoch.is_some() || *seq != ctx.reign().last.next();
        (!ours).then(|| ctx.superseded(*seq))
    }

    pub(super) fn wake_at(&self, ctx: &Context) -> Timestamp {
        // Once it is due, each event may bring what it still waits for.
        let edit = ctx.edit_due().filter(|due| *due > ctx.now);
        let due = if self.wanted { ctx.now } else { self.due(ctx) };
        let due = || edit.map_or(due, |edit| edit.min(due));
        self.epoch.as_ref().map_or_else(due, Snapshot::wake_at)
    }

    pub(super) fn on(mut self, ctx: &mut Context, event: &Event) -> State {
        match event {
            Event::Report(worker, Report::Finished { run }) if *run == ctx.reign().run => {
                self.finished.insert(*worker);
            }
            Event::Report(_, Report::SnapshotWanted { run }) if *run == ctx.reign().run => {
                self.wanted = true;
            }
            Event::Snapshot => self.wanted = true,
            _ => {}
        }
        if let Some(failure) = self.overtaken(ctx, event) {
            return ctx.fail(failure);
        }
        if let Some(epoch) = self.epoch.take() {
            match epoch.on(ctx, event) {
                Progress::Going(epoch) => {
                    self.epoch = Some(epoch);
                    return State::Running(self);
                }
                Progress::Done => {}
                Progress::Aborted => {
                    // Perhaps a newer run took away what this one had pending: then the next slot
                    // is taken, and an aborted epoch, which appends nothing, never finds out.
                    let seq = ctx.reign().last.next();
                    ctx.send(ctx.leader(), Command::ReadEntry { seq });
                }
                Progress::Failed(failure) => return ctx.fail(failure),
            }
        }
        if self.finished.len() == ctx.indexes().count() {
            return Stopping::enter(ctx, Purpose::Final);
        }
        if ctx.stop.is_some() {
            return Stopping::enter(ctx, Purpose::Suspend);
        }
        if ctx.indexes().any(|worker| ctx.workers[worker.0 as usize].leaving) {
            return Stopping::enter(ctx, Purpose::Drain);
        }
        if takes_edit(ctx) {
            return Stopping::enter(ctx, Purpose::Edit);
        }
        if self.wanted || ctx.savepoint.is_some_and(Wanted::is_new) || ctx.now >= self.due(ctx) {
            self.wanted = false;
            self.last_start = ctx.now;
            self.epoch = Some(Snapshot::start(ctx, Purpose::Periodic));
        }
        State::Running(self)
    }
}

/// Whether the job is to be stopped now for the next spec, which is refused here if it cannot be.
fn takes_edit(ctx: &mut Context) -> bool {
    if ctx.edit_due().is_none_or(|due| ctx.now < due) {
        return false;
    }
    let failure = match ctx.readiness() {
        Readiness::Not => return false,
        Readiness::Never(failure) => failure,
        Readiness::Ready => match resolving::refuses_next(ctx) {
            Some(failure) => failure,
            None => return true,
        },
    };
    ctx.refuse_next(failure);
    false
}
