//! [`Waits`]: what a job is doing that somebody waits for, in words.
//!
//! Part of [`crate::desk`]: whoever asked for something is told of it, once each time that it
//! changes. Invariant: there is something to say every second, so that a run that hangs is told
//! from one that waits.

use std::fmt::Write as _;
use std::time::Duration;

use millstream_coordinator::status::{Phase, Status};
use millstream_dataflow::clock::{Clock, SystemClock};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::control::{Answer, Ask};

/// How often there is something to say.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Who waits for less is not told what for: most of what is asked is done by then.
const TELL_AFTER: Duration = Duration::from_secs(2);
/// What changes more often than this is told of less often: a job may restart every second.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What a job is doing that somebody waits for.
pub(super) struct Waits {
    ask: Ask,
    status: watch::Receiver<Status>,
    clock: SystemClock,
    look: Interval,
    told: Option<String>,
    /// When the next thing may be told.
    due_ns: u64,
}

impl Waits {
    pub(super) fn new(ask: Ask, status: watch::Receiver<Status>) -> Self {
        let clock = SystemClock::new();
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let due_ns = clock.monotonic_ns().saturating_add(TELL_AFTER.as_nanos() as u64);
        Self { ask, status, clock, look, told: None, due_ns }
    }

    /// The next thing to say, at the next second.
    pub(super) async fn next(&mut self) -> Answer {
        self.look.tick().await;
        let now = self.clock.monotonic_ns();
        if now < self.due_ns {
            return Answer::Heard;
        }
        let text = waits(&self.ask, &self.status.borrow());
        if self.told.as_ref() == Some(&text) {
            return Answer::Heard;
        }
        self.due_ns = now.saturating_add(TELL_EVERY.as_nanos() as u64);
        self.told = Some(text.clone());
        Answer::Note(text)
    }
}

fn waits(ask: &Ask, status: &Status) -> String {
    let restarts = status.restarts;
    let does = match status.phase {
        Phase::Pending if restarts > 0 => {
            format!("restarts (attempt {restarts}), and waits for its workers or its store")
        }
        Phase::Pending => "waits for its workers or its store".to_owned(),
        Phase::Starting => "starts".to_owned(),
        Phase::Restoring => "restores its state".to_owned(),
        Phase::Running => match ask {
            Ask::Scale { .. } => "runs; it moves as soon as its new workers are ready".to_owned(),
            Ask::Savepoint | Ask::Stop { .. } => "runs, and is to take a snapshot".to_owned(),
        },
        Phase::Rescaling => "moves to another number of workers".to_owned(),
        Phase::Upgrading => "moves to another program or settings".to_owned(),
        Phase::Suspending => "takes its last snapshot".to_owned(),
        Phase::Restarting => format!("failed, and is to restart (attempt {restarts})"),
        Phase::Suspended | Phase::Finished | Phase::Failed => "ends".to_owned(),
    };
    let mut text = format!("still waiting: the job {does}");
    // What was mended is not what is waited for.
    let last = status.last_failure.as_ref().filter(|last| last.running_at.is_none());
    if let Some(last) = last {
        let _ = write!(text, "; it failed last because {}", last.failure.message);
    }
    if let Some(reason) = &status.snapshot_failure {
        let _ = write!(text, "; its last snapshot failed: {reason}");
    }
    if let Some(failure) = &status.log_failure {
        let _ = write!(text, "; {failure}");
    }
    text
}

#[cfg(test)]
mod tests {
    use millstream_coordinator::status::FailureStatus;
    use millstream_protocol::error_kind::{ErrorKind, Failure};
    use millstream_protocol::time::Timestamp;

    use super::*;

    fn failed(reason: &str) -> Status {
        let failure = Failure::new(ErrorKind::Unavailable, reason);
        Status {
            phase: Phase::Restarting,
            restarts: 3,
            last_failure: Some(FailureStatus::new(failure, Timestamp(0))),
            ..Status::default()
        }
    }

    #[test]
    fn what_is_waited_for_is_said_with_the_failure_that_is_not_mended() {
        let status = failed("worker 1 is lost");
        let said = "still waiting: the job failed, and is to restart (attempt 3); it failed last \
                    because worker 1 is lost";
        assert_eq!(waits(&Ask::Savepoint, &status), said);
        let mut last = status.last_failure.clone().unwrap();
        last.running_at = Some(Timestamp(1));
        let status = Status {
            phase: Phase::Running,
            last_failure: Some(last),
            snapshot_failure: Some("worker 0: the disk is full".to_owned()),
            ..status
        };
        let said = "still waiting: the job runs, and is to take a snapshot; its last snapshot \
                    failed: worker 0: the disk is full";
        assert_eq!(waits(&Ask::Stop { savepoint: true }, &status), said);
    }

    #[tokio::test]
    async fn it_is_told_after_a_while_and_again_when_it_changes() {
        let (tell, status) = watch::channel(failed("one"));
        let mut waits = Waits::new(Ask::Savepoint, status);
        waits.look = interval(Duration::from_millis(1));
        assert_eq!(waits.next().await, Answer::Heard);
        let note = |answer: Answer| match answer {
            Answer::Note(text) => text,
            other => panic!("{other:?}"),
        };
        waits.due_ns = 0;
        assert!(note(waits.next().await).ends_with("because one"));
        waits.due_ns = 0;
        assert_eq!(waits.next().await, Answer::Heard);
        tell.send_replace(failed("two"));
        assert!(note(waits.next().await).ends_with("because two"));
        tell.send_replace(failed("three"));
        assert_eq!(waits.next().await, Answer::Heard, "not every second");
    }
}
