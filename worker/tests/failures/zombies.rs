//! Processes that sleep and wake up too late, and a memory that is lost: who is not the job's
//! newest run changes nothing, and what cannot be known is not guessed.

use millstream_testkit::{Call, End, Fault, Life, Passage, S3};

use crate::place::{LOOK_EVERY, PATIENCE, Parts, Place, hold_at, is_put, parts};

/// Runs until a call of this kind is held: the first of its snapshot, since those before it are
/// long committed.
fn run_until_held(parts: &Parts, place: &Place, call: Call) -> Life {
    let sets = ["snapshots.interval=2s", "program.args.transactionTimeoutMs=5000"];
    let mut life = place.run(2, &sets.map(|set| format!("spec.{set}")));
    place.commits(&mut life, 2);
    let reached = hold_at(&parts.kafka, 1, call, Passage::Hold).recv_timeout(PATIENCE);
    assert_eq!(reached, Ok(()), "{call:?} does not come:\n{}", life.said());
    life
}

/// A process that was locked out has stopped and says why.
#[track_caller]
fn assert_locked_out(end: &End) {
    assert_eq!(end.code, Some(3), "{end:?}");
    assert!(end.said.lines().any(|line| line.starts_with("error: ")), "{end:?}");
}

fn finish(parts: &Parts, place: &Place, feed: crate::input::Feed, life: Life) {
    feed.finish();
    let end = life.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    place.check_all(parts, "in the end");
}

pub(crate) fn asleep_between_publish_and_commit_for_longer_than_a_transaction_may_last() {
    let parts = parts();
    let place = Place::new(&parts, "asleep");
    let feed = place.feed();
    let mut life = run_until_held(&parts, &place, Call::End);
    life.signal("STOP");
    assert_ne!(place.open_transactions(), [0; 0], "its records are sent");
    let before = place.seen();
    let mut looks = PATIENCE.as_millis() / LOOK_EVERY.as_millis();
    while !place.open_transactions().is_empty() {
        looks -= 1;
        assert!(looks > 0 && life.go_on(LOOK_EVERY), "the broker does not end its transaction");
    }
    // That it is to be committed arrives when it is over.
    parts.kafka.gate().let_go();
    assert!(life.go_on(LOOK_EVERY * 4));
    assert!(place.seen() == before, "nothing of it is visible");
    life.signal("CONT");
    place.commits(&mut life, 2);
    place.check_part("awake");
    finish(&parts, &place, feed, life);
}

pub(crate) fn a_zombie_that_commits_is_locked_out() {
    let parts = parts();
    let place = Place::new(&parts, "commits");
    let feed = place.feed();
    let zombie = run_until_held(&parts, &place, Call::End);
    zombie.signal("STOP");
    parts.kafka.gate().rule(|_| Passage::Through);
    let mut life = place.run(3, &[]);
    place.commits(&mut life, 2);
    let before = place.check_part("taken over");
    // What it had sent arrives now, and then it wakes up.
    parts.kafka.gate().let_go();
    zombie.signal("CONT");
    assert_locked_out(&zombie.end());
    let after = place.check_part("locked out");
    assert!(after[0].len() >= before[0].len());
    place.commits(&mut life, 2);
    finish(&parts, &place, feed, life);
}

pub(crate) fn a_zombie_that_publishes_is_locked_out() {
    let parts = parts();
    let place = Place::new(&parts, "publishes");
    let feed = place.feed();
    let mut zombie = place.run(2, &[]);
    place.commits(&mut zombie, 2);
    let reached = place.stop_at(1, Fault::Hang, |request| is_put(request, "/log/"));
    assert_eq!(reached.recv_timeout(PATIENCE), Ok(()), "{}", zombie.said());
    zombie.signal("STOP");
    place.proxy.pass();
    let mut life = place.run(1, &[]);
    place.commits(&mut life, 2);
    // Its append is tried again when it wakes up.
    zombie.signal("CONT");
    assert_locked_out(&zombie.end());
    place.check_part("locked out");
    place.commits(&mut life, 2);
    finish(&parts, &place, feed, life);
}

pub(crate) fn a_lost_token_is_refused_until_somebody_has_looked() {
    let parts = parts();
    // Nothing of the newest snapshot is in the topics: its predecessor is what they show.
    let place = Place::new(&parts, "not-there");
    let feed = place.feed();
    let life = run_until_held(&parts, &place, Call::Produce);
    assert_eq!(life.kill().code, None);
    parts.kafka.gate().cut();
    let log = format!("s3://{}/default/{}/log", S3::BUCKET, place.name);
    let before = format!("{log}/{:020}.json", place.newest_mark(&parts.s3));
    refused_without_token(&place);
    let sets = ["spec.restore.from=Snapshot".to_owned(), format!("spec.restore.uri={before}")];
    let end = place.start(2, &sets).end();
    assert_eq!(end.code, Some(2), "also to go back: {end:?}");
    place.mark(&parts.s3);
    let mut life = place.run(2, &sets);
    place.commits(&mut life, 2);
    place.check_part("gone back");
    finish(&parts, &place, feed, life);

    // All of it is, and only the mark is missing.
    let place = Place::new(&parts, "there");
    let feed = place.feed();
    let mut life = place.run(2, &[]);
    place.commits(&mut life, 2);
    let reached = place.stop_at(1, Fault::Hang, |request| is_put(request, "/committed/"));
    assert_eq!(reached.recv_timeout(PATIENCE), Ok(()), "{}", life.said());
    assert_eq!(life.kill().code, None);
    place.proxy.pass();
    refused_without_token(&place);
    place.mark(&parts.s3);
    let mut life = place.run(2, &[]);
    place.commits(&mut life, 2);
    place.check_part("gone on");
    finish(&parts, &place, feed, life);
}

/// Deletes the tokens; then no start is possible, and none sends anything.
fn refused_without_token(place: &Place) {
    place.settle("killed");
    let before = place.check_part("killed");
    place.delete_tokens(2);
    for threads in [2, 1] {
        let end = place.start(threads, &[]).end();
        assert_eq!(end.code, Some(2), "{end:?}");
        let last = end.said.lines().last().unwrap();
        let begin = format!("error: {}: operator ", place.name);
        assert!(last.starts_with(&begin) && last.contains("offsets.retention.minutes"), "{last}");
        assert!(last.contains("snapshots mark"), "{last}");
        assert!(place.seen() == before, "nothing is sent on a guess");
    }
}
