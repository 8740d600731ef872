//! What is read: where a source begins and ends, formats, transactions, new and idle partitions.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use millstream_dataflow::clock::ManualClock;
use millstream_dataflow::connector::collect::Collect;
use millstream_dataflow::connector::kafka::{Decode, KafkaRecord, KafkaSource};
use millstream_dataflow::snapshot::Restore;
use millstream_dataflow::source::{Malformed, OnMalformed};
use millstream_dataflow::{Job, Kind, Timestamp, Watermarks};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};

use crate::support::{Life, PATIENCE, Topic, name, pause, producer, watermark};

/// Everything a bounded source reads, in the order of each partition.
async fn all<D: Decode>(source: KafkaSource<D>) -> Vec<D::Record> {
    let out = Collect::default();
    let job = Job::new(Default::default());
    job.source("in", source).sink("out", out.clone());
    let mut life = Life::start(&job, 2, Restore::default()).await;
    life.end().await;
    life.snapshot(1).await;
    life.commit(1).await;
    out.records()
}

async fn sorted<D: Decode<Record = u32>>(source: KafkaSource<D>) -> Vec<u32> {
    let mut numbers = all(source).await;
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn a_source_begins_and_ends_where_it_is_told() {
    let topic = Topic::new(2).await;
    topic.send(0, 0..10);
    topic.send(1, 100..110);
    let read = || topic.numbers();
    let both = |one: std::ops::Range<u32>, other| one.chain(other).collect::<Vec<_>>();
    assert_eq!(sorted(read().until_latest()).await, both(0..10, 100..110));
    assert_eq!(sorted(read().from_latest().until_latest()).await, [0; 0]);
    let from_time = read().from_timestamp(Timestamp(1005)).until_latest();
    assert_eq!(sorted(from_time).await, both(5..10, 100..110));
    let until_time = read().until_timestamp(Timestamp(1105));
    assert_eq!(sorted(until_time).await, both(0..10, 100..105));
    let after_all = read().from_timestamp(Timestamp(2000)).until_timestamp(Timestamp(3000));
    assert_eq!(sorted(after_all).await, [0; 0]);
    let from = read().from_offsets([(&*topic.name, 1, 8)]);
    assert_eq!(sorted(from.clone().until_latest()).await, both(0..10, 108..110));
    let until = from.until_offsets([(&*topic.name, 0, 3), (&*topic.name, 1, 9)]);
    assert_eq!(sorted(until).await, both(0..3, 108..109));
    let two = Topic::new(1).await;
    two.send(0, 200..203);
    assert_eq!(
        sorted(read().from_timestamp(Timestamp(1109)).and_topic(&two.name).until_latest()).await,
        both(109..110, 200..203)
    );
}

#[tokio::test]
async fn what_comes_after_the_start_is_not_within_latest() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let out = Collect::default();
    let job = Job::new(Default::default());
    job.source("in", topic.numbers().from_latest()).sink("out", out.clone());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    topic.send(0, 5..8);
    life.until(3).await;
    life.snapshot(1).await;
    life.commit(1).await;
    assert_eq!(out.records(), [5, 6, 7]);
}

#[tokio::test]
async fn an_end_is_waited_for_and_what_is_behind_it_is_not_read() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let out = Collect::default();
    let job = Job::new(Default::default());
    let source = topic.numbers().until_offsets([(&*topic.name, 0, 8)]);
    job.source("in", source).sink("out", out.clone());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    life.until(5).await;
    topic.send(0, 5..20);
    life.end().await;
    life.snapshot(1).await;
    life.commit(1).await;
    assert_eq!(out.records(), (0..8).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_record_comes_with_its_key_headers_time_and_place_if_asked_for() {
    let topic = Topic::new(2).await;
    let producer = producer(&topic.kafka, &[]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "trace", value: Some("7") })
        .insert(Header { key: "empty", value: None::<&str> });
    let record = BaseRecord::to(&topic.name).partition(1).timestamp(1234);
    producer.send(record.key("k").payload("\"v\"").headers(headers)).unwrap();
    let record = BaseRecord::<(), str>::to(&topic.name).partition(1).timestamp(1235);
    producer.send(record).unwrap();
    producer.flush(PATIENCE).unwrap();

    let source = || KafkaSource::json::<Option<String>>(&topic.name).brokers(topic.kafka.address());
    let records = all(source().until_latest().whole()).await;
    let expected = |offset, timestamp| KafkaRecord {
        topic: (&*topic.name).into(),
        partition: 1,
        offset,
        timestamp: Timestamp(timestamp),
        key: None,
        headers: Vec::new(),
        value: None,
    };
    let headers = vec![("trace".to_owned(), Some(b"7".to_vec())), ("empty".to_owned(), None)];
    let (key, value) = (Some(b"k".to_vec()), Some("v".to_owned()));
    let first = KafkaRecord { key, headers, value, ..expected(0, 1234) };
    assert_eq!(records, [first, expected(1, 1235)]);
}

