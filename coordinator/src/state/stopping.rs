//! Taking the last snapshot of a run, whose job is to stop, or to begin anew with another spec, or
//! whose tasks have all ended.
//!
//! Received from: [`super::Running`], or [`super::deploying`] where an earlier run has published
//! the final one. Handed to: the end, or to [`super::resolving`]; back to
//! [`super::Running`] where an edit gets no snapshot. Invariants: a job is finished only when its
//! final snapshot is committed; none begins anew for an edit without one.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_protocol::id::WorkerIndex;
use millstream_protocol::session::Report;
use millstream_protocol::time::Timestamp;

use super::{Running, State, resolving, waiting};
use crate::context::Context;
use crate::machine::{Event, Outcome};
use crate::snapshot::{Progress, Purpose, Snapshot};
use crate::status::Phase;

/// So often a stop tries to take a last snapshot; then it stops without. The job resumes from the
/// one before and makes nothing visible twice.
const ATTEMPTS_MAX: u32 = 3;
/// Between two attempts.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

/// The last snapshot is being taken.
#[derive(Debug)]
pub(crate) struct Stopping {
    purpose: Purpose,
    attempts: u32,
    step: Step,
    /// Workers all of whose tasks have ended.
    finished: BTreeSet<WorkerIndex>,
    /// A sink is running out of room, and says so once.
    wanted: bool,
}

#[derive(Debug)]
enum Step {
    Taking(Snapshot),
    Paused { until: Timestamp },
}

impl Stopping {
    pub(super) fn enter(
        ctx: &mut Context,
        purpose: Purpose,
        finished: BTreeSet<WorkerIndex>,
    ) -> State {
        match purpose {
            Purpose::Suspend => ctx.status.phase = Phase::Suspending,
            Purpose::Edit => ctx.take_next(),
            Purpose::Drain | Purpose::Final | Purpose::Periodic => {}
        }
        let step = Step::Taking(Snapshot::start(ctx, purpose));
        State::Stopping(Self { purpose, attempts: 1, step, finished, wanted: false })
    }

    /// The final snapshot is there, by an earlier run; what is old goes.
    pub(super) fn clear_up(ctx: &mut Context) -> State {
        match Snapshot::clear_up(ctx) {
            Progress::Going(snapshot) => State::Stopping(Self {
                purpose: Purpose::Final,
                attempts: 1,
                step: Step::Taking(snapshot),
                finished: BTreeSet::new(),
                wanted: false,
            }),
            Progress::Failed(failure) => ctx.fail(failure),
            Progress::Done | Progress::Aborted => ctx.end(Outcome::Finished { already: false }),
        }
    }

    /// Where it stands, for the table of all states and events.
    #[cfg(test)]
    pub(super) fn step(&self) -> String {
        let step = match &self.step {
            Step::Taking(snapshot) => snapshot.step(),
            Step::Paused { .. } => "paused",
        };
        format!("for {:?}, {step}", self.purpose)
    }

    pub(super) fn wake_at(&self) -> Timestamp {
        match &self.step {
            Step::Taking(snapshot) => snapshot.wake_at(),
            Step::Paused { until } => *until,
        }
    }

    pub(super) fn on(mut self, ctx: &mut Context, event: &Event) -> State {
        match event {
            Event::Report(worker, Report::Finished { run }) if *run == ctx.reign().run => {
                self.finished.insert(*worker);
            }
            Event::Report(_, Report::SnapshotWanted { run }) if *run == ctx.reign().run => {
                self.wanted = true;
            }
            _ => {}
        }
        match std::mem::replace(&mut self.step, Step::Paused { until: ctx.now }) {
            Step::Taking(snapshot) => match snapshot.on(ctx, event) {
                Progress::Going(snapshot) => self.going(ctx, snapshot),
                Progress::Failed(failure) => ctx.fail(failure),
                Progress::Done => self.done(ctx),
                Progress::Aborted => self.aborted(ctx),
            },
            Step::Paused { until } if ctx.now >= until => {
                self.attempts += 1;
                let snapshot = Snapshot::start(ctx, self.purpose);
                self.at(Step::Taking(snapshot))
            }
            paused @ Step::Paused { .. } => self.at(paused),
        }
    }

    fn at(mut self, step: Step) -> State {
        self.step = step;
        State::Stopping(self)
    }

    /// Whether the job has nothing to stop for but an edit, and goes on where that cannot be.
    fn may_go_on(&self, ctx: &Context) -> bool {
        self.purpose == Purpose::Edit && ctx.stop.is_none()
    }

    fn going(self, ctx: &mut Context, snapshot: Snapshot) -> State {
        // The parts are there, and the store takes no entry: that may last.
        if self.may_go_on(ctx) && ctx.status.log_failure.is_some() {
            return Running::after_all(ctx, Some(snapshot), self.finished, self.wanted);
        }
        self.at(Step::Taking(snapshot))
    }

    fn done(self, ctx: &mut Context) -> State {
        match self.purpose {
            Purpose::Edit if ctx.stop.is_none() => begin_anew(ctx),
            Purpose::Drain if ctx.stop.is_none() => waiting::let_go(ctx),
            // This one was under way when it was asked for.
            Purpose::Edit | Purpose::Drain if ctx.savepoint.is_some() => {
                Self::enter(ctx, Purpose::Suspend, self.finished)
            }
            Purpose::Final => ctx.end(Outcome::Finished { already: false }),
            Purpose::Suspend | Purpose::Edit | Purpose::Drain | Purpose::Periodic => {
                ctx.end(Outcome::Suspended { snapshot: true })
            }
        }
    }

    fn aborted(self, ctx: &mut Context) -> State {
        if self.may_go_on(ctx) {
            return Running::after_all(ctx, None, self.finished, self.wanted);
        }
        let is_last = self.attempts >= ATTEMPTS_MAX;
        match self.purpose {
            // A job that has ended has nothing better to do than to try again, unless it is to
            // stop.
            _ if is_last && ctx.stop.is_some() => ctx.end(Outcome::Suspended { snapshot: false }),
            // Whoever leaves does so with or without a snapshot.
            Purpose::Drain if is_last => waiting::let_go(ctx),
            _ => {
                let until = ctx.now.after(ATTEMPT_PAUSE);
                self.at(Step::Paused { until })
            }
        }
    }
}

/// All output is visible, and the tasks have nothing left to do: the next spec takes the place of
/// the one in force.
fn begin_anew(ctx: &mut Context) -> State {
    ctx.drop_tasks();
    ctx.adopt();
    match ctx.agreed() {
        Some(Ok(())) => resolving::from_memory(ctx),
        // One of them was lost meanwhile.
        Some(Err(_)) | None => waiting::enter(ctx),
    }
}
