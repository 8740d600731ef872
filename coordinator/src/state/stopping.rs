//! Taking the last snapshot, of a job that is to stop or whose tasks have all ended.
//!
//! Received from: [`super::Running`]. Handed to: the end. Invariant: a job is finished only when
//! its final snapshot is committed.

use std::time::Duration;

use millstream_protocol::time::Timestamp;

use super::State;
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
        if purpose == Purpose::Suspend {
            ctx.status.phase = Phase::Suspending;
        }
        let step = Step::Taking(Snapshot::start(ctx, purpose));
        State::Stopping(Self { purpose, attempts: 1, step })
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
                Progress::Done => return ctx.end(outcome(purpose, true)),
                // A job that has ended has nothing better to do than to try again.
                Progress::Aborted if purpose == Purpose::Suspend && attempts >= ATTEMPTS_MAX => {
                    return ctx.end(outcome(purpose, false));
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

fn outcome(purpose: Purpose, snapshot: bool) -> Outcome {
    match purpose {
        Purpose::Final => Outcome::Finished { already: false },
        Purpose::Suspend | Purpose::Periodic => Outcome::Suspended { snapshot },
    }
}
