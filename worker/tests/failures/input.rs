//! The input: a topic into which records come while the job runs.
//!
//! Invariants, on which the job's output being the same in every run rests: a record is a function
//! of its partition and number alone, all records of a key are in one partition, and none is late.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// Key, time in milliseconds, value.
pub(crate) type Record = (u64, i64, u64);

/// Partitions of the topic: more than most runs have threads.
pub(crate) const PARTITIONS: i32 = 3;
/// Times are out of order by less than this within a partition.
pub(crate) const DISORDER_MS: u64 = 400;
/// Event time between the records of a partition, but for disorder.
const STEP_MS: i64 = 10;
/// Keys of a partition.
const KEYS: u64 = 5;
/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
/// For all records to arrive; a broker that is down comes back before that.
const PATIENCE: Duration = Duration::from_mins(3);

/// The n-th record of a partition.
pub(crate) fn record(partition: i32, n: i64) -> Record {
    let partition = u64::from(partition.unsigned_abs());
    let mut x = (n as u64 * PARTITIONS as u64 + partition + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^= x >> 32;
    let at = START_MS + n * STEP_MS + (x >> 40 & 0xffff) as i64 % DISORDER_MS as i64;
    (partition + PARTITIONS as u64 * (x % KEYS), at, x >> 16 & 1023)
}

/// Records on their way, so many a second.
pub(crate) struct Feed {
    hurry: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Feed {
    /// Starts one that gives each partition of a topic so many records, so many a second.
    pub(crate) fn start(brokers: &str, topic: &str, records: i64, per_second: u32) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true");
        // It waits for a broker that is down as long as it takes.
        config.set("linger.ms", "10").set("message.timeout.ms", "0");
        let (producer, topic): (BaseProducer, _) = (config.create().unwrap(), topic.to_owned());
        let (hurry, hurried) = sync_channel(1);
        let pause = Duration::from_secs(1) / per_second;
        let send = move || send_all(&producer, &topic, records, pause, &hurried);
        Self { hurry, thread: std::thread::spawn(send) }
    }

    /// Sends what is left as fast as it goes.
    pub(crate) fn finish(self) {
        let _ = self.hurry.send(());
        self.thread.join().unwrap();
    }
}

fn send_all(
    producer: &BaseProducer,
    topic: &str,
    records: i64,
    pause: Duration,
    hurried: &Receiver<()>,
) {
    let mut hurries = false;
    for n in 0..records {
        let timeout = Err(RecvTimeoutError::Timeout);
        hurries = hurries || hurried.recv_timeout(pause) != timeout;
        for partition in 0..PARTITIONS {
            let value = serde_json::to_string(&record(partition, n)).unwrap();
            let mut next = BaseRecord::<str, _>::to(topic).partition(partition).payload(&value);
            while let Err((error, again)) = producer.send(next) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert_eq!(error, full);
                producer.poll(Duration::from_millis(100));
                next = again;
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
}
