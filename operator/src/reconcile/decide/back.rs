//! The way back from a version of a job that does not come up.
//!
//! Received from: [`super::decide`], as what is seen. Handed to: it, as why the version in force is
//! given up. Pure. Invariants: a version that has published a snapshot is never taken back: its
//! state may be of another form; nor is the first version of a job, which has nothing to go back
//! to, and none that was resumed.

use std::time::Duration;

use millstream_coordinator::machine::Outcome;
use millstream_coordinator::status::{Phase, Status};
use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::time::Timestamp;

use super::{Facts, Live, Seen};
use crate::reconcile::accepted::{Accepted, Previous, Refused};

/// A version whose pods do not run, or whose tasks fail, has so long to come up all the same.
pub(crate) const TROUBLED: Duration = Duration::from_mins(1);
/// One of which nothing bad is known: images of gigabytes take their time.
pub(crate) const QUIET: Duration = Duration::from_mins(10);

/// What to go back to, once this spec is in force in place of that one.
pub(super) fn previous(live: &Live, next: &Accepted, facts: &Facts) -> Option<Previous> {
    let (old, new) = (&live.accepted.spec, &next.spec);
    let is_same = old.image == new.image
        && old.pod_template == new.pod_template
        && old.program == new.program
        && old.state == new.state;
    if is_same || old.suspend {
        return live.previous.clone().filter(|_| !old.suspend);
    }
    // One that has not come up itself is nothing to go back to.
    let last = live.previous.as_ref().map(|previous| &previous.accepted);
    let accepted = last.or_else(|| facts.has_snapshot.then_some(&live.accepted))?.clone();
    Some(Previous { accepted, since: facts.now })
}

/// Whether the version in force has published a snapshot.
pub(super) fn has_come_up(previous: &Previous, status: &Status) -> bool {
    status.last_snapshot.as_ref().is_some_and(|last| last.completed_at > previous.since)
}

/// Why the version in force is given up while its coordinator is at work; none while it is not.
pub(super) fn is_given_up(previous: &Previous, seen: &Seen, facts: &Facts) -> Option<String> {
    let status = &seen.status;
    if has_come_up(previous, status) || matches!(status.phase, Phase::Running) {
        return None;
    }
    let last = status.last_failure.as_ref().filter(|last| last.at > previous.since);
    let failure = last.map(|last| &last.failure);
    // A store, or a network, that is away for a while is not the version's fault.
    let is_own = failure.is_some_and(|failure| failure.kind != ErrorKind::Unavailable);
    let patience = if facts.trouble.is_some() || is_own { TROUBLED } else { QUIET };
    if facts.now.since(previous.since) <= patience {
        return None;
    }
    let why = facts.trouble.or(failure.map(|failure| failure.message.as_str()));
    Some(why.map_or_else(|| "its pods did not come up in 10 minutes".to_owned(), str::to_owned))
}

/// Why it is given up now that its coordinator has ended: that of it, or of the one before.
pub(super) fn has_failed(
    previous: &Previous,
    seen: &Seen,
    live: &Live,
    is_told: bool,
) -> Option<Refused> {
    match &seen.outcome {
        Some(Outcome::Failed(failure)) if is_told && !has_come_up(previous, &seen.status) => {
            Some(refused(&live.accepted, previous, &failure.message))
        }
        // It was stopped for that.
        _ => live.refused.clone().filter(|refused| refused.hash == live.accepted.hash),
    }
}

/// What is said of a version that was given up.
pub(super) fn refused(given_up: &Accepted, previous: &Previous, why: &str) -> Refused {
    let (new, old) = (given_up.generation, previous.accepted.generation);
    Refused {
        hash: given_up.hash.clone(),
        message: format!(
            "generation {new} did not come up, and the job has gone back to generation {old}: {why}"
        ),
    }
}

/// When the roll-back is looked at again, where nothing else calls for a look.
pub(crate) fn look_again(previous: &Previous, now: Timestamp) -> Duration {
    let age = now.since(previous.since);
    let next = [TROUBLED, QUIET].into_iter().find(|limit| age <= *limit);
    next.map_or(TROUBLED, |limit| limit.saturating_sub(age) + Duration::from_secs(1))
}
