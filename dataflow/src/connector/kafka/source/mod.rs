//! [`KafkaSource`]: reads topics of Kafka, for a task of the engine each its share of partitions.
//!
//! When it opens it resolves what the program says to offsets ([`resolve`], [`topics`]). A thread
//! of its own takes records from librdkafka ([`queue`]), decodes them and watches the topics
//! ([`thread`], [`watch`]); the engine polls what it has ([`reader`], [`out`]). A split is a
//! partition; its position is the offset behind the last record emitted.

mod aside;
mod bounds;
mod chunk;
mod ends;
mod hold;
mod lag;
mod out;
mod part;
mod position;
mod question;
mod queue;
mod reader;
mod resolve;
mod thread;
mod topics;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bounds::{End, Start, offsets};
pub use position::KafkaPosition;
pub use reader::KafkaReader;

use super::decode::{BytesValue, Decode, JsonValue, TextValue, Whole};
use super::settings::{Setting, Settings};
use crate::data::Data;
use crate::error::Result;
use crate::source::{Source, SourceContext};
use crate::time::Timestamp;

/// How often topics are looked at for new partitions. A look is one small request per task; nobody
/// adds partitions and waits.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// librdkafka asks for a group's name where partitions are assigned; nothing is kept under it.
const GROUP: &str = "millstream";

/// Settings with other values than librdkafka's own, unless the program gives them.
const DEFAULTS: [(&str, &str); 2] = [
    // A record that was damaged on its way or on a disk is not taken for a good one. It costs next
    // to nothing.
    ("check.crcs", "true"),
    // Of a queue that is full, 100,000 records, a fast job needs 30 ms. librdkafka would look again
    // after a second: measured, that is a fifth of the rate.
    ("fetch.queue.backoff.ms", "10"),
];

const NO_GROUP: &str = "Millstream assigns partitions by itself, without a group's members";

/// Settings that this source depends on, and what to do instead.
const OWNED: [(&str, &str); 16] = [
    ("group.id", "to report offsets to a group, name it by `report_to_group`"),
    ("enable.auto.commit", "positions are kept in snapshots; `report_to_group` reports them"),
    ("auto.commit.interval.ms", "positions are kept in snapshots; `report_to_group` reports them"),
    ("enable.auto.offset.store", "positions are kept in snapshots"),
    ("auto.offset.reset", "say where to begin by `from_earliest`, `from_latest` and the like"),
    ("enable.partition.eof", "idle partitions are known by it"),
    ("isolation.level", "to read records of open and aborted transactions: `read_uncommitted`"),
    ("group.instance.id", NO_GROUP),
    ("group.protocol", NO_GROUP),
    ("group.protocol.type", NO_GROUP),
    ("group.remote.assignor", NO_GROUP),
    ("partition.assignment.strategy", NO_GROUP),
    ("session.timeout.ms", NO_GROUP),
    ("heartbeat.interval.ms", NO_GROUP),
    ("max.poll.interval.ms", NO_GROUP),
    ("consume.callback.max.messages", "there is no callback"),
];

/// A source that reads topics of Kafka's, exactly once into the job's state.
///
/// A split is a partition. Each is read by the task that follows from its topic and number, from
/// the offset in the snapshot; groups and their committed offsets play no part. Begins with the
/// oldest record and never ends, unless told otherwise.
///
/// ```
/// use std::time::Duration;
/// use millstream_dataflow::{Job, Watermarks, Timestamp, connector::kafka::KafkaSource};
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Reading { sensor: String, at: Timestamp, celsius: f64 }
/// let job = Job::new(Default::default());
/// job.source("readings", KafkaSource::json::<Reading>("readings").brokers("kafka:9092"))
///     .event_time(|reading| reading.at, Watermarks::bounded(Duration::from_secs(5)))
///     .filter(|reading| reading.celsius > 30.0);
/// ```
#[derive(Clone)]
pub struct KafkaSource<D> {
    spec: Spec,
    decode: D,
}

