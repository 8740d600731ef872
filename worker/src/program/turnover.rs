//! `turnover`: what each shop takes in, every ten seconds, from Kafka to Kafka exactly once; and
//! `orders`, which fills its topic.

use std::time::Duration;

use millstream_dataflow::connector::generator::Generator;
use serde::{Deserialize, Serialize};

use crate::connector::kafka::{KafkaSink, KafkaSource};
use crate::operator::aggregate::{Count, Sum};
use crate::window::{Tumbling, Windowed};
use crate::{Error, Job, Result, Timestamp, Watermarks};

/// Partitions of the topic of orders, where `turnover` is to end.
pub const PARTITIONS: i32 = 4;
/// How late an order may come.
pub const LATE: Duration = Duration::from_secs(2);
/// A result is about so much time.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The first order of `orders`: 2026-01-01T00:00:00Z.
const BEGIN_MS: i64 = 1_767_225_600_000;
/// Event time between two of its orders.
const STEP_MS: i64 = 10;

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

/// `turnover`. Arguments: `brokers`; `orders` and `turnover`, the topics; `end`, the offset before
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

/// `orders`. Arguments: `brokers`; `orders`, the topic; `shops`, how many there are;
/// `ordersPerSecond`.
pub fn orders(job: &mut Job) -> Result<()> {
    let args = job.args();
    let (brokers, topic) = (args.get("brokers")?.to_owned(), args.get("orders")?.to_owned());
    let shops: u64 = args.parse_or("shops", 40)?;
    let rate: f64 = args.parse_or("ordersPerSecond", 100.0)?;
    for (name, is_usable) in
        [("shops", shops > 0), ("ordersPerSecond", rate.is_finite() && rate >= 1e-6)]
    {
        if !is_usable {
            return Err(Error::invalid(format!(
                "spec.program.args.{name}: must be a number above 0"
            )));
        }
    }
    // One split: orders of several would run apart by more than `turnover` lets them.
    let orders = Generator::new(move |n| order(n, shops)).records_per_second(rate);
    let topic = KafkaSink::json(topic).brokers(brokers);
    job.source("orders", orders).sink("topic", topic.key(|order: &Order| order.shop.clone()));
    Ok(())
}

/// The n-th order. Their times rise.
fn order(n: u64, shops: u64) -> Order {
    let mixed = (n ^ (n >> 29)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Order {
        shop: format!("shop-{:02}", (mixed >> 40) % shops),
        at: Timestamp(BEGIN_MS + n.cast_signed() * STEP_MS),
        cents: 100 + (mixed >> 20) % 20_000,
    }
}
