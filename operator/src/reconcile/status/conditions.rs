//! The conditions, each from what it depends on.
//!
//! Received from: [`super::status`]. Those about the flow of records say what was found of it for
//! long enough ([`Steady`]); until then what they said before, which may be the word of an operator
//! before this one.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as Written;
use millstream_coordinator::machine::Outcome;
use millstream_coordinator::status::{SnapshotStatus, Status};
use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::time::Timestamp;

use super::{Sight, time};
use crate::crd::condition::{self, ALL, Condition};
use crate::crd::status::Phase;
use crate::names;
use crate::reconcile::flow::{Finding, Flow, Settled, Steady};

/// What a condition says: its status, its reason and its message.
struct Says(&'static str, &'static str, String);

fn yes(reason: &'static str, message: impl Into<String>) -> Says {
    Says("True", reason, message.into())
}

fn no(reason: &'static str, message: impl Into<String>) -> Says {
    Says("False", reason, message.into())
}

fn unknown() -> Says {
    Says("Unknown", condition::NOT_KNOWN, String::new())
}

/// All conditions of a job. One that says what it said before has changed when it had.
pub(super) fn conditions(sight: &Sight, phase: Phase) -> Vec<Written> {
    let before = sight.job.status.as_ref().map(|it| it.conditions.as_slice()).unwrap_or_default();
    let in_force = sight.decision.map(|it| it.accepted.generation);
    let seen = sight.job.metadata.generation;
    let written = |condition: &Condition| {
        let Says(status, reason, message) = says(condition, sight, phase);
        let same = before.iter().find(|it| it.type_ == condition.name && it.status == status);
        let is_ready = condition.name == condition::READY.name;
        Written {
            type_: condition.name.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: same
                .map_or_else(|| time(sight.now), |it| it.last_transition_time.clone()),
            observed_generation: if is_ready { in_force } else { seen },
        }
    };
    ALL.iter().map(written).collect()
}

fn says(condition: &Condition, sight: &Sight, phase: Phase) -> Says {
    let status = sight.coordinator.map(|seen| &seen.status);
    match condition.name {
        name if name == condition::READY.name => ready(sight, status, phase),
        name if name == condition::SPEC_VALID.name => match sight.mistakes {
            Some(mistakes) => no(condition::INVALID, mistakes),
            None => yes(condition::AS_EXPECTED, ""),
        },
        name if name == condition::SNAPSHOTS_HEALTHY.name => snapshots(sight, status),
        name if name == condition::STATE_RESTORED.name => restored(sight, status),
        name if name == condition::SOURCE_CAUGHT_UP.name => {
            flow(sight, phase, condition, |flow| &flow.caught_up)
        }
        name if name == condition::WATERMARK_ADVANCING.name => {
            flow(sight, phase, condition, |flow| &flow.advancing)
        }
        name if name == condition::BACKPRESSURED.name => {
            flow(sight, phase, condition, |flow| &flow.pressed)
        }
        name if name == condition::COMPLETE.name => complete(phase),
        name if name == condition::RECONCILING.name => reconciling(sight, phase),
        name if name == condition::STALLED.name => stalled(sight, status, phase),
        name if name == condition::RECONCILIATION_PAUSED.name => {
            if is_paused(sight) {
                yes(condition::PAUSED, "")
            } else {
                no(condition::AS_EXPECTED, "")
            }
        }
        _ => unknown(),
    }
}

/// Whether the user wants the job left alone.
fn is_paused(sight: &Sight) -> bool {
    let annotations = sight.job.metadata.annotations.as_ref();
    annotations.and_then(|it| it.get(names::PAUSE)).is_some_and(|it| it == "true")
}

fn ready(sight: &Sight, status: Option<&Status>, phase: Phase) -> Says {
    let trouble = sight.workers.iter().find_map(|worker| worker.trouble.as_ref());
    let trouble = trouble.or(sight.refusal);
    match phase {
        Phase::Running => return runs(sight),
        Phase::Suspended => return no(condition::SUSPENDED, "spec.suspend is true"),
        Phase::Finished => return no(condition::FINISHED, ""),
        Phase::Failed => return no(condition::FAILED, failure(sight, status)),
        Phase::Deleting => return no(condition::DELETING, sight.deleting.unwrap_or_default()),
        _ => {}
    }
    if let Some(trouble) = trouble {
        return no(trouble.reason, trouble.message.as_str());
    }
    match status.and_then(|it| it.last_failure.as_ref()) {
        Some(last) if phase == Phase::Restarting => {
            no(reason(last.failure.kind), &last.failure.message)
        }
        _ if sight.decision.is_none() => no(condition::INVALID, sight.mistakes.unwrap_or_default()),
        _ => no(condition::STARTING, ""),
    }
}