/// What does not depend on the format.
#[derive(Clone, Debug)]
struct Spec {
    topics: Vec<Arc<str>>,
    settings: Settings,
    start: Start,
    end: End,
    uncommitted: bool,
    group: Option<String>,
    look_every: Duration,
}

impl Spec {
    fn is_bounded(&self) -> bool {
        self.end != End::Never
    }
}

impl KafkaSource<()> {
    /// Reads values that are JSON. A record without a value (a tombstone) reads as `null`.
    ///
    /// ```
    /// # use millstream_dataflow::connector::kafka::KafkaSource;
    /// let pairs = KafkaSource::json::<(String, f64)>("pairs").brokers("kafka:9092");
    /// ```
    pub fn json<T: Data>(topic: impl Into<String>) -> KafkaSource<JsonValue<T>> {
        KafkaSource::of(topic, JsonValue::new())
    }

    /// Reads values that are UTF-8 text.
    ///
    /// ```
    /// # use millstream_dataflow::connector::kafka::KafkaSource;
    /// let lines = KafkaSource::text("log").brokers("kafka:9092");
    /// ```
    pub fn text(topic: impl Into<String>) -> KafkaSource<TextValue> {
        KafkaSource::of(topic, TextValue)
    }

    /// Reads values as they are.
    ///
    /// ```
    /// # use millstream_dataflow::connector::kafka::KafkaSource;
    /// let images = KafkaSource::bytes("images").brokers("kafka:9092");
    /// ```
    pub fn bytes(topic: impl Into<String>) -> KafkaSource<BytesValue> {
        KafkaSource::of(topic, BytesValue)
    }
}

impl<D: Decode> KafkaSource<D> {
    /// Reads a format of your own.
    pub fn of(topic: impl Into<String>, decode: D) -> Self {
        let spec = Spec {
            topics: vec![topic.into().into()],
            settings: Settings::default(),
            start: Start::default(),
            end: End::default(),
            uncommitted: false,
            group: None,
            look_every: LOOK_EVERY,
        };
        Self { spec, decode }
    }

    /// Reads another topic too.
    #[must_use]
    pub fn and_topic(mut self, topic: impl Into<String>) -> Self {
        let topic: Arc<str> = topic.into().into();
        if !self.spec.topics.contains(&topic) {
            self.spec.topics.push(topic);
        }
        self
    }

    /// Gives each record with what it came with: key, headers, timestamp, topic, partition, offset.
    ///
    /// ```
    /// # use millstream_dataflow::{Job, Watermarks, connector::kafka::KafkaSource};
    /// # let job = Job::new(Default::default());
    /// job.source("orders", KafkaSource::json::<f64>("orders").brokers("kafka:9092").whole())
    ///     .event_time(|record| record.timestamp, Watermarks::ascending())
    ///     .map(|record| (record.key, record.value));
    /// ```
    #[must_use]
    pub fn whole(self) -> KafkaSource<Whole<D>> {
        KafkaSource { spec: self.spec, decode: Whole(self.decode) }
    }

    /// Where the cluster is: `host:port`, several behind commas. Any of its brokers will do.
    #[must_use]
    pub fn brokers(mut self, brokers: impl Into<Setting>) -> Self {
        self.spec.settings.brokers(brokers);
        self
    }

