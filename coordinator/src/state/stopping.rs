//! Taking the last snapshot of a run, whose job is to stop, or to begin anew with another spec, or
//! whose tasks have all ended.
//!
//! Received from: [`super::Running`]. Handed to: the end, or to [`super::resolving`]. Invariant: a
//! job is finished only when its final snapshot is committed.

use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::time::Timestamp;

use super::{State, resolving, waiting};
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
}

#[derive(Debug)]
enum Step {
    Taking(Snapshot),
    Paused { until: Timestamp },
}

impl Stopping {
    pub(super) fn enter(ctx: &mut Context, purpose: Purpose) -> State {
        match purpose {
            Purpose::Suspend => ctx.status.phase = Phase::Suspending,
            Purpose::Edit => ctx.take_next(),
            Purpose::Drain | Purpose::Final | Purpose::Periodic => {}
        }
        let step = Step::Taking(Snapshot::start(ctx, purpose));
        State::Stopping(Self { purpose, attempts: 1, step })
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

    pub(super) fn on(self, ctx: &mut Context, event: &Event) -> State {
        let Self { purpose, mut attempts, step } = self;
        let step = match step {
            Step::Taking(snapshot) => match snapshot.on(ctx, event) {
                Progress::Going(snapshot) => Step::Taking(snapshot),
                Progress::Failed(failure) => return ctx.fail(failure),
                Progress::Done if purpose == Purpose::Edit && ctx.stop.is_none() => {
                    return begin_anew(ctx);
                }
                Progress::Done if purpose == Purpose::Drain && ctx.stop.is_none() => {
                    return let_go(ctx);
                }
                Progress::Done => return ctx.end(outcome(purpose)),
                // A job that has ended has nothing better to do than to try again, unless it is to
                // stop.
                Progress::Aborted if ctx.stop.is_some() && attempts >= ATTEMPTS_MAX => {
                    return ctx.end(Outcome::Suspended { snapshot: false });
                }
                // Whoever leaves does so with or without a snapshot.
                Progress::Aborted if purpose == Purpose::Drain && attempts >= ATTEMPTS_MAX => {
                    return let_go(ctx);
                }
                Progress::Aborted if purpose == Purpose::Edit && attempts >= ATTEMPTS_MAX => {
                    let reason = ctx.status.snapshot_failure.as_deref().unwrap_or_default();
                    let message = format!("no snapshot before an edit of the job: {reason}");
                    return ctx.fail(Failure::new(ErrorKind::Unavailable, message));
                }
                Progress::Aborted => Step::Paused { until: ctx.now.after(ATTEMPT_PAUSE) },
            },
            Step::Paused { until } if ctx.now >= until => {
                attempts += 1;
                Step::Taking(Snapshot::start(ctx, purpose))
            }
            paused @ Step::Paused { .. } => paused,
        };
        State::Stopping(Self { purpose, attempts, step })
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

/// Workers that are about to end have no tasks any more, and end. The job goes on as soon as
/// others are there in their place.
fn let_go(ctx: &mut Context) -> State {
    ctx.drop_tasks();
    ctx.status.phase = Phase::Pending;
    waiting::enter(ctx)
}

fn outcome(purpose: Purpose) -> Outcome {
    match purpose {
        Purpose::Final => Outcome::Finished { already: false },
        Purpose::Suspend | Purpose::Edit | Purpose::Drain | Purpose::Periodic => {
            Outcome::Suspended { snapshot: true }
        }
    }
}
