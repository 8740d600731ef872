//! The step from what was decided and seen to `status`.
//!
//! Received from: [`super::decide`], the job's coordinator and its pods. Handed to: the API
//! server, where it is another one than before. Pure. Invariant: nothing is decided on what the
//! status was; from it go on what this process cannot know: restarts before it started, the last
//! snapshot, the last restart, and when a condition changed.

mod conditions;
mod pace;
mod past;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp as Instant;
use millstream_coordinator::machine::Outcome;
use millstream_coordinator::status::{Phase as Doing, SnapshotStatus, Status};
use millstream_protocol::time::{GepDuration, Timestamp};

pub(crate) use self::conditions::is_old;
use super::decide::{Blocked, Decision, Order, Seen};
use super::pods::{Trouble, Worker};
use crate::crd::condition;
use crate::crd::status::{LastSnapshot, Phase, Restored};
use crate::crd::{StreamJob, StreamJobStatus};
use crate::names;

/// A later snapshot is written when the one that is shown is older than it by so much: each write
/// goes to all who watch. A little less than the half minute after which a job is looked at.
const SNAPSHOT_EVERY_MS: i64 = 25_000;

/// What a status is made of.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// The job, with the status that it has.
    pub job: &'a StreamJob,
    /// What is wrong with its spec.
    pub mistakes: Option<&'a str>,
    /// Why the spec cannot be taken up, though it has no mistake.
    pub blocked: Option<&'a Blocked>,
    /// Why it cannot be said yet whether the version that was written last fits.
    pub unchecked: Option<&'a str>,
    /// What a job that is being deleted waits for.
    pub deleting: Option<&'a str>,
    /// What was decided.
    pub decision: Option<&'a Decision>,
    /// Its coordinator.
    pub coordinator: Option<&'a Seen>,
    /// Restarts before this coordinator began.
    pub restarts_before: i64,
    /// Its pods.
    pub workers: &'a [Worker],
    /// Why pods are not made, if they are refused.
    pub refusal: Option<&'a Trouble>,
    /// The time.
    pub now: Timestamp,
}

/// The status of a job.
pub fn status(sight: &Sight) -> StreamJobStatus {
    let before = sight.job.status.clone().unwrap_or_default();
    let phase = phase(sight);
    let shown = sight.coordinator.map(|seen| &seen.status);
    let workers = sight.workers.iter().filter(|it| !it.is_leaving).count() as i32;
    let of = sight.decision.map_or(0, |decision| decision.accepted.spec.workers) as i32;
    let ready = ready_workers(sight, phase);
    let run = shown.and_then(|it| it.run).map(|run| run.0 as i64).or(before.run);
    let restarts = shown.map_or(0, |it| it.restarts as i64);
    let conditions = conditions::conditions(sight, phase);
    let last_snapshot = last_snapshot(sight, before.last_snapshot.clone());
    let restore_candidate = past::restore_candidate(sight, &before, last_snapshot.as_ref());
    let flow = sight.coordinator.map(|seen| &seen.flow).filter(|_| phase == Phase::Running);
    StreamJobStatus {
        observed_generation: sight.job.metadata.generation,
        phase: Some(phase),
        run,
        workers: Some(workers),
        ready_workers: Some(ready),
        ready: Some(format!("{ready}/{of}")),
        selector: Some(selector(sight.job)),
        restarts: Some(sight.restarts_before + restarts),
        last_snapshot,
        restored: restored(shown, before.restored.filter(|_| run == before.run)),
        restore_candidate,
        last_restart: past::last_restart(sight).or(before.last_restart),
        throughput: pace::throughput(flow, before.throughput),
        lag: pace::lag(flow, sight.now, before.lag),
        conditions,
    }
}

/// The status of a job that is left alone: what it was, and that it is.
pub fn paused(sight: &Sight) -> StreamJobStatus {
    let mut status = sight.job.status.clone().unwrap_or_default();
    if status.conditions.is_empty() {
        return self::status(sight);
    }
    let now = conditions::conditions(sight, status.phase.unwrap_or(Phase::Pending));
    let name = condition::RECONCILIATION_PAUSED.name;
    status.conditions.retain(|it| it.type_ != name);
    status.conditions.extend(now.into_iter().filter(|it| it.type_ == name));
    status
}

