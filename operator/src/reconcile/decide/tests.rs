//! Each decision, from facts that call for it.

use std::time::Duration;

use millstream_coordinator::status::{FailureStatus, Phase, Refusal, SnapshotStatus};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, Seq};

use super::*;
use crate::reconcile::validate::validate;
use crate::testing;

const STORE: &str = "snapshots: {store: 's3://b/p'}";

/// A job's spec, validated, as generation so and so.
fn valid(generation: i64, spec: &str) -> Valid {
    let mut job = testing::job("averages", &format!("{STORE}\n{spec}"));
    job.metadata.generation = Some(generation);
    validate(&job, &testing::operator()).unwrap()
}

fn live(generation: i64, spec: &str) -> Live {
    let accepted = Accepted::of(&valid(generation, spec));
    let replicas = pods(&accepted);
    Live { accepted, refused: None, previous: None, replicas, is_finished: false }
}

/// A coordinator that runs the job by what it was told first.
fn seen(told: Vec<Accepted>) -> Seen {
    let first = &told[0];
    let status = Status {
        phase: Phase::Running,
        generation: first.generation as u64,
        workers: first.spec.workers,
        ..Status::default()
    };
    Seen {
        status,
        outcome: None,
        is_stopping: false,
        told,
        is_rested: false,
        flow: Flow::default(),
    }
}

fn facts<'a>(
    valid: Option<&'a Valid>,
    live: Option<&'a Live>,
    coordinator: Option<&'a Seen>,
) -> Facts<'a> {
    let (trouble, now) = (None, Timestamp(1_000_000));
    let candidate_at = Some(now);
    Facts {
        valid,
        live,
        coordinator,
        is_outdated: false,
        trouble,
        has_snapshot: true,
        candidate_at,
        fit: &Fit::Yes,
        now,
    }
}

fn told(valid: &Valid) -> Order {
    Order::Edit(Box::new(Accepted::of(valid)))
}

#[test]
fn a_new_job_is_accepted_and_starts_and_one_with_mistakes_waits() {
    assert_eq!(decide(&facts(None, None, None)), None);
    let new = valid(1, "workers: 2");
    let decision = decide(&facts(Some(&new), None, None)).unwrap();
    assert_eq!((decision.replicas, decision.order), (2, Order::Start));
    assert!(decision.has_new_template);
    let still = valid(1, "workers: 2\nsuspend: true");
    let decision = decide(&facts(Some(&still), None, None)).unwrap();
    assert_eq!((decision.replicas, decision.order), (0, Order::Rest));
}

#[test]
fn after_a_restart_of_the_operator_the_spec_in_force_is_taken_over_before_any_edit() {
    let (live, edited) = (live(1, "workers: 2"), valid(2, "workers: 3\nimage: other:2"));
    let decision = decide(&facts(Some(&edited), Some(&live), None)).unwrap();
    assert_eq!(decision.order, Order::Start);
    assert_eq!((decision.accepted, decision.replicas), (live.accepted.clone(), 2));
    assert!(!decision.has_new_template && !decision.replaces_pods);
}

#[test]
fn a_start_that_was_cut_off_between_template_and_pods_is_carried_through() {
    let live = live(1, "workers: 2");
    let outdated = Facts { is_outdated: true, ..facts(None, Some(&live), None) };
    let decision = decide(&outdated).unwrap();
    assert_eq!((decision.order, decision.replaces_pods), (Order::Keep, true));
}

