//! The sink: what readers of the bucket see, through crashes and faults.

use std::time::Duration;

use millstream_dataflow::connector::files::FileSink;
use millstream_dataflow::connector::generator::Generator;
use millstream_dataflow::{Job, Kind};
use millstream_protocol::id::Epoch;
use millstream_testkit::{Fault, Request};

use crate::life::{Base, Life};
use crate::place::Place;

/// Numbers from 0 on, at one per millisecond of the clock, so many.
fn numbers(place: &Place, records: u64) -> Job {
    let job = Job::new(Default::default());
    let source = Generator::new(|i| i).records(records).splits(8).records_per_second(1000.0);
    let sink = FileSink::json(place.address()).endpoint(place.proxy.endpoint());
    job.source("in", source).rebalance().sink("out", sink);
    job
}

/// Numbers that are all there, each once; says the first that is not.
#[track_caller]
pub(crate) fn assert_all(numbers: &[u64], records: u64) {
    let wrong = numbers.iter().zip(0..).find(|(number, place)| **number != *place);
    assert_eq!((wrong, numbers.len() as u64), (None, records));
}

pub(crate) async fn objects_appear_when_their_snapshot_is_committed() {
    let place = Place::new("appear").await;
    let job = numbers(&place, 5000);
    let mut life = Life::start((place.name, &job), 1, 2, &Base::default()).await.unwrap();
    life.take("out", 1000);
    life.snapshot(1).await.unwrap();
    assert_eq!(place.keys().await, [""; 0], "nothing can be seen before");
    assert_eq!(place.unfinished().await.len(), 2);
    life.commit(1).await.unwrap();
    let keys = place.keys().await;
    assert_eq!(
        keys,
        [
            "appear/test.appear.out-0000000001-1-0-0.ndjson",
            "appear/test.appear.out-0000000001-1-1-0.ndjson"
        ]
    );
    assert!(place.numbers().await.len() >= 1000);
    // A command that comes twice.
    life.commit(1).await.unwrap();
    assert_eq!(place.keys().await, keys);
    life.finish(2).await.unwrap();
    assert_all(&place.numbers().await, 5000);
    assert_eq!(place.unfinished().await, [""; 0]);
}

/// The request that makes an upload an object.
fn is_completion(request: &Request) -> bool {
    request.method == "POST" && request.target.contains("uploadId")
}

fn is_part(request: &Request) -> bool {
    request.target.contains("partNumber")
}

pub(crate) async fn a_crash_at_any_point_loses_nothing_and_doubles_nothing() {
    let place = Place::new("crash").await;
    let job = numbers(&place, 6000);
    let name = (place.name, &job);
    let mut life = Life::start(name, 1, 3, &Base::default()).await.unwrap();
    life.take("out", 1000);
    let base = life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    // Killed between prepare and publish: what was uploaded belongs to nobody.
    life.take("out", 2000);
    life.snapshot(2).await.unwrap();
    drop(life);
    assert_eq!(place.unfinished().await.len(), 3);
    let seen = place.numbers().await;
    let mut life = Life::start(name, 2, 2, &base).await.unwrap();
    assert_eq!(place.unfinished().await, [""; 0], "given up");
    assert_eq!(place.numbers().await, seen);
    // Killed between publish and commit.
    life.take("out", 1500);
    let base = life.snapshot(3).await.unwrap();
    life.take("out", 1700);
    drop(life);
    // Then, within the commit: one task completes one upload, and is denied the next.
    let mut left = 1;
    place.proxy.rule(move |request| {
        if !is_completion(request) {
            return Fault::None;
        }
        left -= 1;
        if left >= 0 { Fault::None } else { Fault::Answer(403) }
    });
    let error = Life::start(name, 3, 1, &base).await.err().unwrap();
    assert!(error.to_string().contains("access denied: allow s3:PutObject"), "{error}");
    assert!(place.numbers().await.len() > seen.len(), "one was completed");
    place.proxy.pass();
    // With all of it visible and nobody told; with fewer tasks and with more.
    for (run, threads) in [(4, 1), (5, 4)] {
        let life = Life::start(name, run, threads, &base).await.unwrap();
        let seen = place.numbers().await;
        assert!(seen.len() >= 2500, "run {run}: {}", seen.len());
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "run {run}");
        assert_eq!(place.unfinished().await, [""; 0], "run {run}");
        life.take("out", 500);
        drop(life);
    }
    let life = Life::start(name, 6, 3, &base).await.unwrap();
    life.finish(4).await.unwrap();
    assert_all(&place.numbers().await, 6000);
    assert_eq!(place.unfinished().await, [""; 0]);
}