#[tokio::test]
async fn text_and_bytes_are_as_they_are() {
    let topic = Topic::new(1).await;
    topic.send_at(0, [(1, "\u{e4}"), (2, "")]);
    let brokers = topic.kafka.address();
    let text = KafkaSource::text(&topic.name).brokers(&brokers).until_latest();
    assert_eq!(all(text).await, ["\u{e4}", ""]);
    let bytes = KafkaSource::bytes(&topic.name).brokers(&brokers).until_latest();
    assert_eq!(all(bytes).await, [vec![0xc3, 0xa4], vec![]]);
}

#[tokio::test]
async fn large_records_come_whole_and_in_order() {
    let topic = Topic::new(1).await;
    let large = |number: u8| vec![number; 600_000];
    topic.send_at(0, (0..9).map(|number| (1, large(number))));
    let source = KafkaSource::bytes(&topic.name).brokers(topic.kafka.address());
    let records = all(source.until_latest()).await;
    assert!(records == (0..9).map(large).collect::<Vec<_>>());
}

#[tokio::test]
async fn transactions_are_read_once_they_are_committed_and_aborted_ones_never() {
    let topic = Topic::new(1).await;
    let writer = producer(&topic.kafka, &[("transactional.id", &name("writer"))]);
    writer.init_transactions(PATIENCE).unwrap();
    let send = |numbers: std::ops::Range<u32>| {
        writer.begin_transaction().unwrap();
        for number in numbers {
            let payload = number.to_string();
            let record = BaseRecord::<(), str>::to(&topic.name).partition(0);
            writer.send(record.payload(&payload)).unwrap();
        }
        writer.flush(PATIENCE).unwrap();
    };
    send(0..3);
    writer.commit_transaction(PATIENCE).unwrap();
    send(3..6);
    writer.abort_transaction(PATIENCE).unwrap();
    assert_eq!(sorted(topic.numbers().until_latest()).await, [0, 1, 2], "ends behind markers");
    send(6..9);

    let out = Collect::default();
    let job = Job::new(Default::default());
    job.source("in", topic.numbers()).sink("out", out.clone());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    life.until(3).await;
    let uncommitted = sorted(topic.numbers().read_uncommitted().until_latest()).await;
    assert_eq!(uncommitted, (0..9).collect::<Vec<_>>());
    // The end at the start is that of what can be read, not that of what is open.
    assert_eq!(sorted(topic.numbers().until_latest()).await, [0, 1, 2]);
    life.until(3).await;
    writer.commit_transaction(PATIENCE).unwrap();
    life.until(6).await;
    life.snapshot(1).await;
    life.commit(1).await;
    assert_eq!(out.records(), [0, 1, 2, 6, 7, 8]);
}

