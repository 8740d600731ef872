//! Each phase and each condition, true and false.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition as Written;
use millstream_coordinator::status::{FailureStatus, Refusal, Restored as Begun, Status};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::flow::{Lag, SplitLag};
use millstream_protocol::id::{Epoch, Run, Seq};

use super::*;
use crate::crd::status::Throughput;
use crate::reconcile::accepted::{Accepted, Refused};
use crate::reconcile::flow::{Finding, Flow, Steady};
use crate::reconcile::pods::Trouble;
use crate::reconcile::validate::validate;
use crate::testing;

const NOW: Timestamp = Timestamp(1_700_000_100_000);

/// A job of two workers, of which everything is as it should be.
struct Case {
    job: StreamJob,
    mistakes: Option<&'static str>,
    blocked: Option<Blocked>,
    unchecked: Option<&'static str>,
    decision: Option<Decision>,
    seen: Option<Seen>,
    workers: Vec<Worker>,
    refusal: Option<Trouble>,
}

fn case() -> Case {
    let job = testing::job("averages", "workers: 2\nsnapshots: {store: 's3://b/p'}");
    let accepted = Accepted::of(&validate(&job, &testing::operator()).unwrap());
    let status = Status {
        phase: Doing::Running,
        generation: 3,
        workers: 2,
        run: Some(Run(7)),
        restarts: 1,
        last_snapshot: Some(snapshot(340, NOW.0 - 5_000)),
        ..Status::default()
    };
    let seen = Seen {
        status,
        outcome: None,
        is_stopping: false,
        told: vec![accepted.clone()],
        is_rested: false,
        flow: Flow::default(),
    };
    let decision = Decision {
        accepted,
        refused: None,
        previous: None,
        replicas: 2,
        is_finished: false,
        has_new_template: false,
        replaces_pods: false,
        order: Order::Keep,
    };
    let (decision, seen) = (Some(decision), Some(seen));
    let workers = vec![worker(0), worker(1)];
    Case {
        job,
        mistakes: None,
        blocked: None,
        unchecked: None,
        decision,
        seen,
        workers,
        refusal: None,
    }
}

fn worker(ordinal: u32) -> Worker {
    Worker {
        pod: format!("averages-{ordinal}"),
        uid: format!("u{ordinal}"),
        ordinal,
        address: Some("10.0.0.1:7070".to_owned()),
        is_ready: true,
        is_leaving: false,
        revision: None,
        trouble: None,
    }
}

fn snapshot(epoch: u64, at: i64) -> SnapshotStatus {
    SnapshotStatus {
        epoch: Epoch(epoch),
        seq: Seq(epoch),
        uri: format!("s3://b/{epoch}"),
        completed_at: Timestamp(at),
        duration: Duration::from_millis(420),
        bytes: 2,
        new_bytes: 1,
    }
}

fn failed(message: &str) -> Failure {
    Failure::new(ErrorKind::Invalid, message)
}

impl Case {
    fn status(&self) -> StreamJobStatus {
        status(&Sight {
            job: &self.job,
            mistakes: self.mistakes,
            blocked: self.blocked.as_ref(),
            unchecked: self.unchecked,
            deleting: Some("waits until its pods have ended"),
            decision: self.decision.as_ref(),
            coordinator: self.seen.as_ref(),
            restarts_before: 2,
            workers: &self.workers,
            refusal: self.refusal.as_ref(),
            now: NOW,
        })
    }

    fn shown(mut self, change: impl FnOnce(&mut Status)) -> Self {
        change(&mut self.seen.as_mut().unwrap().status);
        self
    }

    fn ended(mut self, outcome: Outcome) -> Self {
        self.seen.as_mut().unwrap().outcome = Some(outcome);
        self
    }

    fn decided(mut self, change: impl FnOnce(&mut Decision)) -> Self {
        change(self.decision.as_mut().unwrap());
        self
    }

