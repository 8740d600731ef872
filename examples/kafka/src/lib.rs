//! What each shop takes in, every ten seconds: from a topic of orders to a topic of turnovers,
//! exactly once.

use std::time::Duration;

use millstream_worker::connector::kafka::{KafkaSink, KafkaSource};
use millstream_worker::operator::aggregate::{Count, Sum};
use millstream_worker::window::{Tumbling, Windowed};
use millstream_worker::{Job, Result, Timestamp, Watermarks};
use serde::{Deserialize, Serialize};

/// Partitions of the topic of orders, where the job is to end.
pub const PARTITIONS: i32 = 4;
/// How late an order may come.
pub const LATE: Duration = Duration::from_secs(2);
/// A result is about so much time.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Somebody has bought something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// Where.
    pub shop: String,
    /// When.
    pub at: Timestamp,
    /// For how much.
    pub cents: u64,
}

/// How much a shop has sold in ten seconds: how often, and for how much.
pub type Turnover = Windowed<String, (u64, u64)>;

/// The program. Arguments: `brokers`; `orders` and `turnover`, the topics; `end`, the offset before
/// which each partition of orders is read, where the job is to end.
pub fn turnover(job: &mut Job) -> Result<()> {
    let args = job.args();
    let (brokers, topic) = (args.get("brokers")?.to_owned(), args.get("orders")?.to_owned());
    let (turnover, end) = (args.get("turnover")?.to_owned(), args.parse_or("end", i64::MAX)?);
    let mut orders = KafkaSource::json::<Order>(&topic).brokers(&brokers);
    if end < i64::MAX {
        orders = orders.until_offsets((0..PARTITIONS).map(|partition| (&topic, partition, end)));
    }
    let turnovers = KafkaSink::json(turnover).brokers(brokers);
    job.source("orders", orders)
        .event_time(|order| order.at, Watermarks::bounded(LATE))
        .key_by(|order| order.shop.clone())
        .window(Tumbling::of(WINDOW))
        .aggregate("per-shop", |order| order.cents, (Count, Sum))
        .sink("turnover", turnovers.key(|turnover: &Turnover| turnover.key.clone()));
    Ok(())
}