#[test]
fn pods_come_first_and_go_last() {
    let (two, three) = (live(1, "workers: 2"), valid(2, "workers: 3"));
    let mut seen = seen(vec![two.accepted.clone()]);
    let decision = decide(&facts(Some(&three), Some(&two), Some(&seen))).unwrap();
    assert_eq!(decision.order, told(&three));
    assert_eq!((decision.replicas, decision.accepted.generation), (3, 1));
    // Told once, and there is not a second time; the pods stay.
    seen.told.push(Accepted::of(&three));
    let live = Live { replicas: 3, ..two };
    let decision = decide(&facts(Some(&three), Some(&live), Some(&seen))).unwrap();
    assert_eq!((&decision.order, decision.replicas), (&Order::Keep, 3));
    // In force.
    seen.status.generation = 2;
    let decision = decide(&facts(Some(&three), Some(&live), Some(&seen))).unwrap();
    assert_eq!((&decision.order, decision.replicas), (&Order::Keep, 3));
    assert_eq!(decision.accepted, Accepted::of(&three));
    // Down again: three pods until one worker is in force.
    let live = Live { accepted: decision.accepted, replicas: 3, ..live };
    let one = valid(3, "workers: 1");
    let decision = decide(&facts(Some(&one), Some(&live), Some(&seen))).unwrap();
    assert_eq!((&decision.order, decision.replicas), (&told(&one), 3));
    seen.told.push(Accepted::of(&one));
    seen.status.generation = 3;
    let decision = decide(&facts(Some(&one), Some(&live), Some(&seen))).unwrap();
    assert_eq!((&decision.order, decision.replicas), (&Order::Keep, 1));
}

#[test]
fn a_job_that_runs_as_it_should_asks_nothing_of_the_api_server() {
    let (two, other) = (live(1, "workers: 2"), valid(2, "workers: 2\nimage: other:2"));
    let as_it_is = valid(1, "workers: 2");
    let seen = seen(vec![two.accepted.clone()]);
    let is_as_it_is = |valid: &Valid, live: &Live, facts: Facts| {
        is_as_it_is(&decide(&Facts { valid: Some(valid), ..facts }).unwrap(), live)
    };
    let running = facts(None, Some(&two), Some(&seen));
    assert!(is_as_it_is(&as_it_is, &two, running));
    assert!(!is_as_it_is(&other, &two, running), "it is to be stopped");
    assert!(!is_as_it_is(&as_it_is, &two, facts(None, Some(&two), None)), "nobody coordinates it");
    let more = Live { replicas: 3, ..two.clone() };
    assert!(!is_as_it_is(&as_it_is, &more, facts(None, Some(&more), Some(&seen))));
    let (rests, resting) = (live(1, "suspend: true"), valid(1, "suspend: true"));
    assert!(is_as_it_is(&resting, &rests, facts(None, Some(&rests), None)));
}

#[test]
fn what_was_taken_back_is_told_too() {
    let two = live(1, "workers: 2");
    let mut seen = seen(vec![two.accepted.clone()]);
    seen.told.push(Accepted::of(&valid(2, "workers: 3")));
    let back = valid(3, "workers: 2");
    let decision = decide(&facts(Some(&back), Some(&two), Some(&seen))).unwrap();
    assert_eq!(decision.order, told(&back));
}

#[test]
fn what_was_refused_is_kept_in_mind_until_something_else_is_written() {
    let (two, wrong) = (live(1, "workers: 2"), valid(2, "workers: 3"));
    let mut seen = seen(vec![two.accepted.clone(), Accepted::of(&wrong)]);
    let failure = Failure::new(ErrorKind::Invalid, "no");
    seen.status.refused = Some(Refusal { generation: 2, failure });
    let decision = decide(&facts(Some(&wrong), Some(&two), Some(&seen))).unwrap();
    assert_eq!((&decision.order, decision.replicas), (&Order::Keep, 2));
    let refused = Refused { hash: wrong.hash.clone(), message: "no".into() };
    assert_eq!(decision.refused, Some(refused));
    // Also by an operator that comes after.
    let live = Live { refused: decision.refused, ..two };
    seen.told.truncate(1);
    seen.status.refused = None;
    let decision = decide(&facts(Some(&wrong), Some(&live), Some(&seen))).unwrap();
    assert_eq!((&decision.order, &decision.refused), (&Order::Keep, &live.refused));
    let other = valid(3, "workers: 1");
    let decision = decide(&facts(Some(&other), Some(&live), Some(&seen))).unwrap();
    assert_eq!((decision.order, decision.refused), (told(&other), None));
}