#[tokio::test]
async fn new_partitions_are_found_and_read_from_their_beginning() {
    let mut topic = Topic::new(1).await;
    topic.send(0, 0..3);
    let out = Collect::default();
    let job = Job::new(Default::default());
    job.source("in", topic.numbers().from_latest()).sink("out", out.clone());
    let mut life = Life::start(&job, 2, Restore::default()).await;
    topic.grow(4).await;
    for partition in 0..4 {
        let first = 100 * partition as u32;
        topic.send(partition, first..first + 5);
    }
    life.until(20).await;
    life.snapshot(1).await;
    life.commit(1).await;
    let mut numbers = out.records();
    numbers.sort_unstable();
    let expected: Vec<u32> = (0..4).flat_map(|first| first * 100..first * 100 + 5).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn a_partition_without_records_is_idle_once_the_broker_has_said_so_for_long_enough() {
    let topic = Topic::new(2).await;
    topic.send(0, [1000, 2000]);
    let job = Job::new(Default::default());
    let watermarks = Watermarks::ascending().idle_after(Duration::from_secs(10));
    job.source("in", topic.numbers())
        .event_time(|number| Timestamp(i64::from(*number)), watermarks)
        .sink("out", Collect::default());
    let clock = Arc::new(ManualClock::default());
    clock.set(Timestamp(1_000_000));
    let mut life = Life::with_clock(&job, 1, Restore::default(), clock.clone()).await;
    life.until(2).await;
    // The broker answers an empty fetch within half a second; here it has four of them.
    pause(2000).await;
    clock.set(Timestamp(1_009_000));
    topic.send(0, [3000]);
    life.until(3).await;
    pause(100).await;
    assert_eq!(watermark(&life), i64::MIN, "the time is not over");
    clock.set(Timestamp(1_010_100));
    topic.send(0, [4000]);
    life.until_true(|life| watermark(life) >= 3999).await;
    topic.send(1, [4500]);
    life.until(5).await;
    topic.send(0, [9000]);
    life.until(6).await;
    life.until_true(|life| watermark(life) >= 4499).await;
    assert!(watermark(&life) < 8999, "both are read again");
}

#[tokio::test]
async fn a_partition_with_an_open_transaction_is_not_idle() {
    let topic = Topic::new(2).await;
    let writer = producer(&topic.kafka, &[("transactional.id", &name("slow"))]);
    writer.init_transactions(PATIENCE).unwrap();
    writer.begin_transaction().unwrap();
    let record = BaseRecord::<(), str>::to(&topic.name).partition(1);
    writer.send(record.payload("2000")).unwrap();
    writer.flush(PATIENCE).unwrap();
    topic.send(0, [1000]);
    let job = Job::new(Default::default());
    job.source("in", topic.numbers())
        .event_time(|number| Timestamp(i64::from(*number)), Watermarks::ascending())
        .sink("out", Collect::default());
    let clock = Arc::new(ManualClock::default());
    let mut life = Life::with_clock(&job, 1, Restore::default(), clock.clone()).await;
    life.until(1).await;
    pause(2500).await;
    clock.set(Timestamp(60_000));
    pause(2500).await;
    topic.send(0, [3000]);
    life.until(2).await;
    pause(200).await;
    assert_eq!(watermark(&life), i64::MIN, "what is not committed yet may come");
    writer.commit_transaction(PATIENCE).unwrap();
    life.until(3).await;
    life.until_true(|life| watermark(life) >= 1999).await;
    assert!(watermark(&life) < 2999);
}

#[tokio::test]
async fn malformed_records_fail_are_left_out_or_put_aside() {
    let topic = Topic::new(1).await;
    let good_and_bad = ["1", "{no", "2", "\"x\"", "3", "]"];
    topic.send_at(0, good_and_bad.map(|value| (1, value)));
    let place = format!("topic {}, partition 0, offset 1: ", topic.name);

    let job = Job::new(Default::default());
    job.source("in", topic.numbers()).sink("out", Collect::<u32>::default());
    let error = Life::start(&job, 1, Restore::default()).await.failure().await;
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().starts_with(&place), "{error}");
    assert!(error.to_string().contains(": {no (to leave such records out"), "{error}");

    let out = Collect::<u32>::default();
    let job = Job::new(Default::default());
    let numbers = job.source("in", topic.numbers().until_latest());
    numbers.on_malformed(OnMalformed::Skip).sink("out", out.clone());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    life.end().await;
    life.snapshot(1).await;
    life.commit(1).await;
    assert_eq!(out.records(), [1, 2, 3]);
    assert_eq!(life.counters("in").map(|it| it.failed.load(Ordering::Relaxed)).sum::<u64>(), 3);

    let (out, aside) = (Collect::<u32>::default(), Collect::<Malformed>::default());
    let job = Job::new(Default::default());
    let (numbers, malformed) = job.source("in", topic.numbers().until_latest()).with_malformed();
    numbers.sink("out", out.clone());
    malformed.sink("aside", aside.clone());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    life.end().await;
    life.snapshot(1).await;
    life.commit(1).await;
    assert_eq!(out.records(), [1, 2, 3]);
    let lines: Vec<_> = aside.records().iter().map(|bad| (bad.place, bad.text().into())).collect();
    use millstream_dataflow::source::Place::Offset;
    let expected = [(1, "{no"), (3, "\"x\""), (5, "]")];
    assert_eq!(lines, expected.map(|(at, text)| (Some(Offset(at)), text.to_owned())));
    assert!(aside.records().iter().all(|bad| bad.split == format!("{}-0", topic.name)));
}