/// All tasks run, unless a pod is gone and its coordinator does not know yet.
fn runs(sight: &Sight) -> Says {
    let of = sight.decision.map_or(0, |decision| decision.accepted.spec.workers);
    let there = |ordinal| sight.workers.iter().find(|it| it.ordinal == ordinal);
    let stays = |ordinal: &u32| there(*ordinal).is_some_and(|it| !it.is_leaving);
    match (0..of).find(|ordinal| !stays(ordinal)) {
        None => yes(condition::AS_EXPECTED, ""),
        Some(gone) => {
            let how = if there(gone).is_some() { "is told to end" } else { "has no pod" };
            no(condition::WORKER_LOST, format!("worker {gone} {how}"))
        }
    }
}

pub(super) fn reason(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::User => condition::USER_CODE_FAILED,
        _ => condition::WORKER_LOST,
    }
}

/// Why a job has failed for good.
fn failure(sight: &Sight, status: Option<&Status>) -> String {
    let outcome = sight.coordinator.and_then(|seen| seen.outcome.as_ref());
    match outcome {
        Some(Outcome::Failed(failure) | Outcome::Fenced(failure)) => failure.message.clone(),
        _ => status
            .and_then(|it| it.last_failure.as_ref())
            .map(|it| it.failure.message.clone())
            .unwrap_or_default(),
    }
}

fn snapshots(sight: &Sight, status: Option<&Status>) -> Says {
    let Some(status) = status else { return unknown() };
    if let Some(failure) = &status.snapshot_failure {
        return no(condition::SNAPSHOT_FAILED, failure.as_str());
    }
    if let Some(failure) = &status.log_failure {
        return no(condition::SNAPSHOT_FAILED, failure.to_string());
    }
    let Some(last) = &status.last_snapshot else { return unknown() };
    let interval = sight.decision.map(|it| it.accepted.spec.snapshots.interval.0);
    if interval.is_none_or(|interval| !is_old(last, interval, sight.now)) {
        return yes(condition::AS_EXPECTED, "");
    }
    let old = format!(
        "the last one was published at {}, more than {} intervals ago",
        time(last.completed_at).0,
        condition::HEALTHY_INTERVALS
    );
    let why = status.totals.store_trouble.as_ref();
    let why = why.map(|why| format!("; S3 is asked again and again: {why}"));
    no(condition::SNAPSHOT_OLD, old + &why.unwrap_or_default())
}

/// Whether a snapshot is too old for snapshots to be healthy.
pub(crate) fn is_old(last: &SnapshotStatus, interval: Duration, now: Timestamp) -> bool {
    now.since(last.completed_at) > interval * condition::HEALTHY_INTERVALS
}

fn restored(sight: &Sight, status: Option<&Status>) -> Says {
    let Some(status) = status else { return unknown() };
    if status.restore_refused {
        return no(condition::RESTORE_REFUSED, failure(sight, Some(status)));
    }
    let before = sight.job.status.as_ref().and_then(|it| it.restored.as_ref());
    let is_there = status.run.is_some()
        && matches!(
            status.phase,
            millstream_coordinator::status::Phase::Running
                | millstream_coordinator::status::Phase::Rescaling
        );
    match &status.restored {
        Some(restored) => yes(condition::FROM_SNAPSHOT, restored.from.as_str()),
        None if is_there => yes(condition::FRESH, ""),
        // It is not known yet what a run that is being taken over began with.
        None if status.taken_over => match before {
            Some(before) => yes(condition::FROM_SNAPSHOT, before.from.as_str()),
            None => unknown(),
        },
        None => unknown(),
    }
}