#[test]
fn an_invalid_edit_disturbs_nothing() {
    let two = live(1, "workers: 2");
    let seen = seen(vec![two.accepted.clone()]);
    let decision = decide(&facts(None, Some(&two), Some(&seen))).unwrap();
    assert_eq!(
        (decision.order, decision.accepted, decision.replicas),
        (Order::Keep, two.accepted, 2)
    );
}

#[test]
fn a_suspension_stops_the_job_before_its_pods_go() {
    let (two, still) = (live(1, "workers: 2"), valid(2, "workers: 2\nsuspend: true"));
    let mut seen = seen(vec![two.accepted.clone()]);
    let decision = decide(&facts(Some(&still), Some(&two), Some(&seen))).unwrap();
    assert_eq!((decision.order, decision.replicas), (Order::Stop, 2));
    seen.is_stopping = true;
    let decision = decide(&facts(Some(&still), Some(&two), Some(&seen))).unwrap();
    assert_eq!((decision.order, decision.replicas), (Order::Keep, 2));
    seen.outcome = Some(Outcome::Suspended { snapshot: true });
    let decision = decide(&facts(Some(&still), Some(&two), Some(&seen))).unwrap();
    assert_eq!((decision.order, decision.replicas), (Order::Rest, 0));
    assert!(decision.accepted.spec.suspend);
    // And resumes.
    let live = Live { accepted: decision.accepted, replicas: 0, ..two };
    let again = valid(3, "workers: 2");
    let decision = decide(&facts(Some(&again), Some(&live), None)).unwrap();
    assert_eq!((decision.order, decision.replicas), (Order::Start, 2));
}

#[test]
fn new_pods_are_made_after_the_stop_and_the_job_starts_when_the_old_ones_are_gone() {
    let (old, new) = (live(1, "image: a:1"), valid(2, "image: a:2"));
    let mut seen = seen(vec![old.accepted.clone()]);
    let decision = decide(&facts(Some(&new), Some(&old), Some(&seen))).unwrap();
    assert_eq!(decision.order, Order::Stop);
    assert!(!decision.has_new_template);
    seen.outcome = Some(Outcome::Suspended { snapshot: true });
    let decision = decide(&facts(Some(&new), Some(&old), Some(&seen))).unwrap();
    assert_eq!((&decision.order, decision.has_new_template), (&Order::Keep, true));
    assert_eq!(decision.accepted, Accepted::of(&new));
    let live = Live { accepted: decision.accepted, ..old };
    let here = Facts { is_outdated: true, ..facts(Some(&new), Some(&live), Some(&seen)) };
    let decision = decide(&here).unwrap();
    assert_eq!((&decision.order, decision.replaces_pods), (&Order::Keep, true));
    assert!(!decision.has_new_template);
    let decision = decide(&facts(Some(&new), Some(&live), Some(&seen))).unwrap();
    assert_eq!((&decision.order, decision.replaces_pods), (&Order::Start, false));
}

#[test]
fn a_version_that_needs_new_pods_is_asked_whether_it_fits_before_the_stop() {
    let (old, new) = (live(1, "image: a:1"), valid(2, "image: a:2"));
    let runs = seen(vec![old.accepted.clone()]);
    let with = |fit: &Fit, seen: &Seen| {
        decide(&Facts { fit, ..facts(Some(&new), Some(&old), Some(seen)) }).unwrap()
    };
    let decision = with(&Fit::Unasked, &runs);
    assert_eq!(decision.order, Order::Check(Box::new(Accepted::of(&new))));
    assert_eq!((decision.accepted, decision.refused), (old.accepted.clone(), None));
    assert_eq!(with(&Fit::Asked, &runs).order, Order::Keep);
    assert_eq!(with(&Fit::Yes, &runs).order, Order::Stop);
    let decision = with(&Fit::No("state counts".to_owned()), &runs);
    assert_eq!((&decision.order, &decision.accepted), (&Order::Keep, &old.accepted));
    let refused = decision.refused.unwrap();
    assert!(refused.message.ends_with(": state counts"), "{}", refused.message);
    let live = Live { refused: Some(refused.clone()), ..old.clone() };
    let still = decide(&facts(Some(&new), Some(&live), Some(&runs))).unwrap();
    assert_eq!((still.order, still.refused), (Order::Keep, Some(refused)), "it is not asked again");
    let mut fails = runs.clone();
    fails.status.phase = Phase::Restarting;
    assert_eq!(with(&Fit::Unasked, &fails).order, Order::Stop, "it may be what mends the job");
}