    fn says(&self, name: &str) -> (String, String) {
        let Written { status, reason, .. } = self.condition(name);
        (status, reason)
    }

    fn condition(&self, name: &str) -> Written {
        let all = self.status().conditions;
        all.into_iter().find(|it| it.type_ == name).unwrap()
    }
}

/// That a condition says so, with a reason that its page has.
#[track_caller]
fn expect(case: &Case, name: &str, status: &str, reason: &str) {
    assert_eq!(case.says(name), (status.to_owned(), reason.to_owned()), "{name}");
    let listed = condition::ALL.iter().find(|it| it.name == name).unwrap();
    let is_listed = listed.reasons.contains(&reason) || reason == condition::NOT_KNOWN;
    assert!(is_listed, "{name} has no reason {reason}");
}

fn refusal() -> Refused {
    Refused { hash: "h".into(), message: "did not come up".into() }
}

#[test]
fn a_job_that_runs_is_shown_with_its_columns() {
    let status = case().status();
    assert_eq!(status.phase, Some(Phase::Running));
    assert_eq!((status.run, status.restarts, status.workers), (Some(7), Some(3), Some(2)));
    assert_eq!(status.ready.as_deref(), Some("2/2"));
    let selector = "millstream.dev/job=averages,millstream.dev/role=worker";
    assert_eq!(status.selector.as_deref(), Some(selector));
    assert_eq!(status.last_snapshot.unwrap().epoch, 340);
    assert_eq!(status.conditions.len(), condition::ALL.len());
}

#[test]
fn ready_is_true_while_the_tasks_run_and_names_the_generation_in_force() {
    expect(&case(), "Ready", "True", "AsExpected");
    assert_eq!(
        case().decided(|it| it.accepted.generation = 2).condition("Ready").observed_generation,
        Some(2)
    );
    expect(&case().shown(|it| it.phase = Doing::Pending), "Ready", "False", "Starting");
    let mut pull = case().shown(|it| it.phase = Doing::Pending);
    let reason = condition::IMAGE_PULL_FAILED;
    pull.workers[1].trouble = Some(Trouble { reason, message: "averages-1: no image".into() });
    expect(&pull, "Ready", "False", "ImagePullFailed");
    assert_eq!(pull.condition("Ready").message, "averages-1: no image");
    let mut refused = case().shown(|it| it.phase = Doing::Pending);
    refused.workers.clear();
    refused.refusal = Some(Trouble::new(condition::PODS_FORBIDDEN, "averages-0", "quota"));
    expect(&refused, "Ready", "False", "PodsForbidden");
    assert!(refused.condition("Ready").message.starts_with("averages-0: quota; "));
    let restarting = |kind| {
        case().shown(|it| {
            it.phase = Doing::Restarting;
            it.last_failure = Some(FailureStatus::new(Failure::new(kind, "why"), NOW));
        })
    };
    expect(&restarting(ErrorKind::User), "Ready", "False", "UserCodeFailed");
    expect(&restarting(ErrorKind::Unavailable), "Ready", "False", "WorkerLost");
    expect(&case().ended(Outcome::Failed(failed("no"))), "Ready", "False", "Failed");
    let mut still = case().decided(|it| {
        it.order = Order::Rest;
        it.accepted.spec.suspend = true;
    });
    still.seen = None;
    assert_eq!(still.status().phase, Some(Phase::Suspending), "it has pods");
    still.workers.iter_mut().for_each(|it| it.is_leaving = true);
    expect(&still, "Ready", "False", "Suspended");
    assert_eq!(still.status().phase, Some(Phase::Suspended));
}

#[test]
fn an_invalid_spec_is_shown_and_the_job_runs_on() {
    expect(&case(), "SpecValid", "True", "AsExpected");
    let wrong = Case { mistakes: Some("spec.workers: is 0"), ..case() };
    expect(&wrong, "SpecValid", "False", "Invalid");
    expect(&wrong, "Stalled", "True", "Invalid");
    expect(&wrong, "Ready", "True", "AsExpected");
    assert_eq!(wrong.condition("SpecValid").message, "spec.workers: is 0");
    let new = Case { decision: None, seen: None, workers: vec![], ..wrong };
    expect(&new, "Ready", "False", "Invalid");
    assert_eq!(new.status().phase, Some(Phase::Pending));
}