/// What was found of the flow of records.
fn flow(sight: &Sight, phase: Phase, condition: &Condition, of: fn(&Flow) -> &Steady) -> Says {
    if matches!(phase, Phase::Suspended | Phase::Finished | Phase::Failed) {
        return unknown();
    }
    match sight.coordinator.map_or(&Settled::TooEarly, |seen| of(&seen.flow).settled()) {
        Settled::TooEarly => as_before(sight, condition),
        Settled::Unknown => unknown(),
        Settled::Found(Finding { holds, reason, message, .. }) => {
            if *holds {
                yes(reason, message.as_str())
            } else {
                no(reason, message.as_str())
            }
        }
    }
}

/// What a condition says already; nothing where that is a word that it does not have.
fn as_before(sight: &Sight, condition: &Condition) -> Says {
    let status = sight.job.status.as_ref();
    let said = status.and_then(|it| it.conditions.iter().find(|it| it.type_ == condition.name));
    let Some(said) = said else { return unknown() };
    let reason = condition.reasons.iter().find(|reason| **reason == said.reason);
    match (said.status.as_str(), reason) {
        ("True", Some(reason)) => yes(reason, said.message.as_str()),
        ("False", Some(reason)) => no(reason, said.message.as_str()),
        _ => unknown(),
    }
}

fn complete(phase: Phase) -> Says {
    match phase {
        Phase::Finished => yes(condition::FINISHED, ""),
        Phase::Failed => no(condition::FAILED, ""),
        _ => unknown(),
    }
}

fn reconciling(sight: &Sight, phase: Phase) -> Says {
    match phase {
        Phase::Pending if sight.decision.is_none() => no(condition::AS_EXPECTED, ""),
        Phase::Pending | Phase::Starting | Phase::Restoring => yes(condition::DEPLOYING, ""),
        Phase::Rescaling => yes(condition::RESCALING, ""),
        Phase::Upgrading => yes(condition::UPGRADING, ""),
        Phase::Suspending => yes(condition::SUSPENDING, ""),
        Phase::Deleting => yes(condition::DELETING, sight.deleting.unwrap_or_default()),
        Phase::Restarting => yes(condition::RESTARTING, ""),
        Phase::Running => pending(sight),
        Phase::Suspended | Phase::Finished | Phase::Failed => no(condition::AS_EXPECTED, ""),
    }
}

/// A job that runs may run by another spec than the one that was written last.
fn pending(sight: &Sight) -> Says {
    let Some(decision) = sight.decision else { return no(condition::AS_EXPECTED, "") };
    let newest = sight.job.metadata.generation.unwrap_or(0);
    let is_held = sight.mistakes.is_some() || sight.blocked.is_some() || decision.refused.is_some();
    let (old, new) = (decision.accepted.spec.workers, sight.job.spec.job.workers);
    let waits = sight.coordinator.and_then(|seen| seen.status.held.as_ref());
    let waits = waits.map(|held| held.failure.message.as_str()).or(sight.unchecked);
    if decision.accepted.generation >= newest || is_held {
        no(condition::AS_EXPECTED, "")
    } else if old == new {
        yes(condition::UPGRADING, waits.unwrap_or_default())
    } else {
        let waits = waits.map(|why| format!(": {why}")).unwrap_or_default();
        yes(condition::RESCALING, format!("from {old} to {new} workers{waits}"))
    }
}

fn stalled(sight: &Sight, status: Option<&Status>, phase: Phase) -> Says {
    let refused = status.and_then(|it| it.refused.as_ref());
    // What stands in the way of the change that was made, also of one that is to mend a failure.
    if let Some(blocked) = sight.blocked {
        return yes(blocked.reason, blocked.message.as_str());
    }
    if phase == Phase::Failed {
        let is_refused = status.is_some_and(|it| it.restore_refused);
        let reason = if is_refused { condition::RESTORE_REFUSED } else { condition::FAILED };
        return yes(reason, failure(sight, status));
    }
    if let Some(mistakes) = sight.mistakes {
        return yes(condition::INVALID, mistakes);
    }
    match (refused, sight.decision.and_then(|it| it.refused.as_ref())) {
        (Some(refused), _) => yes(condition::UPGRADE_BLOCKED, refused.failure.message.as_str()),
        (None, Some(refused)) => yes(condition::UPGRADE_BLOCKED, refused.message.as_str()),
        (None, None) => no(condition::AS_EXPECTED, ""),
    }
}
