//! What runs in the cluster's sandbox, from where Kafka is reached: orders that come in, and a
//! reader of the results that knows what they must be.
//!
//! Started by [`crate::orders::Orders`], which reads its lines. It knows nothing of the product:
//! what a shop takes in is counted here again. Invariants: an order is a function of its partition
//! and number alone, but for its time where a clock stands; none is later than the job allows; all
//! of a shop are in one partition.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use serde_json::{Value, json};

/// The first argument of the program that is started in the sandbox.
pub const COMMAND: &str = "inside";
/// The line that asks for the end,
pub const END: &str = "END";
/// for no orders,
pub const PAUSE: &str = "PAUSE";
/// for orders of the first partition whose clock stands still,
pub const STAND: &str = "STAND";
/// and for orders as they come at the beginning.
pub const FLOW: &str = "FLOW";
/// The line that says that the topics are there.
pub const READY: &str = "READY";
/// How a line begins that says how many results are visible.
pub const VISIBLE: &str = "VISIBLE ";
/// How the last line begins, where all is as it must be.
pub const COMPLETE: &str = "COMPLETE ";
/// How the last line begins, where it is not.
pub const FAILED: &str = "FAILED ";

const PARTITIONS: i32 = 4;
const SHOPS: u64 = 40;
/// Event time between two orders of a partition.
const STEP_MS: i64 = 40;
/// By how much an order may be behind those before it: below what the job allows.
const LATE_MS: u64 = 2000;
const WINDOW_MS: i64 = 10_000;
/// 2026-01-01T00:00:00Z.
const START_MS: i64 = 1_767_225_600_000;
/// How often orders come in, and results are looked for.
const TICK: Duration = Duration::from_millis(10);
/// For one answer of Kafka.
const PATIENCE: Duration = Duration::from_mins(1);
/// For the last results to be there.
const LAST_RESULTS: Duration = Duration::from_mins(2);
/// For a result that should not come: some snapshots.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// A shop, and when a window of it begins.
type Key = (String, i64);
/// How often and for how much was sold.
type Sold = (u64, u64);

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Flow,
    Pause,
    Stand,
    End,
}

/// Feeds and reads until its standard input says [`END`]; then compares. Arguments: the brokers,
/// the topics of orders and of results, orders per second.
///
/// # Errors
/// Where Kafka does not do its part, or the results are not what they must be.
pub fn run(arguments: &[String]) -> Result<String> {
    let [brokers, orders, results, rate] = arguments else {
        bail!("write: {COMMAND} BROKERS ORDERS RESULTS RATE");
    };
    let rate: u64 = rate.parse().context("RATE is a number")?;
    create(brokers, &[orders, results])?;
    let mut shops = Shops {
        producer: config(brokers).set("enable.idempotence", "true").create_with_context(Told)?,
        orders: orders.clone(),
        reader: reader(brokers, results)?,
        sent: 0,
        stands_at: None,
        expected: BTreeMap::new(),
        seen: BTreeMap::new(),
        visible: 0,
    };
    println!("{READY}");
    let wishes = wishes();
    let (mut flown, mut before) = (Duration::ZERO, now());
    loop {
        let wish = *wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now();
        match wish {
            Wish::End => break,
            Wish::Pause => {}
            Wish::Flow | Wish::Stand => flown += at - before,
        }
        before = at;
        shops.stands(wish == Wish::Stand);
        shops.send(flown.as_millis() as u64 * rate / 1000 / PARTITIONS as u64)?;
        shops.look()?;
        pause();
    }
    shops.close()?;
    shops.compare()
}

/// What the other end wants, at any time.
fn wishes() -> Arc<Mutex<Wish>> {
    let wishes = Arc::new(Mutex::new(Wish::Flow));
    let told = Arc::clone(&wishes);
    std::thread::spawn(move || {
        let mut last = Wish::Flow;
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            last = match line.as_str() {
                END => Wish::End,
                PAUSE => Wish::Pause,
                STAND => Wish::Stand,
                _ => Wish::Flow,
            };
            *told.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
        if last != Wish::End {
            gone();
        }
    });
    wishes
}

#[expect(clippy::disallowed_methods, reason = "no thread is left that would be asked to end")]
fn gone() {
    // Whoever has started it.
    std::process::exit(1);
}

/// Says on standard error what Kafka does not do.
struct Told;

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, source: &str, message: &str) {
        eprintln!("Kafka, {level:?}: {source}: {message}");
    }
}

impl ProducerContext for Told {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            eprintln!("an order is not delivered: {error}");
        }
    }
}

struct Shops {
    producer: BaseProducer<Told>,
    orders: String,
    reader: BaseConsumer,
    /// So many orders of each partition.
    sent: u64,
    /// The time at which the clock of the first partition stands, if it does.
    stands_at: Option<i64>,
    expected: BTreeMap<Key, Sold>,
    /// All that was read, also what came twice.
    seen: BTreeMap<Key, Vec<Sold>>,
    visible: u64,
}

impl Shops {
    /// The clock of the first partition stands still from now on, or goes as all others do.
    fn stands(&mut self, stands: bool) {
        let here = START_MS + self.sent as i64 * STEP_MS;
        self.stands_at = stands.then(|| self.stands_at.unwrap_or(here));
    }