/// The labels that find the pods, as a selector is written.
fn selector(job: &StreamJob) -> String {
    let labels = names::selector(job.metadata.name.as_deref().unwrap_or_default());
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

/// Workers whose tasks run. A job runs when those of all do: its coordinator knows that before a
/// pod is asked whether it is ready, but not before a pod is gone. While it stops, pods say how
/// many still do.
fn ready_workers(sight: &Sight, phase: Phase) -> i32 {
    let of = sight.decision.map_or(0, |decision| decision.accepted.spec.workers);
    let there = sight.workers.iter().filter(|it| !it.is_leaving && it.ordinal < of);
    let ready = match phase {
        Phase::Running => there.count(),
        Phase::Rescaling | Phase::Suspending => there.filter(|it| it.is_ready).count(),
        _ => 0,
    };
    ready as i32
}

fn phase(sight: &Sight) -> Phase {
    if sight.job.metadata.deletion_timestamp.is_some() {
        return Phase::Deleting;
    }
    let Some(decision) = sight.decision else { return Phase::Pending };
    if decision.is_finished {
        return Phase::Finished;
    }
    if decision.order == Order::Rest && decision.accepted.spec.suspend {
        let has_pods = sight.workers.iter().any(|it| !it.is_leaving);
        return if has_pods { Phase::Suspending } else { Phase::Suspended };
    }
    if runs_on(sight, decision) {
        return Phase::Running;
    }
    let Some(seen) = sight.coordinator else { return Phase::Pending };
    match &seen.outcome {
        Some(Outcome::Failed(_)) => return Phase::Failed,
        Some(Outcome::Fenced(_)) => return Phase::Restarting,
        Some(Outcome::Finished { .. }) => return Phase::Finished,
        // It goes on with other pods.
        Some(Outcome::Suspended { .. }) => return Phase::Upgrading,
        None => {}
    }
    match seen.status.phase {
        Doing::Pending => Phase::Pending,
        Doing::Starting => Phase::Starting,
        Doing::Restoring => Phase::Restoring,
        Doing::Running => Phase::Running,
        Doing::Rescaling => Phase::Rescaling,
        Doing::Suspending | Doing::Suspended if sight.job.spec.job.suspend => Phase::Suspending,
        // Or it is stopped to go on with other pods.
        Doing::Upgrading | Doing::Suspending | Doing::Suspended => Phase::Upgrading,
        Doing::Restarting => Phase::Restarting,
        Doing::Finished => Phase::Finished,
        Doing::Failed => Phase::Failed,
    }
}

/// Tasks run, though their coordinator has yet to hear of them: it has just begun, and takes them
/// over unless it finds out otherwise, which is told then. Pods are ready while their tasks run,
/// whoever coordinates them.
fn runs_on(sight: &Sight, decision: &Decision) -> bool {
    let is_new = match sight.coordinator {
        None => decision.order == Order::Start,
        Some(Seen { outcome, status, .. }) => {
            outcome.is_none() && status.run.is_none() && status.phase == Doing::Pending
        }
    };
    let ran = sight.job.status.as_ref().and_then(|it| it.phase) == Some(Phase::Running);
    let is_ready = |it: &Worker| it.is_ready && !it.is_leaving;
    let mut all = 0..decision.accepted.spec.workers;
    is_new && ran && all.all(|of| sight.workers.iter().any(|it| it.ordinal == of && is_ready(it)))
}

/// What the run began with. One that was taken over began when it did, and not when it was.
fn restored(shown: Option<&Status>, before: Option<Restored>) -> Option<Restored> {
    let Some(now) = shown.and_then(|it| it.restored.as_ref()) else { return before };
    match before {
        Some(before) if before.from == now.from => Some(before),
        _ => Some(Restored { from: now.from.clone(), epoch: now.epoch.0 as i64, at: time(now.at) }),
    }
}

fn last_snapshot(sight: &Sight, before: Option<LastSnapshot>) -> Option<LastSnapshot> {
    let Some(seen) = sight.coordinator else { return before };
    let Some(last) = &seen.status.last_snapshot else { return before };
    let is_over = seen.outcome.is_some() || seen.status.snapshot_failure.is_some();
    let is_early = |shown: &LastSnapshot| {
        let age = last.completed_at.0 - shown.completed_at.0.as_millisecond();
        shown.epoch <= last.epoch.0 as i64 && age < SNAPSHOT_EVERY_MS
    };
    match before {
        Some(shown) if !is_over && is_early(&shown) => Some(shown),
        _ => Some(shown(last)),
    }
}

fn shown(snapshot: &SnapshotStatus) -> LastSnapshot {
    let SnapshotStatus { epoch, seq: _, uri, completed_at, duration, bytes, new_bytes } = snapshot;
    LastSnapshot {
        epoch: epoch.0 as i64,
        uri: uri.clone(),
        completed_at: time(*completed_at),
        duration: Some(GepDuration(*duration)),
        bytes: Some(*bytes as i64),
        new_bytes: Some(*new_bytes as i64),
    }
}

/// A time as the API server keeps it: whole seconds.
fn time(at: Timestamp) -> Time {
    Time(Instant::from_second(at.0.div_euclid(1000)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
