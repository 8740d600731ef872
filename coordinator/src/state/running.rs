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
        ctx.running_since = Some(ctx.now);
        Self::goes_on(ctx, epoch, finished, wanted)
    }

    /// The tasks were to stop and go on instead, for want of a snapshot, or of the mark behind it.
    pub(super) fn after_all(
        ctx: &mut Context,
        epoch: Option<Snapshot>,
        finished: BTreeSet<WorkerIndex>,
        wanted: bool,
    ) -> State {
        let run = ctx.reign().run;
        ctx.send_all(&Command::GoOn { run });
        ctx.give_next_back();
        ctx.status.phase = Phase::Running;
        Self::goes_on(ctx, epoch, finished, wanted)
    }

    fn goes_on(
        ctx: &mut Context,
        epoch: Option<Snapshot>,
        finished: BTreeSet<WorkerIndex>,
        wanted: bool,
    ) -> State {
        ctx.edit_later();
        let last_start = ctx.now;
        Self { epoch, last_start, wanted, finished }.next(ctx)
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
        let due = || if self.wanted { ctx.now } else { self.due(ctx) };
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
                Progress::Going(epoch) => self.epoch = Some(epoch),
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
        self.next(ctx)
    }

    /// What is to be done now.
    fn next(mut self, ctx: &mut Context) -> State {
        let is_held = ctx.holds_next();
        if self.epoch.is_some() {
            return State::Running(self);
        }
        if self.finished.len() == ctx.indexes().count() {
            return self.stop(ctx, Purpose::Final);
        }
        if ctx.stop.is_some() {
            return self.stop(ctx, Purpose::Suspend);
        }
        if ctx.is_left() {
            return self.stop(ctx, Purpose::Drain);
        }
        if !is_held && takes_edit(ctx) {
            return self.stop(ctx, Purpose::Edit);
        }
        self.epoch = Snapshot::let_go(ctx);
        if self.epoch.is_some() {
            return State::Running(self);
        }
        if self.wanted || ctx.savepoint.is_some_and(Wanted::is_new) || ctx.now >= self.due(ctx) {
            self.wanted = false;
            self.last_start = ctx.now;
            self.epoch = Some(Snapshot::start(ctx, Purpose::Periodic));
        }
        State::Running(self)
    }

    fn stop(self, ctx: &mut Context, purpose: Purpose) -> State {
        Stopping::enter(ctx, purpose, self.finished)
    }
}

/// Whether the job is to be stopped now for the next spec, which is refused here if it cannot be.
fn takes_edit(ctx: &mut Context) -> bool {
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
