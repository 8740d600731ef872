//! How a run ends and what comes next: another attempt, or the end of the job.
//!
//! Received from: the states. Handed to: the restarting state, or the driver. Invariant: the kind
//! of a failure is looked at here and nowhere else.

use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::Seq;
use millstream_protocol::session::Command;
use millstream_protocol::time::Timestamp;

use crate::context::Context;
use crate::machine::{Action, Outcome};
use crate::state::State;
use crate::status::{FailureStatus, Phase};

/// How long the store is waited for once the job is to stop. Kubernetes kills what has not ended
/// 30 s after it was told to: who gives up before can still say why.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(20);

impl Context {
    /// The one place where the kind of a failure decides what comes next.
    pub(crate) fn fail(&mut self, mut failure: Failure) -> State {
        let kind = failure.kind;
        if self.is_completing && matches!(kind, ErrorKind::Invalid | ErrorKind::Corrupt) {
            failure.message = format!(
                "output of the newest snapshot may not be visible yet, and must be before the job \
                 can begin from something else: {}. Where that cannot be mended, only {} is left, \
                 which gives up every snapshot of the job and whatever of that output is not \
                 visible",
                failure.message,
                self.config.deletion()
            );
        }
        self.status.last_failure = Some(FailureStatus::new(failure.clone(), self.now));
        match kind {
            ErrorKind::Fenced => self.end(Outcome::Fenced(failure)),
            ErrorKind::Invalid | ErrorKind::Corrupt => self.end(Outcome::Failed(failure)),
            // A job that does not run takes a stop at once.
            ErrorKind::User | ErrorKind::Unavailable | ErrorKind::Bug if self.stop.is_some() => {
                self.end(Outcome::Suspended { snapshot: false })
            }
            ErrorKind::User | ErrorKind::Unavailable | ErrorKind::Bug => self.restart(),
        }
    }

    /// A step back from the last failure is done; one that was done before stays as it was.
    pub(crate) fn mended(&mut self, step: impl Fn(&mut FailureStatus) -> &mut Option<Timestamp>) {
        let now = self.now;
        if let Some(last) = self.status.last_failure.as_mut().filter(|it| it.running_at.is_none()) {
            step(last).get_or_insert(now);
        }
    }

    /// Until when the store is waited for: for so long, or for less where the job is to stop.
    pub(crate) fn patience(&self, while_it_runs: Duration) -> Timestamp {
        let patience = match self.stop {
            Some(_) => while_it_runs.min(PATIENCE_AT_STOP),
            None => while_it_runs,
        };
        self.now.after(patience)
    }

    /// Somebody else's entry stands in the log, where only a newer run can have put it.
    pub(crate) fn superseded(&self, seq: Seq) -> Failure {
        let message = format!(
            "a newer run of this job owns it now: it wrote entry {seq} of the log in {}. This run \
             stops, and nothing is lost: the newer one goes on from the last snapshot. If no \
             second one was meant to run, look for what started it; another job needs another \
             metadata.name, or another store",
            self.config.prefix
        );
        Failure::new(ErrorKind::Fenced, message)
    }

    fn restart(&mut self) -> State {
        let healthy = self.running_since.take().map_or(Duration::ZERO, |at| self.now.since(at));
        let delay = self.backoff.delay(healthy);
        let until = self.now.after(delay);
        self.status.restarts += 1;
        self.status.restarts_in = Some(delay);
        self.status.log_failure = None;
        self.editing = None;
        self.still_since = None;
        self.status.phase = Phase::Restarting;
        self.drop_tasks();
        State::Restarting { until }
    }

    /// Stops the workers and says how it ended.
    pub(crate) fn end(&mut self, outcome: Outcome) -> State {
        self.status.phase = match &outcome {
            Outcome::Finished { .. } => Phase::Finished,
            Outcome::Suspended { .. } => Phase::Suspended,
            Outcome::Failed(_) | Outcome::Fenced(_) => Phase::Failed,
        };
        if let Outcome::Suspended { snapshot } = outcome {
            self.status.has_last_snapshot = Some(snapshot);
        }
        self.status.restarts_in = None;
        self.give_savepoint_up("the job has ended");
        if self.seen > Seq(0) {
            let next = self.history.restorable();
            self.status.has_snapshot = Some(next.is_some());
            let manifest = next.and_then(|seq| self.history.manifest(seq));
            self.status.resumes_from = manifest.map(|manifest| manifest.epoch);
        }
        self.send_everybody(&Command::Stop);
        self.act(Action::Exit(outcome));
        State::Ended
    }
}