#[tokio::test]
async fn an_event_time_that_cannot_be_read_is_told_with_its_offset() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..7);
    let job = Job::new(Default::default());
    let read = |number: &u32| match number {
        5 => Err(millstream_dataflow::Error::user("five")),
        number => Ok(Timestamp(i64::from(*number))),
    };
    job.source("in", topic.numbers())
        .try_event_time(read, Watermarks::ascending())
        .sink("out", Collect::default());
    let error = Life::start(&job, 1, Restore::default()).await.failure().await;
    assert!(error.to_string().contains("-0, offset 5: event time: five: 5"), "{error}");
}

/// Reads four partitions of 20 000 records each in one task, with times by partition and number;
/// returns how far any of them was ahead of another at most, in seconds.
async fn lead(topic: &Topic, max_drift: Option<Duration>, time: fn(u32, u32) -> i64) -> i64 {
    let (job, out) = (Job::new(Default::default()), Collect::default());
    job.max_drift(max_drift);
    let of = move |it: &u32| time(it / 100_000, it % 100_000);
    let (reached, most) = (Arc::new([const { AtomicI64::new(0) }; 4]), Arc::new(AtomicI64::new(0)));
    let seen = most.clone();
    let source = job.source("in", topic.numbers().until_latest());
    let source = source.event_time(move |it| Timestamp(of(it)), Watermarks::ascending());
    let counted = source.inspect(move |it| {
        let is_last = it % 100_000 == 19_999;
        let time = if is_last { i64::MAX } else { of(it) };
        reached[(it / 100_000) as usize].fetch_max(time, Ordering::Relaxed);
        let slowest = reached.iter().map(|it| it.load(Ordering::Relaxed)).min().unwrap();
        seen.fetch_max(of(it).saturating_sub(slowest), Ordering::Relaxed);
    });
    counted.sink("out", out.clone());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    life.end().await;
    let ahead = life.counters("in").map(|it| it.ahead_ns.load(Ordering::Relaxed)).sum::<u64>();
    assert_eq!(ahead > 0, max_drift.is_some());
    life.snapshot(1).await;
    life.commit(1).await;
    let mut numbers = out.records();
    numbers.sort_unstable();
    let all: Vec<u32> = (0..4).flat_map(|at| at * 100_000..at * 100_000 + 20_000).collect();
    assert!(numbers == all, "{} records", numbers.len());
    most.load(Ordering::Relaxed) / 1000
}

#[tokio::test]
async fn partitions_that_are_too_far_ahead_are_paused_and_no_record_is_lost_by_it() {
    let topic = Topic::new(4).await;
    for partition in 0..4 {
        topic.send(partition, (0..20_000).map(|n| partition as u32 * 100_000 + n));
    }
    // A second lies between two records. What is fetched at once is much of a partition.
    let even = |_, n| i64::from(n) * 1000;
    let drift = Duration::from_secs(100);
    let unbounded = lead(&topic, None, even).await;
    assert!(unbounded > 15_000, "{unbounded}: there is nothing to bound");
    let bounded = lead(&topic, Some(drift), even).await;
    // Besides the drift it is what was on its way out: some chunks of a thousand records.
    assert!(bounded > 100 && bounded < 100 + 4 * 1024, "{bounded}");
    // Each is ahead in turn.
    let in_turn =
        |partition, n| i64::from(n) * 1000 + i64::from((n / 700 + partition) % 4) * 400_000;
    lead(&topic, Some(drift), in_turn).await;
}
