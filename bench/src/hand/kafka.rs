//! A count per key, from Kafka to Kafka, as one writes it with the client alone: a thread per
//! partition reads, counts and writes, and commits a transaction with its offsets every second.
//!
//! All records of a key are in one partition, so that nothing has to change threads. There is no
//! state to find again after a failure but what could be counted anew: no snapshots.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hashbrown::HashMap;
use millstream_bench_stream::{Outcome, Rec, Stopwatch, THREADS, Workload};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::kafka::{INPUT, brokers, create, in_partition, next, read_back, send};

/// How often a transaction is committed: as often as ours takes a snapshot.
const COMMIT_SECONDS: f64 = 1.0;
/// For one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs it over so many records.
pub fn run(records: u64) -> anyhow::Result<Outcome> {
    let brokers = brokers()?;
    let output = format!("hand-{}", std::process::id());
    create(&brokers, &output)?;
    let watch = Stopwatch::start();
    thread::scope(|scope| {
        let one = |partition| {
            let (brokers, output) = (&brokers, &output);
            scope.spawn(move || copy(brokers, partition, output, in_partition(records)))
        };
        let threads: Vec<_> = (0..THREADS as i32).map(one).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a loop has panicked"))?)
    })?;
    let (seconds, cpu_seconds) = (watch.seconds(), watch.cpu_seconds());
    let tally = read_back(&brokers, &output, records)?;
    Ok(Outcome { seconds, cpu_seconds, ..watch.stop(Workload::Kafka, records, tally) })
}

fn copy(brokers: &str, partition: i32, output: &str, records: u64) -> anyhow::Result<()> {
    let name = format!("{output}-{partition}");
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let mut reading = config.clone();
    reading.set("group.id", &name).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = reading.set("isolation.level", "read_committed").create()?;
    config.set("transactional.id", &name).set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.set("linger.ms", "5").create()?;
    producer.init_transactions(PATIENCE)?;
    let mut assigned = TopicPartitionList::new();
    assigned.add_partition_offset(INPUT, partition, Offset::Beginning)?;
    consumer.assign(&assigned)?;

    let commit = |next: u64| -> anyhow::Result<()> {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(INPUT, partition, Offset::Offset(next as i64))?;
        let group = consumer.group_metadata().context("the consumer has no group")?;
        producer.send_offsets_to_transaction(&offsets, &group, PATIENCE)?;
        Ok(producer.commit_transaction(PATIENCE)?)
    };
    let mut counts: HashMap<u64, i64> = HashMap::new();
    let mut since = Stopwatch::start();
    producer.begin_transaction()?;
    for number in 0..records {
        let message = next(&consumer)??;
        let value = message.payload().context("a record without a value")?;
        let record: Rec = serde_json::from_slice(value)?;
        let count = counts.entry(record.key).or_default();
        *count += 1;
        let value = serde_json::to_vec(&Rec { value: *count, ..record })?;
        let key = record.key.to_string();
        send(&producer, BaseRecord::to(output).key(key.as_str()).payload(&value))?;
        if since.seconds() >= COMMIT_SECONDS {
            commit(number + 1)?;
            producer.begin_transaction()?;
            since = Stopwatch::start();
        }
    }
    commit(records)
}