pub(crate) async fn every_lost_answer_is_survived() {
    let place = Place::new("lost").await;
    let job = numbers(&place, 2000);
    // Every request's answer is lost the first time: completions too.
    let mut seen = Vec::new();
    place.proxy.rule(move |request| {
        let is_new = !seen.contains(request);
        seen.push(request.clone());
        if is_new { Fault::Swallow } else { Fault::None }
    });
    let mut life = Life::start((place.name, &job), 1, 2, &Base::default()).await.unwrap();
    life.take("out", 1000);
    life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    life.finish(2).await.unwrap();
    let seen = place.proxy.seen();
    let completions: Vec<_> = seen.iter().filter(|it| is_completion(it)).collect();
    // A busy machine may give one of the two tasks nothing to write for a snapshot.
    assert!(completions.len() >= 4, "of two snapshots: {}", completions.len());
    let times = |one| completions.iter().filter(|it| **it == one).count();
    assert!(completions.iter().all(|one| times(*one) >= 2), "each at least twice");
    assert_all(&place.numbers().await, 2000);
}

pub(crate) async fn an_epoch_that_was_given_up_rides_with_the_next() {
    let place = Place::new("rides").await;
    let job = numbers(&place, 3000);
    let mut life = Life::start((place.name, &job), 1, 1, &Base::default()).await.unwrap();
    life.take("out", 1000);
    life.snapshot(1).await.unwrap();
    life.engine.abort(Epoch(1));
    life.take("out", 2000);
    let base = life.snapshot(2).await.unwrap();
    drop(life);
    let life = Life::start((place.name, &job), 2, 1, &base).await.unwrap();
    assert!(place.numbers().await.len() >= 2000);
    life.finish(3).await.unwrap();
    assert_all(&place.numbers().await, 3000);
}

pub(crate) async fn an_upload_that_is_gone_and_a_foreign_object_are_refused() {
    let place = Place::new("refused").await;
    let job = numbers(&place, 3000);
    let name = (place.name, &job);
    let mut life = Life::start(name, 1, 1, &Base::default()).await.unwrap();
    life.take("out", 1000);
    let base = life.snapshot(1).await.unwrap();
    drop(life);
    let key = "refused/test.refused.out-0000000001-1-0-0.ndjson";
    place.s3.write(key, b"foreign");
    let error = Life::start(name, 2, 1, &base).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let exists = format!("s3://snapshots/{key} exists and is not of this sink");
    assert!(error.to_string().contains(&exists), "{error}");
    assert_eq!(place.s3.read(key).unwrap(), b"foreign");
    place.s3.remove(key);
    place.expire_uploads().await;
    let error = Life::start(name, 3, 1, &base).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Corrupt);
    let text = error.to_string();
    assert!(text.contains(&format!("s3://snapshots/{key} cannot be completed")), "{text}");
    assert!(text.contains("its upload is gone") && text.contains("lifecycle rule"), "{text}");
}

pub(crate) async fn results_of_later_snapshots_are_not_doubled() {
    let place = Place::new("back").await;
    let job = numbers(&place, 3000);
    let name = (place.name, &job);
    let mut life = Life::start(name, 1, 1, &Base::default()).await.unwrap();
    life.take("out", 500);
    let base = life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    life.take("out", 1000);
    life.snapshot(2).await.unwrap();
    life.commit(2).await.unwrap();
    drop(life);
    let error = Life::start(name, 2, 1, &base).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let text = error.to_string();
    assert!(text.contains("holds results up to snapshot 2 at least"), "{text}");
    // It says what to remove.
    place.s3.remove("back/test.back.out-0000000002-1-0-1.ndjson");
    let life = Life::start(name, 2, 1, &base).await.unwrap();
    life.finish(3).await.unwrap();
    assert_all(&place.numbers().await, 3000);
}