#[test]
fn snapshots_are_healthy_while_they_are_young_and_succeed() {
    expect(&case(), "SnapshotsHealthy", "True", "AsExpected");
    let failing = case().shown(|it| it.snapshot_failure = Some("no bucket".into()));
    expect(&failing, "SnapshotsHealthy", "False", "SnapshotFailed");
    let old = case().shown(|it| it.last_snapshot = Some(snapshot(1, NOW.0 - 31_000)));
    expect(&old, "SnapshotsHealthy", "False", "SnapshotOld");
    let message = "the last one was published at 2023-11-14T22:14:29Z, more than 3 intervals ago";
    assert_eq!(old.condition("SnapshotsHealthy").message, message);
    let why = |it: &mut Status| it.totals.store_trouble = Some("connection refused".into());
    let message = format!("{message}; S3 is asked again and again: connection refused");
    assert_eq!(old.shown(why).condition("SnapshotsHealthy").message, message);
    // It may be well again before anybody is behind.
    expect(&case().shown(why), "SnapshotsHealthy", "True", "AsExpected");
    let none = case().shown(|it| it.last_snapshot = None);
    expect(&none, "SnapshotsHealthy", "Unknown", "NotKnownYet");
}

#[test]
fn what_a_run_began_with_is_shown() {
    expect(&case(), "StateRestored", "True", "Fresh");
    let from = |it: &mut Status| {
        let from = "s3://b/1".to_owned();
        it.restored = Some(Begun { from, epoch: Epoch(1), at: NOW });
    };
    expect(&case().shown(from), "StateRestored", "True", "FromSnapshot");
    expect(&case().shown(|it| it.taken_over = true), "StateRestored", "True", "Fresh");
    let mut taken = case().shown(|it| (it.taken_over, it.phase) = (true, Doing::Pending));
    expect(&taken, "StateRestored", "Unknown", "NotKnownYet");
    // What was said of the same run is said on, with the time at which it began.
    taken.job.status = Some(case().shown(from).status());
    assert_eq!(taken.status().restored.unwrap().from, "s3://b/1");
    expect(&taken, "StateRestored", "True", "FromSnapshot");
    let taken = taken.shown(from).shown(|it| {
        it.restored.as_mut().unwrap().at = NOW.after(Duration::from_mins(1));
    });
    assert_eq!(taken.status().restored.unwrap().at, time(NOW));
    let other = taken.shown(|it| it.run = Some(Run(8)));
    assert_eq!(other.status().restored.unwrap().at, time(NOW.after(Duration::from_mins(1))));
}

#[test]
fn a_job_that_runs_is_shown_as_it_is_while_another_coordinator_takes_it_over() {
    let mut next = case().decided(|it| it.order = Order::Start);
    next.job.status = Some(next.status());
    next.seen = None;
    expect(&next, "Ready", "True", "AsExpected");
    expect(&next, "Reconciling", "False", "AsExpected");
    let begun = |next: &Case| {
        let status = Status { restarts: 0, run: None, ..Status::default() };
        let seen = Seen { status, ..case().seen.unwrap() };
        Case { job: next.job.clone(), seen: Some(seen), ..case() }
    };
    assert_eq!(begun(&next).status().phase, Some(Phase::Running));
    // What it finds out is told.
    let other = begun(&next).shown(|it| it.phase = Doing::Restoring);
    assert_eq!(other.status().phase, Some(Phase::Restoring));
    let corrupt = begun(&next).ended(Outcome::Failed(failed("the log has lost entries")));
    assert_eq!(corrupt.status().phase, Some(Phase::Failed));
    // No task runs, or none will on these pods.
    next.workers[1].is_ready = false;
    expect(&next, "Ready", "False", "Starting");
    next.workers[1].is_ready = true;
    let replaced = next.decided(|it| it.order = Order::Keep);
    expect(&replaced, "Ready", "False", "Starting");
}

