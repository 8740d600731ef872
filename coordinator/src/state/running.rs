//! Processing, with a snapshot at every interval.
//!
//! Received from: [`super::Deploying`]. Handed to: [`Stopping`]. Invariant: at most one epoch is in
//! flight, until all its output is visible.

use std::collections::BTreeSet;

use millstream_protocol::error_kind::Failure;
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::session::{Command, Report};
use millstream_protocol::time::Timestamp;

use super::{State, Stopping};
use crate::context::Context;
use crate::machine::Event;
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
        ctx.status.phase = Phase::Running;
        ctx.running_since = Some(ctx.now);
        let last_start = ctx.now;
        State::Running(Self { epoch: None, last_start, wanted: false, finished: BTreeSet::new() })
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
        self.epoch.as_ref().map_or_else(|| self.due(ctx), Snapshot::wake_at)
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
        if self.finished.len() == ctx.workers.len() {
            return Stopping::enter(ctx, Purpose::Final);
        }
        if ctx.stop.is_some() {
            return Stopping::enter(ctx, Purpose::Suspend);
        }
        if self.wanted || ctx.now >= self.due(ctx) {
            self.wanted = false;
            self.last_start = ctx.now;
            self.epoch = Some(Snapshot::start(ctx, Purpose::Periodic));
        }
        State::Running(self)
    }
}
