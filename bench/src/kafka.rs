//! What the row from Kafka to Kafka runs against: a broker, a topic full of records, and what came
//! out of a run, read back.
//!
//! Started by the runner, once per row; its children find it by [`BROKERS`]. Invariant: what is
//! counted is what others see of the output, read committed.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use millstream_bench_stream::{Part, Rec, THREADS, Tally, Workload};
use millstream_testkit::Kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

/// Where a child finds the broker.
pub const BROKERS: &str = "MILLSTREAM_BENCH_BROKERS";
/// What is read: a partition per thread, each with the records of one part, in JSON.
pub const INPUT: &str = "input";
/// For anything that is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

/// One wait for a message, and how many make a long one.
const POLL: Duration = Duration::from_millis(100);
const POLLS: u32 = 600;

/// The address of the broker that the runner has started.
///
/// # Errors
/// Where there is none.
pub fn brokers() -> anyhow::Result<String> {
    std::env::var(BROKERS).with_context(|| format!("{BROKERS} is not set: the runner sets it"))
}

/// How many records lie in each partition of the input.
pub fn in_partition(records: u64) -> u64 {
    records / THREADS as u64
}

/// Starts a broker, and gives it the input.
///
/// # Errors
/// Where the broker does not take it.
pub fn start(records: u64) -> anyhow::Result<Kafka> {
    let kafka = Kafka::start();
    create(&kafka.address(), INPUT)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address()).set("linger.ms", "20");
    let producer: BaseProducer = config.create()?;
    for part in 0..THREADS {
        for record in Part::new(part, THREADS, records, Workload::Kafka.keys()) {
            let value = serde_json::to_vec(&record)?;
            let next = BaseRecord::<(), _>::to(INPUT).partition(part as i32).payload(&value);
            send(&producer, next)?;
        }
    }
    producer.flush(PATIENCE)?;
    Ok(kafka)
}

/// Makes a topic.
///
/// # Errors
/// Where the broker does not.
pub fn create(brokers: &str, topic: &str) -> anyhow::Result<()> {
    let config = ClientConfig::new().set("bootstrap.servers", brokers).clone();
    let admin: AdminClient<DefaultClientContext> = config.create()?;
    let new = NewTopic::new(topic, THREADS as i32, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()))?;
    for made in made {
        made.map_err(|(topic, error)| anyhow::anyhow!("cannot create {topic}: {error}"))?;
    }
    Ok(())
}

/// Hands a record to a producer, which may have to make room first.
///
/// # Errors
/// Where it does not take it.
pub fn send<K: rdkafka::message::ToBytes + ?Sized>(
    producer: &BaseProducer,
    mut record: BaseRecord<'_, K, Vec<u8>>,
) -> anyhow::Result<()> {
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                producer.poll(Duration::from_millis(10));
                record = again;
            }
            Err((error, _)) => bail!("the producer does not take a record: {error}"),
        }
    }
}

/// The next message, or why there is none. A poll that brings nothing may have brought something
/// else than a message.
///
/// # Errors
/// Where none comes for long.
pub fn next(consumer: &BaseConsumer) -> anyhow::Result<Result<BorrowedMessage<'_>, KafkaError>> {
    for _ in 0..POLLS {
        if let Some(message) = consumer.poll(POLL) {
            return Ok(message);
        }
    }
    bail!("no message comes for {:?}", POLL * POLLS)
}

/// Counts what a run has put out.
///
/// # Errors
/// Where there is not what there should be.
pub fn read_back(brokers: &str, topic: &str, records: u64) -> anyhow::Result<Tally> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "nobody");
    config.set("enable.partition.eof", "true").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create()?;
    let mut assigned = TopicPartitionList::new();
    for partition in 0..THREADS {
        assigned.add_partition_offset(topic, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&assigned)?;
    let (mut tally, mut ended) = (Tally::default(), 0);
    while ended < THREADS {
        match next(&consumer)? {
            Ok(message) => {
                let value = message.payload().context("a record without a value")?;
                let record: Rec = serde_json::from_slice(value)?;
                tally.add(record.key, record.at, record.value);
            }
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => return Err(error.into()),
        }
    }
    ensure!(tally.records == records, "{} of {records} records came out", tally.records);
    Ok(tally)
}