#[test]
fn a_job_that_cannot_begin_with_what_it_is_told_to_says_so() {
    let refused = case().shown(|it| it.restore_refused = true);
    let refused = refused.ended(Outcome::Failed(failed("restore.uri: is not a snapshot")));
    expect(&refused, "StateRestored", "False", "RestoreRefused");
    expect(&refused, "Stalled", "True", "RestoreRefused");
    expect(&refused, "Ready", "False", "Failed");
    for name in ["StateRestored", "Stalled", "Ready"] {
        assert_eq!(refused.condition(name).message, "restore.uri: is not a snapshot");
    }
}

#[test]
fn a_job_is_complete_when_it_has_finished() {
    expect(&case(), "Complete", "Unknown", "NotKnownYet");
    expect(&case().ended(Outcome::Finished { already: false }), "Complete", "True", "Finished");
    expect(&case().decided(|it| it.is_finished = true), "Complete", "True", "Finished");
    expect(&case().ended(Outcome::Failed(failed("no"))), "Complete", "False", "Failed");
}

#[test]
fn a_job_reconciles_until_it_is_what_the_spec_says() {
    expect(&case(), "Reconciling", "False", "AsExpected");
    let doing = |doing| case().shown(|it| it.phase = doing);
    expect(&doing(Doing::Starting), "Reconciling", "True", "Deploying");
    expect(&doing(Doing::Rescaling), "Reconciling", "True", "Rescaling");
    expect(&doing(Doing::Upgrading), "Reconciling", "True", "Upgrading");
    expect(&doing(Doing::Restarting), "Reconciling", "True", "Restarting");
    let mut suspending = doing(Doing::Suspending);
    expect(&suspending, "Reconciling", "True", "Upgrading");
    suspending.job.spec.job.suspend = true;
    expect(&suspending, "Reconciling", "True", "Suspending");
    let mut edited = case();
    edited.job.metadata.generation = Some(4);
    edited.job.spec.job.workers = 3;
    expect(&edited, "Reconciling", "True", "Rescaling");
    let held = case().shown(|it| {
        it.held = Some(Refusal { generation: 4, failure: failed("it waits for a snapshot") });
    });
    let held = Case { job: edited.job.clone(), ..held };
    expect(&held, "Reconciling", "True", "Rescaling");
    let said = held.condition("Reconciling").message;
    assert_eq!(said, "from 2 to 3 workers: it waits for a snapshot");
    expect(&held, "Stalled", "False", "AsExpected");
    let job = StreamJob { metadata: edited.job.metadata.clone(), ..case().job };
    let asked = Case { job, unchecked: Some("the store does not answer"), ..case() };
    expect(&asked, "Reconciling", "True", "Upgrading");
    assert_eq!(asked.condition("Reconciling").message, "the store does not answer");
    // What is refused is not on its way.
    expect(
        &edited.decided(|it| it.refused = Some(refusal())),
        "Reconciling",
        "False",
        "AsExpected",
    );
}

#[test]
fn a_job_that_waits_for_somebody_is_stalled() {
    expect(&case(), "Stalled", "False", "AsExpected");
    expect(&case().ended(Outcome::Failed(failed("no"))), "Stalled", "True", "Failed");
    let refused = case().decided(|it| it.refused = Some(refusal()));
    expect(&refused, "Stalled", "True", "UpgradeBlocked");
    assert_eq!(refused.condition("Stalled").message, "did not come up");
    let refused = refused.shown(|it| {
        it.refused = Some(Refusal { generation: 4, failure: failed("another program") });
    });
    assert_eq!(refused.condition("Stalled").message, "another program");
    let too_old = || Blocked { reason: condition::STATE_TOO_OLD, message: "no".to_owned() };
    let waits = Case { blocked: Some(too_old()), ..case() };
    expect(&waits, "Stalled", "True", "StateTooOld");
    let waits = Case { blocked: Some(too_old()), ..case().ended(Outcome::Failed(failed("no"))) };
    expect(&waits, "Stalled", "True", "StateTooOld");
}