#[test]
fn a_finished_job_gives_its_pods_back_and_stays_so() {
    let two = live(1, "workers: 2");
    let as_is = valid(1, "workers: 2");
    let mut seen = seen(vec![two.accepted.clone()]);
    seen.outcome = Some(Outcome::Finished { already: false });
    let decision = decide(&facts(Some(&as_is), Some(&two), Some(&seen))).unwrap();
    assert_eq!((decision.replicas, decision.is_finished, decision.order), (0, true, Order::Rest));
    let live = Live { is_finished: true, replicas: 0, ..two };
    let decision = decide(&facts(Some(&as_is), Some(&live), None)).unwrap();
    assert_eq!((decision.replicas, decision.is_finished, decision.order), (0, true, Order::Rest));
}

#[test]
fn a_failed_job_waits_for_another_spec_and_a_fenced_coordinator_for_a_while() {
    let two = live(1, "workers: 2");
    let as_is = valid(1, "workers: 2");
    let mut seen = seen(vec![two.accepted.clone()]);
    let failure = Failure::new(ErrorKind::Invalid, "no");
    seen.outcome = Some(Outcome::Failed(failure.clone()));
    let decide_on = |valid: &Valid, seen: &Seen| {
        decide(&facts(Some(valid), Some(&two), Some(seen))).unwrap().order
    };
    assert_eq!(decide_on(&as_is, &seen), Order::Keep);
    assert_eq!(decide_on(&valid(2, "workers: 1"), &seen), Order::Start);
    seen.outcome = Some(Outcome::Fenced(failure));
    assert_eq!(decide_on(&as_is, &seen), Order::Keep);
    seen.is_rested = true;
    assert_eq!(decide_on(&as_is, &seen), Order::Start);
}

#[test]
fn a_job_that_has_failed_goes_on_by_another_template_once_its_pods_are_there() {
    let was = live(1, "workers: 2");
    let other = valid(2, "workers: 2\nimage: r/other:2");
    let mut seen = seen(vec![was.accepted.clone()]);
    seen.outcome = Some(Outcome::Failed(Failure::new(ErrorKind::Invalid, "no such program")));
    let first = decide(&facts(Some(&other), Some(&was), Some(&seen))).unwrap();
    assert!(first.has_new_template);
    assert_eq!(first.order, Order::Keep, "the old pods go first");
    let taken = Live { accepted: first.accepted, ..was };
    let mut there = facts(Some(&other), Some(&taken), Some(&seen));
    there.is_outdated = true;
    let next = decide(&there).unwrap();
    assert!(next.replaces_pods);
    assert_eq!(next.order, Order::Keep);
    there.is_outdated = false;
    assert_eq!(decide(&there).unwrap().order, Order::Start);
    let mut again = seen.clone();
    again.told = vec![taken.accepted.clone()];
    there.coordinator = Some(&again);
    assert_eq!(decide(&there).unwrap().order, Order::Keep, "it has failed, too");
}

#[test]
fn a_volume_cannot_change_yet_and_says_so() {
    let two = live(1, "workers: 2");
    let other = valid(2, "workers: 2\nstate: {localVolume: {size: 1Gi}}");
    let seen = seen(vec![two.accepted.clone()]);
    let decision = decide(&facts(Some(&other), Some(&two), Some(&seen))).unwrap();
    assert_eq!(decision.order, Order::Keep);
    let here = facts(Some(&other), Some(&two), None);
    let why = blocked(&two, &Accepted::of(&other), &here).unwrap().message;
    assert!(why.starts_with("spec.state.localVolume: "), "{why}");
    assert_eq!(blocked(&two, &two.accepted, &here), None);
}

