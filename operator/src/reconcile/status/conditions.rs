//! The conditions, each from what it depends on.
//!
//! Received from: [`super::status`]. Of the flow of records is known whether the watermark moves;
//! the rest is `Unknown`: no worker says how far its splits are behind, or who waits for room.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as Written;
use millstream_coordinator::machine::Outcome;
use millstream_coordinator::status::Status;
use millstream_protocol::error_kind::ErrorKind;

use super::{Sight, time};
use crate::crd::condition::{self, ALL, Condition};
use crate::crd::status::Phase;
use crate::names;

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
        name if name == condition::WATERMARK_ADVANCING.name => watermark(sight, phase),
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
    let is_there = |ordinal| sight.workers.iter().any(|it| it.ordinal == ordinal && !it.is_leaving);
    match (0..of).find(|ordinal| !is_there(*ordinal)) {
        None => yes(condition::AS_EXPECTED, ""),
        Some(gone) => no(condition::WORKER_LOST, format!("worker {gone} has no pod")),
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
    let age = sight.now.since(last.completed_at);
    match interval {
        Some(interval) if age > interval * condition::HEALTHY_INTERVALS => no(
            condition::SNAPSHOT_OLD,
            format!("older than {} intervals", condition::HEALTHY_INTERVALS),
        ),
        _ => yes(condition::AS_EXPECTED, ""),
    }
}

fn restored(sight: &Sight, status: Option<&Status>) -> Says {
    let Some(status) = status else { return unknown() };
    let before = sight.job.status.as_ref().and_then(|it| it.restored.as_ref());
    let is_there = status.run.is_some()
        && matches!(
            status.phase,
            millstream_coordinator::status::Phase::Running
                | millstream_coordinator::status::Phase::Rescaling
        );
    match &status.restored {
        Some(restored) => yes(condition::FROM_SNAPSHOT, restored.from.as_str()),
        // What a run that was taken over began with is not told again.
        None if status.taken_over => match before {
            Some(before) => yes(condition::FROM_SNAPSHOT, before.from.as_str()),
            None => unknown(),
        },
        None if is_there => yes(condition::FRESH, ""),
        None => unknown(),
    }
}

/// One that stands still may be held by a split, or have nothing to wait for.
fn watermark(sight: &Sight, phase: Phase) -> Says {
    let flow = sight.coordinator.map(|seen| seen.flow).filter(|_| phase == Phase::Running);
    match flow.and_then(|flow| flow.moved_at) {
        Some(at) if sight.now.since(at) <= condition::FLOW_SETTLES => {
            yes(condition::AS_EXPECTED, "")
        }
        Some(_) => {
            let said = "it stands still: a split holds it, or all inputs are idle";
            Says("Unknown", condition::NOT_KNOWN, said.to_owned())
        }
        None => unknown(),
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
        Phase::Suspending | Phase::Deleting => yes(condition::SUSPENDING, ""),
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
    if decision.accepted.generation >= newest || is_held {
        no(condition::AS_EXPECTED, "")
    } else if old == new {
        yes(condition::UPGRADING, "")
    } else {
        yes(condition::RESCALING, format!("from {old} to {new} workers"))
    }
}

fn stalled(sight: &Sight, status: Option<&Status>, phase: Phase) -> Says {
    let refused = status.and_then(|it| it.refused.as_ref());
    if phase == Phase::Failed {
        return yes(condition::FAILED, failure(sight, status));
    }
    if let Some(mistakes) = sight.mistakes {
        return yes(condition::INVALID, mistakes);
    }
    if let Some(blocked) = sight.blocked {
        return yes(condition::UPGRADE_BLOCKED, blocked);
    }
    match (refused, sight.decision.and_then(|it| it.refused.as_ref())) {
        (Some(refused), _) => yes(condition::UPGRADE_BLOCKED, refused.failure.message.as_str()),
        (None, Some(_)) => yes(
            condition::UPGRADE_BLOCKED,
            "the spec was refused before the operator started: see the StatefulSet's annotations",
        ),
        (None, None) => no(condition::AS_EXPECTED, ""),
    }
}