#[test]
fn a_pause_is_shown_and_nothing_else_changes() {
    expect(&case(), "ReconciliationPaused", "False", "AsExpected");
    let mut case = case();
    let before = case.status();
    case.job.status = Some(before.clone());
    case.job.metadata.annotations = Some([(names::PAUSE.into(), "true".into())].into());
    let case = case.shown(|it| it.phase = Doing::Restarting);
    expect(&case, "ReconciliationPaused", "True", "Paused");
}

#[test]
fn what_nobody_measures_yet_is_unknown() {
    for name in ["SourceCaughtUp", "Backpressured"] {
        expect(&case(), name, "Unknown", "NotKnownYet");
    }
}

#[test]
fn a_condition_keeps_the_time_at_which_it_changed() {
    let mut case = case();
    let mut before = case.status();
    let early = time(Timestamp(1_600_000_000_000));
    for condition in &mut before.conditions {
        condition.last_transition_time = early.clone();
    }
    case.job.status = Some(before);
    assert_eq!(case.condition("Ready").last_transition_time, early);
    let other = case.shown(|it| it.phase = Doing::Restarting);
    assert_eq!(other.condition("Ready").last_transition_time, time(NOW));
}

#[test]
fn a_later_snapshot_is_written_every_half_minute_or_at_once_when_the_next_one_fails() {
    let mut case = case();
    case.job.status = Some(case.status());
    let shown = |case: &Case| case.status().last_snapshot.unwrap().epoch;
    let case = case.shown(|it| it.last_snapshot = Some(snapshot(341, NOW.0 + 5_000)));
    assert_eq!(shown(&case), 340);
    let failing = case.shown(|it| it.snapshot_failure = Some("no bucket".into()));
    assert_eq!(shown(&failing), 341);
    let late = failing.shown(|it| {
        it.snapshot_failure = None;
        it.last_snapshot = Some(snapshot(342, NOW.0 + 24_000));
    });
    assert_eq!(shown(&late), 342);
}

#[test]
fn workers_are_ready_while_their_tasks_run() {
    let mut case = case();
    case.workers[1].is_ready = false;
    let all = case.status().ready;
    assert_eq!(all.as_deref(), Some("2/2"), "the coordinator knows before a pod is asked");
    let mut case = case.shown(|it| it.phase = Doing::Rescaling);
    assert_eq!(case.status().ready.as_deref(), Some("1/2"));
    case = case.shown(|it| it.phase = Doing::Running);
    expect(&case, "Ready", "True", "AsExpected");
    case.workers[1].is_leaving = true;
    expect(&case, "Ready", "False", "WorkerLost");
    assert_eq!(case.condition("Ready").message, "worker 1 is told to end");
    case.workers.pop();
    assert_eq!(case.condition("Ready").message, "worker 1 has no pod");
    assert_eq!(case.status().ready.as_deref(), Some("1/2"));
    let case = case.shown(|it| it.phase = Doing::Restarting);
    assert_eq!(case.status().ready.as_deref(), Some("0/2"));
}