#[test]
fn a_change_waits_where_the_newest_snapshot_is_older_than_it_may_be() {
    let now = Timestamp(1_000_000_000);
    let taken = |minutes: u64| Some(Timestamp(now.0 - minutes as i64 * 60_000));
    let limit = "restore: {maxAge: 1h}";
    let rests = live(1, "suspend: true");
    let resumed = valid(2, limit);
    let at = |minutes| Facts {
        candidate_at: taken(minutes),
        now,
        ..facts(Some(&resumed), Some(&rests), None)
    };
    assert_eq!(decide(&at(59)).unwrap().order, Order::Start);
    assert_eq!(decide(&at(61)).unwrap().accepted, rests.accepted, "it rests on");
    let blocked = blocked(&rests, &Accepted::of(&resumed), &at(61)).unwrap();
    assert_eq!(blocked.reason, "StateTooOld");
    assert!(blocked.message.starts_with("spec.restore.maxAge is 1h,"), "{}", blocked.message);
    // Of a job that runs, what is stopped is not begun anew by less than it had.
    let runs = live(1, "image: a:1");
    let seen = seen(vec![runs.accepted.clone()]);
    let order = |spec: &str, minutes| {
        let next = valid(2, spec);
        let facts = facts(Some(&next), Some(&runs), Some(&seen));
        decide(&Facts { candidate_at: taken(minutes), now, ..facts }).unwrap().order
    };
    let image = format!("image: a:2\n{limit}");
    assert_eq!(order(&image, 61), Order::Keep);
    assert_eq!(order(&image, 59), Order::Stop);
    assert_eq!(order(&format!("suspend: true\n{image}"), 61), Order::Stop);
    let workers = order(&format!("image: a:1\nworkers: 3\n{limit}"), 61);
    assert!(matches!(workers, Order::Edit(_)), "{workers:?}");
    let empty = "image: a:2\nrestore: {maxAge: 1h, from: Empty, request: 1}";
    assert_eq!(order(empty, 61), Order::Stop, "it goes on from no snapshot");
}

/// A job that runs by generation 1 and is given another image as generation 2: what is there once
/// it has stopped.
fn upgraded() -> (Valid, Live) {
    let (one, two) = (live(1, "image: a:1"), valid(2, "image: a:2"));
    let mut stopped = seen(vec![one.accepted.clone()]);
    stopped.outcome = Some(Outcome::Suspended { snapshot: true });
    let decision = decide(&facts(Some(&two), Some(&one), Some(&stopped))).unwrap();
    assert!(decision.has_new_template);
    assert_eq!(decision.accepted.generation, 2);
    let previous = Previous { accepted: one.accepted.clone(), since: Timestamp(1_000_000) };
    assert_eq!(decision.previous, Some(previous));
    (two, Live { accepted: decision.accepted, previous: decision.previous, ..one })
}

/// What is decided so long after the upgrade, with this coordinator at work.
fn later(secs: i64, trouble: Option<&str>, live: &Live, seen: &Seen, valid: &Valid) -> Decision {
    let now = Timestamp(1_000_000 + secs * 1000);
    decide(&Facts { trouble, now, ..facts(Some(valid), Some(live), Some(seen)) }).unwrap()
}

#[test]
fn a_version_whose_pods_do_not_come_up_is_given_up_and_the_job_goes_back() {
    let (two, live) = upgraded();
    let mut seen = seen(vec![live.accepted.clone()]);
    seen.status.phase = Phase::Pending;
    let trouble = Some("averages-0: no such image");
    assert_eq!(later(50, trouble, &live, &seen, &two).order, Order::Keep);
    assert_eq!(later(500, None, &live, &seen, &two).order, Order::Keep, "images take their time");
    assert_eq!(later(700, None, &live, &seen, &two).order, Order::Stop);
    let decision = later(70, trouble, &live, &seen, &two);
    assert_eq!(decision.order, Order::Stop);
    let refused = decision.refused.clone().unwrap();
    assert_eq!(refused.hash, two.hash);
    assert!(refused.message.ends_with("averages-0: no such image"), "{}", refused.message);
    // It has stopped.
    let live = Live { refused: decision.refused, ..live };
    seen.outcome = Some(Outcome::Suspended { snapshot: true });
    let decision = later(75, trouble, &live, &seen, &two);
    assert_eq!(decision.accepted.generation, 1);
    assert!(decision.has_new_template && decision.previous.is_none());
    assert_eq!(decision.refused, Some(refused));
    // It is not tried again, but another one is.
    let live = Live { accepted: decision.accepted, refused: decision.refused, ..live };
    let mut seen = self::seen(vec![live.accepted.clone()]);
    seen.status.phase = Phase::Running;
    assert_eq!(later(80, None, &live, &seen, &two).order, Order::Keep);
    let three = valid(3, "image: a:3");
    assert_eq!(later(80, None, &live, &seen, &three).order, Order::Stop);
}