/// Lines of a hundred thousand bytes.
fn long_lines(place: &Place, records: u64) -> Job {
    let job = Job::new(Default::default());
    let line = |i: u64| format!("{}{i:09}", "0".repeat(99_990));
    let source = Generator::new(line).records(records).records_per_second(1000.0);
    let sink = FileSink::lines(place.address()).endpoint(place.proxy.endpoint());
    job.source("in", source).parallelism(1).sink("out", sink.roll_bytes(20 << 20));
    job
}

pub(crate) async fn large_objects_go_in_parts_and_a_store_that_stands_still_holds_the_sink_up() {
    let place = Place::new("large").await;
    let job = long_lines(&place, 2000);
    let mut life = Life::start((place.name, &job), 1, 1, &Base::default()).await.unwrap();
    // One of three parts is refused and sent again, one in five is slow.
    let mut parts = 0;
    place.proxy.rule(move |request| {
        parts += u32::from(is_part(request));
        match parts % 15 {
            3 | 6 | 9 | 12 if is_part(request) => Fault::Answer(503),
            5 | 10 if is_part(request) => Fault::Slow(Duration::from_millis(300)),
            _ => Fault::None,
        }
    });
    life.take("out", 500);
    life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    let keys = place.keys().await;
    assert!(keys.len() >= 2, "rolled by size: {keys:?}");
    let first = place.s3.read(&keys[0]).unwrap();
    assert!(first.len() >= 20 << 20 && first.len() < 40 << 20, "{}", first.len());
    assert!(place.proxy.seen().iter().any(|it| it.target.contains("partNumber=3")));
    // Now no part comes through: what the sink takes in is bounded.
    let late = Fault::Slow(Duration::from_secs(6));
    place.proxy.rule(move |request| if is_part(request) { late } else { Fault::None });
    let before = life.taken("out");
    life.pass(100_000);
    tokio::time::timeout(Duration::from_secs(3), life.next()).await.unwrap_err();
    let held = life.taken("out") - before;
    assert!(held * 100_000 < 100 << 20, "{held} lines were taken in");
    place.proxy.pass();
    life.finish(2).await.unwrap();
    assert_all(&place.numbers().await, 2000);
}

pub(crate) async fn mistakes_are_told_before_the_first_record() {
    let place = Place::new("mistakes").await;
    let refused = |sink| async {
        let job = Job::new(Default::default());
        job.source("in", Generator::new(|i| i).records(1)).sink("out", sink);
        let error = Life::start(("mistakes", &job), 1, 1, &Base::default()).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        error.to_string()
    };
    let endpoint = place.s3.endpoint();
    let text = refused(FileSink::json("s3://nowhere/a").endpoint(&endpoint)).await;
    let no_bucket = format!("{endpoint} has no bucket nowhere: create it, or correct the address");
    assert!(text.contains("cannot list s3://nowhere/a/") && text.contains(&no_bucket), "{text}");
    let text = refused(FileSink::json("out").endpoint(&endpoint)).await;
    assert!(text.contains("out is no address in S3: endpoint, region and path_style"), "{text}");
    let text = refused(FileSink::json("gs://bucket/out")).await;
    assert!(text.contains("write s3://bucket/prefix, file:///path or a path"), "{text}");
}

/// In a process of its own: says what became of writing.
pub(crate) async fn write_where_denied() {
    let endpoint = std::env::var(crate::DENIED).unwrap();
    let job = Job::new(Default::default());
    let sink = FileSink::json("s3://snapshots/denied").endpoint(endpoint);
    job.source("in", Generator::new(|i| i).records(1)).sink("out", sink);
    let tried = async {
        let mut life = Life::start(("denied", &job), 1, 1, &Base::default()).await?;
        life.take("out", 1);
        life.snapshot(1).await?;
        // The sink tells of its upload when it is asked next.
        loop {
            life.next().await?;
        }
    };
    let error: millstream_dataflow::Error = match tried.await {
        Ok::<std::convert::Infallible, _>(never) => match never {},
        Err(error) => error,
    };
    println!("{:?}: {error}", error.kind());
}