#[test]
fn what_was_found_of_the_flow_is_said_while_the_job_is_not_at_rest() {
    let found = |of: fn(&mut Flow) -> &mut Steady, finding: Finding| {
        let mut case = case();
        of(&mut case.seen.as_mut().unwrap().flow).settle(finding);
        case
    };
    for name in ["SourceCaughtUp", "WatermarkAdvancing", "Backpressured"] {
        expect(&case(), name, "Unknown", "NotKnownYet");
    }
    let behind = found(|it| &mut it.caught_up, Finding::no("Behind", "a of b"));
    expect(&behind, "SourceCaughtUp", "False", "Behind");
    assert_eq!(behind.condition("SourceCaughtUp").message, "a of b");
    let caught_up = found(|it| &mut it.caught_up, Finding::yes(""));
    expect(&caught_up, "SourceCaughtUp", "True", "AsExpected");
    let held = found(|it| &mut it.advancing, Finding::no("HeldBySplit", "a of b"));
    expect(&held, "WatermarkAdvancing", "False", "HeldBySplit");
    let idle = Finding { reason: "Idle", ..Finding::yes("") };
    expect(&found(|it| &mut it.advancing, idle), "WatermarkAdvancing", "True", "Idle");
    let blocked = Finding { reason: "Blocked", ..Finding::yes("a waits") };
    expect(&found(|it| &mut it.pressed, blocked), "Backpressured", "True", "Blocked");
    let free = Finding { holds: false, ..Finding::yes("") };
    expect(&found(|it| &mut it.pressed, free), "Backpressured", "False", "AsExpected");

    let restarting = behind.shown(|it| it.phase = Doing::Restarting);
    expect(&restarting, "SourceCaughtUp", "False", "Behind");
    let failed = restarting.ended(Outcome::Failed(Failure::new(ErrorKind::Invalid, "no")));
    expect(&failed, "SourceCaughtUp", "Unknown", "NotKnownYet");
}

#[test]
fn another_operator_says_what_was_said_of_the_flow_until_it_knows_better() {
    let mut told = case();
    let flow = &mut told.seen.as_mut().unwrap().flow;
    flow.caught_up.settle(Finding::no("Behind", "a of b"));
    flow.pressed.settle(Finding { reason: "Blocked", ..Finding::yes("a waits") });
    let mut next = case();
    next.job.status = Some(told.status());
    expect(&next, "SourceCaughtUp", "False", "Behind");
    assert_eq!(next.condition("SourceCaughtUp").message, "a of b");
    expect(&next, "Backpressured", "True", "Blocked");
    expect(&next, "WatermarkAdvancing", "Unknown", "NotKnownYet");
    let flow = &mut next.seen.as_mut().unwrap().flow;
    flow.caught_up.see(None, NOW);
    flow.caught_up.see(None, Timestamp(NOW.0 + 60_000));
    expect(&next, "SourceCaughtUp", "Unknown", "NotKnownYet");
    next.seen = None;
    expect(&next, "SourceCaughtUp", "False", "Behind");
}

#[test]
fn the_last_restart_is_told_step_by_step_and_stays() {
    assert_eq!(case().status().last_restart, None, "nothing has failed");
    let failed = |it: &mut Status| {
        let mut last = FailureStatus::new(Failure::new(ErrorKind::Unavailable, "lost"), NOW);
        last.workers_ready_at = Some(Timestamp(NOW.0 + 2_000));
        it.last_failure = Some(last);
    };
    let mut case = case().shown(failed);
    let told = case.status().last_restart.unwrap();
    assert_eq!((told.reason.as_str(), told.message.as_str()), ("WorkerLost", "lost"));
    assert_eq!(told.workers_ready_at, Some(time(Timestamp(NOW.0 + 2_000))));
    assert_eq!((told.detected_at.clone(), told.running_at.clone()), (time(NOW), None));
    // The next operator, which has seen no restart, says it on; and what a job ends with is none.
    case.job.status = Some(case.status());
    let case = case.shown(|it| (it.restarts, it.last_failure) = (0, None));
    assert_eq!(case.status().last_restart, Some(told.clone()));
    let case = case.shown(failed).shown(|it| it.restarts = 1);
    let ended = case.ended(Outcome::Failed(Failure::new(ErrorKind::Invalid, "no")));
    assert_eq!(ended.status().last_restart, Some(told));
}

