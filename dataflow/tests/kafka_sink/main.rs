//! The Kafka sink on a real broker: what readers see of it, through crashes, zombies and lost
//! tokens.
#![cfg(feature = "kafka")]
#![expect(clippy::unwrap_used, reason = "a failed test is a panic")]

mod life;
mod topic;

use std::collections::BTreeMap;

use millstream_dataflow::connector::collection::Collection;
use millstream_dataflow::connector::kafka::{KafkaSink, partition_of_key};
use millstream_dataflow::{Job, Kind, Timestamp, Watermarks};
use millstream_testkit::Kafka;

use life::{Base, Life, Newest, Start, numbers};
use topic::Topic;

fn all(records: u64) -> Vec<u64> {
    (0..records).collect()
}

/// Whether sorted numbers hold none twice.
fn is_once(numbers: &[u64]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

/// Numbers that are all there, each once; says the first that is not.
#[track_caller]
fn assert_all(numbers: &[u64], records: u64) {
    let wrong = numbers.iter().zip(0..).find(|(number, place)| **number != *place);
    assert_eq!((wrong, numbers.len() as u64), (None, records));
}

fn exactly_once(topic: &Topic, records: u64) -> Job {
    numbers(records, KafkaSink::json(&topic.name).brokers(&topic.brokers))
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_visible_when_their_snapshot_is_published_and_not_before() {
    let topic = Topic::new("visible", 3).await;
    let job = exactly_once(&topic, 5000);
    let mut life = Life::start(&job, Start::new(&topic, 1, 2, &Base::default())).await.unwrap();
    assert_eq!(topic.token(0), Some((0, "history".to_owned())), "a first start leaves a token");
    life.take(1000);
    life.snapshot(1).await.unwrap();
    assert_eq!(topic.numbers("read_uncommitted"), [0; 0], "nothing is sent before");
    life.commit(1).await.unwrap();
    let seen = topic.committed();
    assert!(seen.len() >= 1000 && is_once(&seen), "{}", seen.len());
    // A command that comes twice.
    life.commit(1).await.unwrap();
    assert_eq!(topic.numbers("read_uncommitted"), seen);
    assert_eq!(topic.token(1), Some((1, "history".to_owned())));
    life.finish(2).await.unwrap();
    assert_all(&topic.committed(), 5000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_publish_and_commit_loses_nothing_and_doubles_nothing() {
    let topic = Topic::new("crash", 3).await;
    let job = exactly_once(&topic, 6000);
    let mut life = Life::start(&job, Start::new(&topic, 1, 3, &Base::default())).await.unwrap();
    life.take(1000);
    life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    life.take(2500);
    let base = life.snapshot(2).await.unwrap();
    life.take(3500);
    drop(life);
    // Killed before anything of epoch 2 was sent; then, with all of it sent and nobody told; with
    // fewer tasks and with more.
    for (run, threads) in [(2, 1), (3, 4), (4, 2)] {
        let life = Life::start(&job, Start::new(&topic, run, threads, &base)).await.unwrap();
        let seen = topic.committed();
        assert!(seen.len() >= 2500, "run {run} has sent every outbox: {}", seen.len());
        assert!(is_once(&seen), "run {run}");
        life.take(500);
        drop(life);
    }
    let life = Life::start(&job, Start::new(&topic, 5, 3, &base)).await.unwrap();
    life.finish(3).await.unwrap();
    assert_all(&topic.committed(), 6000);
    assert_all(&topic.numbers("read_uncommitted"), 6000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_was_given_up_rides_with_the_next() {
    let topic = Topic::new("rides", 1).await;
    let job = exactly_once(&topic, 3000);
    let mut life = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
    life.take(1000);
    life.snapshot(1).await.unwrap();
    life.engine.abort(millstream_protocol::id::Epoch(1));
    life.take(2000);
    let base = life.snapshot(2).await.unwrap();
    drop(life);
    let life = Life::start(&job, Start::new(&topic, 2, 1, &base)).await.unwrap();
    let seen = topic.committed();
    assert!(seen.len() >= 2000 && is_once(&seen), "{}", seen.len());
    life.finish(3).await.unwrap();
    assert_all(&topic.committed(), 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_token_is_refused_with_its_reason_unless_the_output_is_known_to_be_visible() {
    let topic = Topic::new("lost", 2).await;
    let job = exactly_once(&topic, 3000);
    let mut life = Life::start(&job, Start::new(&topic, 1, 2, &Base::default())).await.unwrap();
    life.take(1000);
    let base = life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    drop(life);
    let seen = topic.committed();
    topic.delete_tokens(2).await;
    let error = Life::start(&job, Start::new(&topic, 2, 2, &base)).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let text = error.to_string();
    assert!(text.contains("offsets.retention.minutes"), "{text}");
    assert!(text.contains("millstream.test.lost.out."), "{text}");
    assert!(topic.committed() == seen, "nothing is sent on a guess");
    let base = Base { committed: true, ..base };
    let life = Life::start(&job, Start::new(&topic, 3, 2, &base)).await.unwrap();
    assert_eq!(topic.token(1), Some((1, "history".to_owned())));
    life.finish(2).await.unwrap();
    assert_all(&topic.committed(), 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_locked_out_takes_over_again_unless_a_newer_run_is_in_the_log() {
    let topic = Topic::new("zombie", 2).await;
    let job = exactly_once(&topic, 4000);
    let newest = Newest::default();
    let start =
        |run, base: &Base| Start { newest: newest.clone(), ..Start::new(&topic, run, 2, base) };
    newest.set(1);
    let mut zombie = Life::start(&job, start(1, &Base::default())).await.unwrap();
    zombie.take(1000);
    let base = zombie.snapshot(1).await.unwrap();

    // Another process, whose claim is in the log before it comes up.
    newest.set(2);
    let life = Life::start(&job, start(2, &base)).await.unwrap();
    let seen = topic.committed();
    assert!(seen.len() >= 1000);
    let error = zombie.commit(1).await.unwrap_err();
    assert!(error.to_string().contains("taken over"), "{error}");
    assert!(topic.committed() == seen, "the outbox is not sent twice");
    drop(zombie);

    // One that comes up although its claim is not the newest stops, but has locked ours out.
    let error = Life::start(&job, start(1, &base)).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Fenced, "{error}");
    life.finish(2).await.unwrap();
    assert_all(&topic.committed(), 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_outcome_is_unknown_is_looked_at_before_it_is_made_again() {
    let topic = Topic::new("unknown", 2).await;
    let job = exactly_once(&topic, 4000);
    let mut life = Life::start(&job, Start::new(&topic, 1, 2, &Base::default())).await.unwrap();
    life.take(1000);
    let one = life.snapshot(1).await.unwrap();
    // Under the same run, so that nobody is superseded: it sends what `life` is about to send.
    drop(Life::start(&job, Start::new(&topic, 1, 2, &one)).await.unwrap());
    let seen = topic.committed();
    assert!(seen.len() >= 1000);
    life.commit(1).await.unwrap();
    assert!(topic.committed() == seen, "what had happened is not made to happen again");
    // Locked out before anything of the next one was sent.
    life.take(2000);
    life.snapshot(2).await.unwrap();
    drop(Life::start(&job, Start::new(&topic, 1, 2, &one)).await.unwrap());
    life.commit(2).await.unwrap();
    assert!(topic.committed().len() >= 2000);
    life.finish(3).await.unwrap();
    assert_all(&topic.committed(), 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_written_again_once_a_day_while_nothing_comes() {
    let topic = Topic::new("daily", 1).await;
    // All that it ever writes comes at once; a task that has ended takes part in snapshots.
    let job = exactly_once(&topic, 10);
    let mut life = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
    life.end().await.unwrap();
    life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    let token = || topic.token(0).unwrap().0;
    assert_eq!(token(), 1);
    // Nothing has come since, and it is not old.
    let two = life.snapshot(2).await.unwrap();
    life.commit(2).await.unwrap();
    assert_eq!(token(), 1);
    // A run that goes on from there finds it, and does not know how old it is.
    drop(life);
    let mut life = Life::start(&job, Start::new(&topic, 2, 1, &two)).await.unwrap();
    assert_eq!(token(), 1);
    for (epoch, hours, expected) in [(3, 0, 3), (4, 23, 3), (5, 1, 5), (6, 0, 5)] {
        life.later(hours);
        life.snapshot(epoch).await.unwrap();
        life.commit(epoch).await.unwrap();
        assert_eq!(token(), expected, "epoch {epoch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_into_memory_waits_in_a_file_and_comes_back_from_the_snapshot() {
    let topic = Topic::new("spill", 2).await;
    let directory = tempfile::tempdir().unwrap();
    let job = |records| {
        let sink = KafkaSink::json(&topic.name).brokers(&topic.brokers);
        let sink = sink.outbox_memory_bytes(0).spill_to(directory.path());
        numbers(records, sink.header("padding", |_| [b'x'; 1000]))
    };
    let mut life =
        Life::start(&job(3000), Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
    life.take(1500);
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 0, "the file has no name that would outlive the process");
    let base = life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    let seen = topic.committed();
    assert!(seen.len() >= 1500 && is_once(&seen), "{}", seen.len());
    life.take(2500);
    let base_two = life.snapshot(2).await.unwrap();
    drop((life, base));
    let life = Life::start(&job(3000), Start::new(&topic, 2, 1, &base_two)).await.unwrap();
    assert!(topic.committed().len() >= 2500);
    life.finish(3).await.unwrap();
    assert_all(&topic.committed(), 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_outbox_asks_for_a_snapshot_and_holds_its_input_back() {
    let topic = Topic::new("full", 2).await;
    let sink = KafkaSink::json(&topic.name).brokers(&topic.brokers);
    // 1000 records of 1000 bytes fill it by half; the channels before it hold ten times as many.
    let sink = sink.outbox_bytes(2_000_000).header("padding", |_| [b'x'; 1000]);
    let job = numbers(60_000, sink);
    let mut life = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
    life.hurry();
    let mut epoch = 0;
    while !life.ended {
        life.next().await.unwrap();
        if std::mem::take(&mut life.wanted) {
            epoch += 1;
            assert!(life.taken() < 60_000, "the input waits");
            life.snapshot(epoch).await.unwrap();
            life.commit(epoch).await.unwrap();
        }
    }
    assert!(epoch >= 3, "{epoch} snapshots were asked for");
    life.snapshot(epoch + 1).await.unwrap();
    life.commit(epoch + 1).await.unwrap();
    assert_all(&topic.committed(), 60_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_has_every_record_once() {
    let mut kafka = Kafka::start();
    let topic = Topic::at(kafka.address(), "broker", 2);
    topic.create(&[]).await;
    let job = exactly_once(&topic, 4000);
    let mut life = Life::start(&job, Start::new(&topic, 1, 2, &Base::default())).await.unwrap();
    for (epoch, records) in [(1, 1000), (2, 2000)] {
        life.take(records);
        life.snapshot(epoch).await.unwrap();
        kafka.kill();
        let commits = life.engine.committer();
        life.engine.published(millstream_protocol::id::Epoch(epoch));
        let mut running = tokio::task::JoinSet::new();
        running.spawn(async move { commits.commit(millstream_protocol::id::Epoch(epoch)).await });
        kafka = tokio::task::spawn_blocking(move || {
            kafka.restart();
            kafka
        })
        .await
        .unwrap();
        running.join_next().await.unwrap().unwrap().unwrap();
        assert!(topic.committed().len() >= records as usize);
    }
    life.finish(3).await.unwrap();
    assert_all(&topic.committed(), 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_choose_the_partitions_that_javas_producers_choose() {
    let topic = Topic::new("keys", 7).await;
    let job = Job::new(Default::default());
    let words: Vec<String> = (0..500).map(|i| format!("key-{}", i * i)).collect();
    let sink = KafkaSink::json(&topic.name).brokers(&topic.brokers).key(String::clone);
    job.source("in", Collection::of(words.clone())).sink("out", sink);
    let life = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
    life.finish(1).await.unwrap();
    let read = topic.read("read_committed");
    assert_eq!(read.len(), 500);
    for record in read {
        let key = record.key.unwrap();
        assert_eq!(record.partition, partition_of_key(&key, 7), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_has_the_parts_that_the_program_gave_it() {
    let topic = Topic::new("parts", 4).await;
    let job = Job::new(Default::default());
    let sink = KafkaSink::json(&topic.name)
        .brokers(&topic.brokers)
        .header("double", |n: &u64| (n * 2).to_string())
        .partition(|n, partitions| (n % u64::from(partitions)) as i32);
    job.source("in", Collection::of(all(8)))
        .event_time(|n| Timestamp(1000 + *n as i64), Watermarks::ascending())
        .sink("out", sink);
    let life = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
    life.finish(1).await.unwrap();
    let by_number: BTreeMap<_, _> =
        topic.read("read_committed").into_iter().map(|it| (it.number(), it)).collect();
    assert_eq!(by_number.len(), 8);
    for (number, record) in by_number {
        assert_eq!(record.partition, (number % 4) as i32);
        assert_eq!(record.timestamp, Some(1000 + number as i64));
        let double = (number * 2).to_string().into_bytes();
        assert_eq!(record.headers, [("double".to_owned(), Some(double))]);
        assert_eq!(record.key, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_records_are_delivered_before_their_snapshot_counts() {
    let topic = Topic::new("least", 2).await;
    let sink = || KafkaSink::json(&topic.name).brokers(&topic.brokers).at_least_once();
    let job = numbers(3000, sink());
    let mut life = Life::start(&job, Start::new(&topic, 1, 2, &Base::default())).await.unwrap();
    life.take(1000);
    let base = life.snapshot(1).await.unwrap();
    let seen = topic.committed();
    assert!(seen.len() >= 1000, "{}", seen.len());
    life.take(2000);
    drop(life);
    let life = Life::start(&job, Start::new(&topic, 2, 2, &base)).await.unwrap();
    life.finish(2).await.unwrap();
    let mut seen = topic.committed();
    assert!(seen.len() > 3000, "some came again: {}", seen.len());
    seen.dedup();
    assert_all(&seen, 3000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_more_is_waited_for() {
    for (name, least) in [("queue-once", false), ("queue-least", true)] {
        let topic = Topic::new(name, 1).await;
        let sink = KafkaSink::json(&topic.name).brokers(&topic.brokers);
        // Records beyond these wait in the sink, or hold its input back.
        let sink = sink.set("queue.buffering.max.messages", "100").set("linger.ms", "0");
        let sink = if least { sink.at_least_once() } else { sink };
        let job = numbers(5000, sink);
        let life = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
        life.finish(1).await.unwrap();
        assert_all(&topic.committed(), 5000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_exactly_once_sink_left_is_sent_by_one_at_least_once() {
    let topic = Topic::new("weaker", 2).await;
    let mut life =
        Life::start(&exactly_once(&topic, 2000), Start::new(&topic, 1, 2, &Base::default()))
            .await
            .unwrap();
    life.take(1000);
    let base = life.snapshot(1).await.unwrap();
    drop(life);
    let job = numbers(2000, KafkaSink::json(&topic.name).brokers(&topic.brokers).at_least_once());
    let life = Life::start(&job, Start::new(&topic, 2, 1, &base)).await.unwrap();
    assert!(topic.committed().len() >= 1000);
    life.finish(2).await.unwrap();
    assert_all(&topic.committed(), 2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_too_large_is_named_with_its_topic_and_size() {
    let kafka = Kafka::shared();
    let topic = Topic::at(kafka.address(), "large", 1);
    topic.create(&[("max.message.bytes", "2000")]).await;
    let big = |sink: KafkaSink<_>| sink.header("padding", |_: &u64| [b'x'; 3000]);
    let once = KafkaSink::json(&topic.name).brokers(&topic.brokers);
    // The sink knows its own bound before it takes a record in; the topic's it learns when it
    // sends.
    let mut life = Life::start(
        &numbers(10, big(once.clone().set("message.max.bytes", "1500"))),
        Start::new(&topic, 1, 1, &Base::default()),
    )
    .await
    .unwrap();
    life.hurry();
    let error = loop {
        if let Err(error) = life.next().await {
            break error;
        }
    };
    let named = |error: &millstream_dataflow::Error| {
        let text = error.to_string();
        assert!(text.contains("topic large") && text.contains("a record of 3"), "{text}");
        assert_eq!(error.kind(), Kind::Invalid);
    };
    named(&error);
    drop(life);
    let life =
        Life::start(&numbers(10, big(once)), Start::new(&topic, 2, 1, &Base::default())).await;
    named(&life.unwrap().finish(1).await.unwrap_err());
    drop(kafka);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_least_once_a_record_that_is_not_delivered_fails_the_snapshot_and_the_task() {
    let kafka = Kafka::shared();
    let topic = Topic::at(kafka.address(), "undelivered", 1);
    topic.create(&[("max.message.bytes", "2000")]).await;
    let sink = KafkaSink::json(&topic.name).brokers(&topic.brokers).at_least_once();
    let job = numbers(10, sink.header("padding", |_| [b'x'; 3000]));
    let life = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.unwrap();
    let error = life.finish(1).await.unwrap_err();
    assert!(error.to_string().contains("topic undelivered"), "{error}");
    assert_eq!(topic.committed(), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_named() {
    let kafka = Kafka::shared();
    let topic = Topic::at(kafka.address(), "nowhere", 1);
    let job = exactly_once(&topic, 10);
    let error = Life::start(&job, Start::new(&topic, 1, 1, &Base::default())).await.err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let text = error.to_string();
    assert!(text.contains("topic nowhere") && text.contains("create it"), "{text}");
    drop(kafka);
}
