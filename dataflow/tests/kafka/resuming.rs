//! What a snapshot holds: gone on from at any parallelism, or refused.

use millstream_dataflow::connector::collect::Collect;
use millstream_dataflow::connector::kafka::{JsonValue, KafkaSource};
use millstream_dataflow::snapshot::Restore;
use millstream_dataflow::{Job, Kind};
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::support::{Life, PATIENCE, Topic, admin, name, pause, refused, restore};

fn program(source: KafkaSource<JsonValue<u32>>, out: &Collect<u32>) -> Job {
    let job = Job::new(Default::default());
    job.source("in", source).sink("out", out.clone());
    job
}

#[tokio::test]
async fn a_job_that_is_killed_reads_every_record_once_at_any_parallelism() {
    let topic = Topic::new(5).await;
    let send = |part: u32| {
        for partition in 0..5 {
            let first = partition * 10_000 + part * 1000;
            topic.send(partition as i32, first..first + 1000);
        }
    };
    let out = Collect::default();
    let unbounded = || program(topic.numbers(), &out);
    send(0);
    let mut life = Life::start(&unbounded(), 1, Restore::default()).await;
    life.until(5000).await;
    let first = life.snapshot(1).await;
    life.commit(1).await;
    send(1);
    life.until(10_000).await;
    // Killed with records that are in no snapshot.
    drop(life);
    assert_eq!(out.records().len(), 5000);

    let mut life = Life::start(&unbounded(), 3, restore(1, &first)).await;
    life.until(5000).await;
    let second = life.snapshot(2).await;
    life.commit(2).await;
    send(2);
    drop(life);

    let bounded = program(topic.numbers().until_latest(), &out);
    let mut life = Life::start(&bounded, 2, restore(2, &second)).await;
    life.end().await;
    life.snapshot(3).await;
    life.commit(3).await;
    let mut numbers = out.records();
    numbers.sort_unstable();
    let expected: Vec<u32> = (0..5).flat_map(|at| at * 10_000..at * 10_000 + 3000).collect();
    assert!(numbers == expected, "{} records", numbers.len());
}

/// A snapshot of a job that has read so many records.
async fn snapshot_of(job: &Job, records: u64) -> Vec<millstream_dataflow::snapshot::Share> {
    let mut life = Life::start(job, 1, Restore::default()).await;
    life.until(records).await;
    life.snapshot(1).await
}

#[tokio::test]
async fn an_end_does_not_move_when_it_is_restored() {
    let mut topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let out = Collect::default();
    let until = topic.numbers().until_offsets([(&*topic.name, 0, 7)]);
    let shares = snapshot_of(&program(until, &out), 5).await;
    topic.send(0, 5..20);
    topic.grow(2).await;
    topic.send(1, 100..105);
    let job = program(topic.numbers().until_latest(), &out);
    let mut life = Life::start(&job, 1, restore(1, &shares)).await;
    life.end().await;
    assert_eq!(life.taken_in(), 2, "up to where it was to end, and no later partition");
    life.snapshot(2).await;
    life.commit(2).await;
    assert_eq!(out.records(), (0..7).collect::<Vec<u32>>());
}

#[tokio::test]
async fn a_position_at_latest_is_concrete_before_the_first_record() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let out = Collect::default();
    let shares = snapshot_of(&program(topic.numbers().from_latest(), &out), 0).await;
    topic.send(0, 5..8);
    let job = program(topic.numbers().from_latest(), &out);
    let mut life = Life::start(&job, 1, restore(1, &shares)).await;
    life.until(3).await;
}

#[tokio::test]
async fn partitions_that_came_while_the_job_was_down_are_read_from_their_beginning() {
    let mut topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let out = Collect::default();
    let shares = snapshot_of(&program(topic.numbers().from_latest(), &out), 0).await;
    topic.grow(3).await;
    topic.send(2, 100..104);
    let job = program(topic.numbers().from_latest(), &out);
    let mut life = Life::start(&job, 2, restore(1, &shares)).await;
    life.until(4).await;
}

#[tokio::test]
async fn records_that_were_deleted_before_they_were_read_are_a_loss_that_is_told() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let out = Collect::default();
    let shares = snapshot_of(&program(topic.numbers(), &out), 5).await;
    topic.send(0, 5..20);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic.name, 0, Offset::Offset(12)).unwrap();
    let deleted = admin(&topic.kafka).delete_records(&list, &AdminOptions::new()).await.unwrap();
    assert_eq!(deleted.count(), 1);
    let job = program(topic.numbers(), &out);
    let mut life = Life::start(&job, 1, restore(1, &shares)).await;
    let error = life.failure().await;
    assert_eq!((error.kind(), life.taken_in()), (Kind::Invalid, 0));
    let expected = format!(
        "{}-0 is to be read from offset 5, and begins with 12 now: records that were not read are \
         gone, by retention or a delete",
        topic.name
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn a_topic_that_was_created_again_is_not_taken_for_the_old_one() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let out = Collect::default();
    let shares = snapshot_of(&program(topic.numbers(), &out), 5).await;
    topic.delete().await;
    topic.create(1).await;
    // So many that the old offset is in range.
    topic.send(0, 0..10);
    let error = refused(&program(topic.numbers(), &out), restore(1, &shares)).await;
    assert_eq!(error.kind(), Kind::Invalid);
    let expected = format!("topic {} was deleted and created again since it was read", topic.name);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn a_topic_that_the_source_no_longer_reads_is_missed() {
    let (topic, other) = (Topic::new(1).await, Topic::new(1).await);
    topic.send(0, 0..5);
    let out = Collect::default();
    let shares = snapshot_of(&program(topic.numbers(), &out), 5).await;
    let error = refused(&program(other.numbers(), &out), restore(1, &shares)).await;
    assert_eq!(error.kind(), Kind::Invalid);
    let expected = format!("{}-0 was read up to offset 5 and is no longer", topic.name);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn an_offset_behind_the_end_is_told() {
    let topic = Topic::new(1).await;
    topic.send(0, 0..5);
    let source = topic.numbers().from_offsets([(&*topic.name, 0, 9)]);
    let job = program(source, &Collect::default());
    let error = Life::start(&job, 1, Restore::default()).await.failure().await;
    assert_eq!(error.kind(), Kind::Invalid);
    let expected = format!("{}-0 is to be read from offset 9, and ends at 5", topic.name);
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn offsets_are_reported_to_a_group_once_their_snapshot_is_published() {
    let topic = Topic::new(2).await;
    topic.send(0, 0..5);
    topic.send(1, 10..12);
    let group = name("group");
    let watcher: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", topic.kafka.address())
        .set("group.id", &group)
        .create()
        .unwrap();
    let reported = || {
        let mut list = TopicPartitionList::new();
        list.add_partition_range(&topic.name, 0, 1);
        let committed = watcher.committed_offsets(list, PATIENCE).unwrap();
        [0, 1].map(|at| committed.find_partition(&topic.name, at).unwrap().offset())
    };
    let job = program(topic.numbers().report_to_group(&group), &Collect::default());
    let mut life = Life::start(&job, 1, Restore::default()).await;
    life.until(7).await;
    life.snapshot(1).await;
    pause(500).await;
    assert_eq!(reported(), [Offset::Invalid; 2], "it is not published");
    life.commit(1).await;
    life.until_true(|_| reported() == [Offset::Offset(5), Offset::Offset(2)]).await;
}