#[test]
fn a_restart_would_use_the_newest_snapshot_or_what_the_run_began_with() {
    let uri = |case: &Case| case.status().restore_candidate.map(|it| it.uri);
    let mut case = case();
    assert_eq!(uri(&case).as_deref(), Some("s3://b/340"));
    case.job.status = Some(case.status());
    let restored = |from: &str, at: i64| {
        let from = from.to_owned();
        move |it: &mut Status| {
            it.restored = Some(Begun { from, epoch: Epoch(1), at: Timestamp(at) });
        }
    };
    // The run is younger than the last snapshot.
    let case = case.shown(restored("s3://b/12", NOW.0));
    assert_eq!(uri(&case), None, "nobody knows how old that is");
    let case = case.shown(restored("s3://b/340", NOW.0));
    assert_eq!(uri(&case).as_deref(), Some("s3://b/340"));
    let case = case.shown(|it| it.last_snapshot = Some(snapshot(350, NOW.0 + 40_000)));
    assert_eq!(uri(&case).as_deref(), Some("s3://b/350"));
    let case = case.shown(|it| (it.restored, it.last_snapshot) = (None, None));
    assert_eq!(uri(&case), None, "it began empty");
    let mut still = case.shown(|it| it.taken_over = true);
    assert_eq!(uri(&still).as_deref(), Some("s3://b/340"));
    still.seen = None;
    assert_eq!(uri(&still).as_deref(), Some("s3://b/340"));
}

#[test]
fn the_lag_is_that_of_all_splits_and_names_the_one_that_is_farthest_behind() {
    let split = |split: &str, records: Option<u64>| {
        let (source, split) = ("orders".into(), split.to_owned());
        Lag::of(SplitLag { source, split, records, delay: None, is_quiet: false })
    };
    let with = |lag: Lag| {
        let mut case = case();
        case.seen.as_mut().unwrap().flow.lag = lag;
        case
    };
    let shown = |case: &Case| {
        let lag = case.status().lag?;
        Some((lag.records, lag.slowest_split, lag.watermark_delay.is_some()))
    };
    let both = split("orders-0", Some(7)).and(split("orders-3", Some(1000)));
    let first = with(both.clone());
    assert_eq!(shown(&first), Some((Some(1007), Some("orders-3".to_owned()), false)));
    let mut near = with(both.clone().and(split("orders-1", Some(100))));
    near.job.status = Some(first.status());
    assert_eq!(shown(&near).unwrap().0, Some(1007), "that is no tenth more");
    let mut far = with(both.clone().and(split("orders-1", Some(101))));
    far.job.status = Some(first.status());
    assert_eq!(shown(&far).unwrap().0, Some(1108));
    let untold = with(both.and(split("file", None)));
    assert_eq!(shown(&untold), None, "nobody knows how much waits in a file");
}

#[test]
fn rates_and_delays_are_written_when_they_moved_by_a_tenth() {
    let at = |records_in: i64, seconds: i64| {
        let mut case = case();
        let flow = &mut case.seen.as_mut().unwrap().flow;
        flow.throughput = Some(Throughput { records_in, records_out: 7 });
        flow.watermark = Some(Timestamp(NOW.0 - seconds * 1000));
        case
    };
    let first = at(1000, 20).status();
    assert_eq!(first.throughput, Some(Throughput { records_in: 1000, records_out: 7 }));
    let mut later = at(1100, 22);
    later.job.status = Some(first.clone());
    assert_eq!((later.status().throughput, later.status().lag), (first.throughput, first.lag));
    let mut moved = at(1101, 23);
    moved.job.status.clone_from(&later.job.status);
    assert_eq!(moved.status().throughput.unwrap().records_in, 1101);
    assert_eq!(moved.status().lag.unwrap().watermark_delay.unwrap().0.as_secs(), 23);
    let still = moved.shown(|it| it.phase = Doing::Restarting);
    assert_eq!((still.status().throughput, still.status().lag), (None, None));
}
