//! What a job comes from, and would go back to: its last restart, and the snapshot that the next
//! one uses.

use millstream_coordinator::status::FailureStatus;

use super::{Sight, StreamJobStatus, conditions, time};
use crate::crd::status::{LastRestart, LastSnapshot, RestoreCandidate};

/// The last restart that this coordinator knows of. What it ended with is none.
pub(super) fn last_restart(sight: &Sight) -> Option<LastRestart> {
    let seen =
        sight.coordinator.filter(|seen| seen.outcome.is_none() && seen.status.restarts > 0)?;
    let FailureStatus { failure, at, workers_ready_at, restored_at, running_at } =
        seen.status.last_failure.as_ref()?;
    Some(LastRestart {
        reason: conditions::reason(failure.kind).to_owned(),
        message: failure.message.clone(),
        detected_at: time(*at),
        workers_ready_at: workers_ready_at.map(time),
        restored_at: restored_at.map(time),
        running_at: running_at.map(time),
    })
}

/// The newest snapshot, or what the run began with, where that was later; the second has no time of
/// its own, and is known by what was said of it before.
pub(super) fn restore_candidate(
    sight: &Sight,
    before: &StreamJobStatus,
    last: Option<&LastSnapshot>,
) -> Option<RestoreCandidate> {
    let said = before.restore_candidate.clone();
    let Some(seen) = sight.coordinator else { return said };
    let of = |last: &LastSnapshot| RestoreCandidate {
        uri: last.uri.clone(),
        completed_at: last.completed_at.clone(),
    };
    let taken_at = seen.status.last_snapshot.as_ref().map(|last| last.completed_at);
    match &seen.status.restored {
        Some(from) if taken_at.is_none_or(|taken_at| taken_at < from.at) => {
            let known = said.into_iter().chain(last.map(of));
            let known = known.chain(before.last_snapshot.as_ref().map(of));
            known.into_iter().find(|known| known.uri == from.from)
        }
        Some(_) => last.map(of),
        None if taken_at.is_some() => last.map(of),
        // One that begins, or takes over, does not know yet.
        None if seen.status.run.is_none() || seen.status.taken_over => said,
        None => None,
    }
}
