//! The step from one status to the next to what is told of it: events on the job.
//!
//! Received from: [`super::status`], the status that was told of last and the one that is written
//! now. Handed to: the API server, which folds what is repeated. Pure. Invariant: what is told
//! stands in the status too; causes stand in the reason, by which events are folded.

use crate::crd::StreamJobStatus;
use crate::crd::condition;
use crate::crd::status::{LastRestart, Phase};

/// The longest note that the API server takes, in bytes.
const NOTE_BYTES_MAX: usize = 1000;

/// The reason of the event that the snapshots of what was deleted stay,
pub const SNAPSHOTS_LEFT_BEHIND: &str = "SnapshotsLeftBehind";
/// and of the one that they could not be deleted yet.
pub const SNAPSHOTS_NOT_DELETED: &str = "SnapshotsNotDeleted";

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody should look.
    pub is_warning: bool,
    /// What has happened, in one word.
    pub reason: String,
    /// The same, in a sentence.
    pub note: String,
}

/// What has come about between two statuses of a job.
pub fn events(before: &StreamJobStatus, now: &StreamJobStatus) -> Vec<Told> {
    let mut told = Vec::new();
    told.extend(restart(before, now));
    told.extend(phase(before, now));
    for (name, bad) in
        [(condition::STALLED.name, "True"), (condition::SNAPSHOTS_HEALTHY.name, "False")]
    {
        told.extend(turned(before, now, name, bad));
    }
    told
}

/// Something to tell, in as many words as are taken.
pub fn tell(is_warning: bool, reason: &str, note: impl Into<String>) -> Told {
    let mut note = note.into();
    let end = (0..=NOTE_BYTES_MAX.min(note.len())).rev().find(|at| note.is_char_boundary(*at));
    note.truncate(end.unwrap_or(0));
    Told { is_warning, reason: reason.to_owned(), note }
}

/// One that was over before anybody looked is told of, too.
fn restart(before: &StreamJobStatus, now: &StreamJobStatus) -> Option<Told> {
    let LastRestart { reason, message, detected_at, .. } = now.last_restart.as_ref()?;
    let is_same = before.last_restart.as_ref().is_some_and(|it| it.detected_at == *detected_at);
    let is_new = !is_same || before.restarts < now.restarts;
    is_new.then(|| tell(true, reason, message.as_str()))
}

fn phase(before: &StreamJobStatus, now: &StreamJobStatus) -> Option<Told> {
    let phase = now.phase.filter(|phase| before.phase != Some(*phase))?;
    // Without what differs from time to time: the first note stands for all that are folded.
    let note = match phase {
        Phase::Pending => "waits for its workers",
        Phase::Starting => "all workers are there; tasks are made",
        Phase::Restoring => "all workers are there; tasks read their state back",
        Phase::Running => "all tasks run",
        Phase::Rescaling => "stops to go on with other numbers of tasks",
        Phase::Upgrading => "stops to go on by another spec",
        Phase::Suspending => "takes its last snapshot, and stops",
        Phase::Suspended => "stands still, without pods",
        Phase::Finished => "all sources have ended, and all output is visible",
        // What is wrong is told by the restart and by the condition Stalled.
        Phase::Restarting | Phase::Failed => return None,
        Phase::Deleting => "is being deleted",
    };
    Some(tell(false, &format!("{phase:?}"), note))
}

/// A condition that says something bad now, or something else than before.
fn turned(before: &StreamJobStatus, now: &StreamJobStatus, name: &str, bad: &str) -> Option<Told> {
    let of = |status: &StreamJobStatus| {
        let found = status.conditions.iter().find(|it| it.type_ == name && it.status == bad);
        found.map(|it| (it.reason.clone(), it.message.clone()))
    };
    let (reason, message) = of(now)?;
    (of(before).as_ref() != Some(&(reason.clone(), message.clone())))
        .then(|| tell(true, &reason, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    fn told(before: &str, now: &str) -> Vec<(bool, String, String)> {
        let told = events(&yaml(before), &yaml(now));
        told.into_iter().map(|it| (it.is_warning, it.reason, it.note)).collect()
    }

    fn one(is_warning: bool, reason: &str, note: &str) -> Vec<(bool, String, String)> {
        vec![(is_warning, reason.to_owned(), note.to_owned())]
    }

    #[test]
    fn each_phase_is_told_of_once() {
        let running = "{phase: Running, run: 3}";
        assert_eq!(told("{}", running), one(false, "Running", "all tasks run"));
        assert_eq!(told(running, running), []);
        assert_eq!(told(running, "{phase: Running, run: 4}"), []);
        let note = "stops to go on with other numbers of tasks";
        assert_eq!(told(running, "{phase: Rescaling}"), one(false, "Rescaling", note));
        assert_eq!(told(running, "{phase: Failed}"), [], "Stalled tells of it");
    }

    #[test]
    fn a_restart_has_its_cause_as_its_reason_also_when_it_was_too_fast_to_be_seen() {
        let failed = |at: &str, phase: &str, restarts: u32| {
            format!(
                "{{phase: {phase}, run: 3, restarts: {restarts}, lastRestart: {{reason: \
                 WorkerLost, message: worker 1 is lost, detectedAt: '2026-11-26T12:00:{at}Z'}}}}"
            )
        };
        let before = "{phase: Running, run: 3, restarts: 0}";
        let cause = one(true, "WorkerLost", "worker 1 is lost");
        assert_eq!(told(before, &failed("01", "Restarting", 1)), cause);
        assert_eq!(told(before, &failed("01", "Running", 1)), cause);
        let (first, second) = (failed("01", "Running", 1), failed("09", "Running", 2));
        assert_eq!(told(&first, &first), []);
        assert_eq!(told(&first, &second), cause);
    }

    #[test]
    fn conditions_that_turn_bad_are_told_of_with_their_reason() {
        let says = |name: &str, status: &str, reason: &str, message: &str| {
            format!(
                "{{conditions: [{{type: {name}, status: '{status}', reason: {reason}, message: \
                 {message}, lastTransitionTime: '2026-11-26T12:00:00Z'}}]}}"
            )
        };
        let good = says("SnapshotsHealthy", "True", "AsExpected", "''");
        let bad = says("SnapshotsHealthy", "False", "SnapshotFailed", "no room");
        assert_eq!(told(&good, &bad), one(true, "SnapshotFailed", "no room"));
        assert_eq!(told(&bad, &bad), []);
        assert_eq!(told(&bad, &good), []);
        let refused = says("Stalled", "True", "UpgradeBlocked", "state does not fit");
        assert_eq!(told("{}", &refused), one(true, "UpgradeBlocked", "state does not fit"));
        let other = says("Stalled", "True", "UpgradeBlocked", "two operators are called a");
        assert_eq!(told(&refused, &other).len(), 1);
        let passing = says("Backpressured", "True", "Blocked", "''");
        assert_eq!(told("{}", &passing), []);
    }

    #[test]
    fn a_note_fits_and_is_cut_between_letters() {
        let long = format!("x{}", "ä".repeat(600));
        let told = tell(true, "UpgradeBlocked", long);
        assert_eq!(told.note.len(), 999);
    }
}
