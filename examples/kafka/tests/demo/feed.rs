//! [`Feed`]: orders that come in while the job runs.
//!
//! Writes to a [`Topic`], from a thread of its own. Invariants: an order is a function of its
//! partition and number alone; all orders of a shop are in one partition, and none is later than
//! the job allows.

use std::collections::BTreeSet;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use millstream_worker::Timestamp;
use millstream_worker::stock::{LATE, Order, PARTITIONS, WINDOW};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::topic::Topic;

/// How many orders each partition is given.
pub(crate) const PER_PARTITION: i64 = 50_000;
/// How many orders come in a second, over all partitions.
pub(crate) const PER_SECOND: u64 = 10_000;
/// How many shops there are.
pub(crate) const SHOPS: u64 = 40;

/// Event time between two orders of a partition.
const STEP_MS: i64 = 10;
/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
/// For the last orders to arrive.
const PATIENCE: Duration = Duration::from_mins(1);

/// Orders on their way.
pub(crate) struct Feed {
    thread: JoinHandle<()>,
}

impl Feed {
    /// Starts it.
    pub(crate) fn start(to: &Topic) -> Self {
        let (producer, topic) = (to.producer(), to.name.clone());
        Self { thread: std::thread::spawn(move || send_all(&producer, &topic)) }
    }

    /// Waits until the last order is in.
    pub(crate) fn end(self) {
        self.thread.join().unwrap();
    }
}

/// How many results come of all orders: one for each shop and window in which it has any.
pub(crate) fn results() -> usize {
    let window = |order: &Order| order.at.0 / WINDOW.as_millis() as i64;
    let all = (0..PARTITIONS).flat_map(|p| (0..PER_PARTITION).map(move |n| order(p, n)));
    all.map(|order| (window(&order), order.shop)).collect::<BTreeSet<_>>().len()
}

/// The n-th order of a partition.
fn order(partition: i32, n: i64) -> Order {
    let mut x = (n.cast_unsigned() << 2 | u64::from(partition.cast_unsigned())) + 1;
    for _ in 0..2 {
        x = (x ^ (x >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    let own = SHOPS / PARTITIONS as u64;
    let shop = (x >> 40) % own * PARTITIONS as u64 + u64::from(partition.cast_unsigned());
    let late = ((x >> 8) % LATE.as_millis() as u64).cast_signed();
    Order {
        shop: format!("shop-{shop:02}"),
        at: Timestamp(START_MS + n * STEP_MS - late),
        cents: 100 + (x >> 20) % 20_000,
    }
}

#[expect(clippy::disallowed_methods, reason = "orders come as time goes by")]
fn send_all(producer: &BaseProducer, topic: &str) {
    let began = Instant::now();
    for n in 0..PER_PARTITION {
        let due = Duration::from_secs_f64((n * i64::from(PARTITIONS)) as f64 / PER_SECOND as f64);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        for partition in 0..PARTITIONS {
            let order = order(partition, n);
            let value = serde_json::to_string(&order).unwrap();
            let record = BaseRecord::to(topic).partition(partition).key(&order.shop);
            producer.send(record.payload(&value)).map_err(|(error, _)| error).unwrap();
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).unwrap();
}