    /// A setting of librdkafka by its name. Those that this source depends on are refused when it
    /// opens.
    ///
    /// ```
    /// # use millstream_dataflow::{Job, connector::kafka::KafkaSource};
    /// # let job = Job::new(Default::default());
    /// let source = KafkaSource::text("log")
    ///     .brokers("kafka:9093")
    ///     .set("security.protocol", "sasl_ssl")
    ///     .set("sasl.mechanism", "SCRAM-SHA-512")
    ///     .set("sasl.username", "reader")
    ///     .set("sasl.password", job.env("KAFKA_PASSWORD"));
    /// ```
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Setting>) -> Self {
        self.spec.settings.set(name, value);
        self
    }

    /// Several settings of librdkafka by their names.
    #[must_use]
    pub fn settings<N: Into<String>, V: Into<Setting>>(
        mut self,
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        settings.into_iter().for_each(|(name, value)| self.spec.settings.set(name, value));
        self
    }

    /// Begins with the oldest record of each partition: the default.
    #[must_use]
    pub fn from_earliest(mut self) -> Self {
        self.spec.start = Start::Earliest;
        self
    }

    /// Begins behind what is the newest record of each partition when the job starts.
    #[must_use]
    pub fn from_latest(mut self) -> Self {
        self.spec.start = Start::Latest;
        self
    }

    /// Begins, in each partition, with the first record whose timestamp is this or later; behind
    /// the newest where there is none.
    #[must_use]
    pub fn from_timestamp(mut self, time: Timestamp) -> Self {
        self.spec.start = Start::At(time);
        self
    }

    /// Begins at these offsets, by topic and partition. Partitions that are not named begin with
    /// their oldest record.
    ///
    /// ```
    /// # use millstream_dataflow::connector::kafka::KafkaSource;
    /// let log = KafkaSource::text("log").from_offsets([("log", 0, 42), ("log", 1, 7)]);
    /// ```
    #[must_use]
    pub fn from_offsets<T: Into<String>>(
        mut self,
        given: impl IntoIterator<Item = (T, i32, i64)>,
    ) -> Self {
        self.spec.start = Start::Offsets(offsets(given));
        self
    }

    /// Ends, in each partition, behind what is the newest record when the job first starts.
    #[must_use]
    pub fn until_latest(mut self) -> Self {
        self.spec.end = End::Latest;
        self
    }

    /// Ends, in each partition, before the first record whose timestamp is this or later; behind
    /// what is the newest when the job first starts, where there is none.
    #[must_use]
    pub fn until_timestamp(mut self, time: Timestamp) -> Self {
        self.spec.end = End::At(time);
        self
    }

    /// Ends before these offsets, by topic and partition. Every partition must be named; one whose
    /// records do not reach its end is waited for.
    #[must_use]
    pub fn until_offsets<T: Into<String>>(
        mut self,
        given: impl IntoIterator<Item = (T, i32, i64)>,
    ) -> Self {
        self.spec.end = End::Offsets(offsets(given));
        self
    }

    /// Reads records of open and of aborted transactions too. Without this, a record is read once
    /// its transaction is committed.
    #[must_use]
    pub fn read_uncommitted(mut self) -> Self {
        self.spec.uncommitted = true;
        self
    }

    /// Reports, once a snapshot is published, the offsets that it holds to a group, for those who
    /// watch how far the job is behind. They are never read back. The group must have no members.
    #[must_use]
    pub fn report_to_group(mut self, group: impl Into<String>) -> Self {
        self.spec.group = Some(group.into());
        self
    }

    /// How often to look for new partitions, and whether the topics are still the same. Half a
    /// minute unless set; a second at least.
    #[must_use]
    pub fn look_every(mut self, interval: Duration) -> Self {
        self.spec.look_every = interval.max(Duration::from_secs(1));
        self
    }
}

impl<D> fmt::Debug for KafkaSource<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KafkaSource").field(&self.spec).finish()
    }
}

impl<D: Decode> Source for KafkaSource<D> {
    type Item = D::Record;
    type Position = KafkaPosition;
    type Reader = KafkaReader<D>;

    fn open(&self, ctx: SourceContext<KafkaPosition>) -> Result<KafkaReader<D>> {
        KafkaReader::open(self, ctx)
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        let (topic, number) = position::parse(split).unwrap_or((split, 0));
        position::owner(topic, number, parallelism)
    }
}