#[test]
fn a_version_that_fails_for_good_is_taken_back_at_once_unless_it_has_published() {
    let (two, live) = upgraded();
    let mut seen = seen(vec![live.accepted.clone()]);
    seen.outcome = Some(Outcome::Failed(Failure::new(ErrorKind::Invalid, "state does not fit")));
    let decision = later(3, None, &live, &seen, &two);
    assert_eq!(decision.accepted.generation, 1);
    assert!(decision.refused.unwrap().message.ends_with("state does not fit"));
    // How the one before had ended is not its own failure.
    let old = live.previous.as_ref().unwrap().accepted.clone();
    let before = Seen { told: vec![old], ..seen.clone() };
    let decision = later(3, None, &live, &before, &two);
    assert_eq!((decision.accepted.generation, decision.order), (2, Order::Start));
    seen.status.last_snapshot = Some(published_at(1_000_001));
    let decision = later(3, None, &live, &seen, &two);
    assert_eq!((decision.accepted.generation, decision.order), (2, Order::Keep));
}

#[test]
fn a_version_is_given_up_for_its_own_failures_and_no_more_once_it_has_published() {
    let (two, live) = upgraded();
    let mut seen = seen(vec![live.accepted.clone()]);
    seen.status.phase = Phase::Restarting;
    let failed = |kind| Some(FailureStatus::new(Failure::new(kind, "why"), Timestamp(1_005_000)));
    seen.status.last_failure = failed(ErrorKind::Unavailable);
    assert_eq!(later(90, None, &live, &seen, &two).order, Order::Keep, "the bucket is away");
    seen.status.last_failure = failed(ErrorKind::User);
    assert_eq!(later(90, None, &live, &seen, &two).order, Order::Stop);
    seen.status.phase = Phase::Running;
    assert_eq!(later(90, None, &live, &seen, &two).order, Order::Keep, "it runs just now");
    seen.status.phase = Phase::Restarting;
    seen.status.last_snapshot = Some(published_at(1_001_000));
    let decision = later(90, None, &live, &seen, &two);
    assert_eq!((decision.order, decision.previous), (Order::Keep, None));
}

#[test]
fn what_has_never_come_up_is_nothing_to_go_back_to() {
    let (_, live) = upgraded();
    let mut stopped = seen(vec![live.accepted.clone()]);
    stopped.outcome = Some(Outcome::Suspended { snapshot: true });
    let three = valid(3, "image: a:3");
    let decision = later(20, None, &live, &stopped, &three);
    assert_eq!(decision.previous.unwrap().accepted.generation, 1);
    // The first version of a job, and what is resumed.
    let first = Live { previous: None, ..live.clone() };
    let none = Facts { has_snapshot: false, ..facts(Some(&three), Some(&first), Some(&stopped)) };
    assert_eq!(decide(&none).unwrap().previous, None);
    let mut still = first;
    still.accepted.spec.suspend = true;
    assert_eq!(decide(&facts(Some(&three), Some(&still), None)).unwrap().previous, None);
}

fn published_at(at: i64) -> SnapshotStatus {
    SnapshotStatus {
        epoch: Epoch(7),
        seq: Seq(9),
        uri: "s3://b/p".into(),
        completed_at: Timestamp(at),
        duration: Duration::ZERO,
        bytes: 1,
        new_bytes: 1,
    }
}