    /// Sends orders, up to so many for each partition.
    fn send(&mut self, due: u64) -> Result<()> {
        for n in self.sent..due {
            for partition in 0..PARTITIONS {
                let (shop, mut at, cents) = order(partition, n);
                if partition == 0 {
                    at = self.stands_at.unwrap_or(at);
                }
                let window = at - at.rem_euclid(WINDOW_MS);
                let sold = self.expected.entry((shop.clone(), window)).or_default();
                *sold = (sold.0 + 1, sold.1 + cents);
                self.put(partition, &shop, at, cents)?;
            }
        }
        self.sent = self.sent.max(due);
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    fn put(&self, partition: i32, shop: &str, at: i64, cents: u64) -> Result<()> {
        let value = json!({ "shop": shop, "at": at, "cents": cents }).to_string();
        let begun = now();
        loop {
            let record = BaseRecord::to(&self.orders).partition(partition).key(shop);
            match self.producer.send(record.payload(&value)) {
                Ok(()) => return Ok(()),
                Err((error, _))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
                        && now() - begun < PATIENCE =>
                {
                    self.producer.poll(TICK);
                }
                Err((error, _)) => return Err(error).context("an order is not taken"),
            }
        }
    }

    /// Ends all windows that have orders: by an order of each partition that is far ahead of them.
    fn close(&mut self) -> Result<()> {
        let at = START_MS + self.sent as i64 * STEP_MS + 10 * WINDOW_MS;
        for partition in 0..PARTITIONS {
            self.put(partition, &format!("closing-{partition}"), at, 1)?;
        }
        self.producer.flush(PATIENCE).context("the last orders are not taken")
    }

    /// Reads what has come.
    fn look(&mut self) -> Result<()> {
        let before = self.visible;
        while let Some(next) = self.reader.poll(Duration::ZERO) {
            match next {
                Ok(message) => {
                    let result = message.payload().context("a result is empty")?;
                    let (key, sold) = parsed(result)?;
                    self.seen.entry(key).or_default().push(sold);
                    self.visible += 1;
                }
                // It goes on by itself, but for this one.
                Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => {
                    bail!("cannot read results: {error}")
                }
                Err(error) => eprintln!("a reader of results: {error}"),
            }
        }
        if self.visible > before {
            println!("{VISIBLE}{}", self.visible);
        }
        Ok(())
    }

    /// Waits until all is there, and for what should not come.
    fn compare(mut self) -> Result<String> {
        let begun = now();
        while self.seen.len() < self.expected.len() && now() - begun < LAST_RESULTS {
            self.look()?;
            pause();
        }
        let complete = now();
        while now() - complete < AFTERWARDS {
            self.look()?;
            pause();
        }
        let (mut missing, mut wrong) = (Vec::new(), Vec::new());
        for (key, sold) in &self.expected {
            match self.seen.get(key).map(Vec::as_slice) {
                None => missing.push(key),
                Some([once]) if once == sold => {}
                Some(seen) => wrong.push(format!("{key:?} is {seen:?} and must be {sold:?}")),
            }
        }
        let strange = self.seen.keys().filter(|key| !self.expected.contains_key(*key));
        wrong.extend(strange.map(|key| format!("{key:?} is there, and has no orders")));
        ensure!(
            missing.is_empty() && wrong.is_empty(),
            "of {} results {} are missing, first {:?}; {} are wrong, first {:?}",
            self.expected.len(),
            missing.len(),
            missing.first(),
            wrong.len(),
            wrong.first(),
        );
        let orders = self.sent * PARTITIONS as u64;
        Ok(format!("{} results of {orders} orders, each there once", self.expected.len()))
    }
}

/// The n-th order of a partition: its shop, its time, and what it costs.
fn order(partition: i32, n: u64) -> (String, i64, u64) {
    let mut x = (n << 2 | u64::from(partition.cast_unsigned())) + 1;
    for _ in 0..2 {
        x = (x ^ (x >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    let own = SHOPS / PARTITIONS as u64;
    let shop = (x >> 40) % own * PARTITIONS as u64 + u64::from(partition.cast_unsigned());
    let late = ((x >> 8) % LATE_MS).cast_signed();
    let at = START_MS + n.cast_signed() * STEP_MS - late;
    (format!("shop-{shop:02}"), at, 100 + (x >> 20) % 20_000)
}

fn parsed(result: &[u8]) -> Result<(Key, Sold)> {
    let value: Value = serde_json::from_slice(result).context("a result is no JSON")?;
    let number = |at: &str| value.pointer(at).and_then(Value::as_u64);
    let start = value["start"].as_i64();
    match (value["key"].as_str(), start, number("/value/0"), number("/value/1")) {
        (Some(shop), Some(start), Some(count), Some(sum)) => {
            Ok(((shop.to_owned(), start), (count, sum)))
        }
        _ => bail!("a result is {value}"),
    }
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

fn create(brokers: &str, topics: &[&String]) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(brokers).create()?;
    let new = |name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let topics: Vec<_> = topics.iter().map(|name| new(name.as_str())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for created in runtime.block_on(admin.create_topics(&topics, &AdminOptions::new()))? {
        if let Err((topic, error)) = created {
            bail!("topic {topic} cannot be made: {error}");
        }
    }
    Ok(())
}

fn reader(brokers: &str, topic: &str) -> Result<BaseConsumer> {
    let mut config = config(brokers);
    config.set("group.id", "e2e").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed");
    let reader: BaseConsumer = config.create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    reader.assign(&all)?;
    Ok(reader)
}

#[expect(clippy::disallowed_methods, reason = "orders come as time goes by")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "orders come as time goes by")]
fn pause() {
    std::thread::sleep(TICK);
}
