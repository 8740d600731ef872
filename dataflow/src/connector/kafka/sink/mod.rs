//! [`KafkaSink`]: writes records to a topic, exactly once or at least once.
//!
//! [`mod@write`] takes records in; exactly once, it keeps them in an [`outbox`], which travels in
//! the snapshot, and [`commit`] sends it in a transaction once that is published. The transaction
//! leaves a [`token`], by which [`recover`] knows, in a later run, whether it happened.

mod blob;
mod commit;
mod destination;
mod flight;
mod message;
mod murmur;
mod outbox;
mod recover;
mod stop;
mod token;
mod transactor;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use millstream_protocol::id::Epoch;
use millstream_protocol::plan::Guarantee;
use serde::{Deserialize, Serialize};

use self::commit::Shared;
use self::destination::{Destination, Names};
use self::flight::Outgoing;
use self::outbox::{Content, Limits, Outbox};
use self::write::{Direct, Way};
use super::super::format::Json;
use super::settings::{Setting, Settings};
use crate::error::{Error, Result};
use crate::sink::{Sink, SinkContext};
use crate::time::Timestamp;

pub use commit::KafkaCommitter;
pub use message::{OutboundMessage, Serializer};
pub use murmur::partition_of_key;
pub use write::KafkaWriter;

/// What ids in the cluster begin with.
const PREFIX: &str = "millstream";
/// What an outbox holds per task: a second of what one task can write.
const OUTBOX_BYTES: u64 = 128 << 20;
/// What it holds of that in memory.
const OUTBOX_MEMORY_BYTES: u64 = 32 << 20;
/// Kafka's names of topics end here.
const TOPIC_LEN_MAX: usize = 249;
/// How long a broker lets a transaction be open: an outbox is sent in one, over a slow network or
/// past a broker that restarts. Brokers allow 15 minutes by default.
const TRANSACTION_TIMEOUT_MS: &str = "300000";

/// Sets something of a message by its record, given how many partitions the topic has.
pub(super) type Choices<T> =
    Vec<Arc<dyn Fn(&T, u32, &mut OutboundMessage) -> Result<()> + Send + Sync>>;

/// What librdkafka keeps of what it was given, per task: an outbox is larger, and is read from its
/// file as there is room. librdkafka's own default is a gigabyte.
const QUEUE_KBYTES: &str = "65536";

/// Writes records to a topic.
///
/// Exactly once, unless said otherwise: records become visible to readers with
/// `isolation.level=read_committed` when their snapshot is published, those of a snapshot and a
/// task together. [`KafkaSink::at_least_once`] shows them at once, and again after a failure.
///
/// ```
/// use millstream_dataflow::{Job, connector::collection::Collection};
/// use millstream_dataflow::connector::kafka::KafkaSink;
///
/// let job = Job::new(Default::default());
/// let readings = job.source("readings", Collection::of([("cellar".to_owned(), 11.5)]));
/// let sink = KafkaSink::json("averages")
///     .brokers("localhost:9092")
///     .key(|(sensor, _): &(String, f64)| sensor.clone())
///     .set("compression.type", "zstd");
/// readings.sink("out", sink);
/// ```
pub struct KafkaSink<S: Serializer> {
    serializer: S,
    choices: Choices<S::Record>,
    topic: String,
    settings: Settings,
    guarantee: Guarantee,
    prefix: String,
    limits: Limits,
}

// By hand: a derive would ask the records to be `Clone`.
impl<S: Serializer> Clone for KafkaSink<S> {
    fn clone(&self) -> Self {
        Self {
            serializer: self.serializer.clone(),
            choices: self.choices.clone(),
            topic: self.topic.clone(),
            settings: self.settings.clone(),
            guarantee: self.guarantee,
            prefix: self.prefix.clone(),
            limits: self.limits.clone(),
        }
    }
}

impl KafkaSink<Json<()>> {
    /// Writes each record as a JSON value.
    pub fn json<T: Serialize + Send + 'static>(topic: impl Into<String>) -> KafkaSink<Json<T>> {
        KafkaSink::of(topic, Json::new())
    }
}

impl<S: Serializer> KafkaSink<S> {
    /// Writes what a serializer of your own makes of each record.
    pub fn of(topic: impl Into<String>, serializer: S) -> Self {
        let mut settings = Settings::default();
        // As Java's clients choose; where the program sets another, that counts.
        settings.set("partitioner", "murmur2_random");
        settings.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
        settings.set("queue.buffering.max.kbytes", QUEUE_KBYTES);
        Self {
            serializer,
            choices: Vec::new(),
            topic: topic.into(),
            settings,
            guarantee: Guarantee::ExactlyOnce,
            prefix: PREFIX.to_owned(),
            limits: Limits {
                memory_bytes: OUTBOX_MEMORY_BYTES,
                bytes: OUTBOX_BYTES,
                directory: std::env::temp_dir(),
            },
        }
    }

    /// Where the cluster is: `host:port`, several behind commas.
    #[must_use]
    pub fn brokers(mut self, brokers: impl Into<Setting>) -> Self {
        self.settings.brokers(brokers);
        self
    }

    /// A setting of librdkafka's producer by its name, such as `compression.type`.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl Into<Setting>) -> Self {
        self.settings.set(name, value);
        self
    }

    /// Shows records as soon as the broker has them, to every reader; after a failure, those since
    /// the last snapshot come again.
    #[must_use]
    pub fn at_least_once(self) -> Self {
        Self { guarantee: Guarantee::AtLeastOnce, ..self }
    }

    /// Shows each record once, when its snapshot is published. This is the default.
    #[must_use]
    pub fn exactly_once(self) -> Self {
        Self { guarantee: Guarantee::ExactlyOnce, ..self }
    }

    fn choose<F>(mut self, choice: F) -> Self
    where
        F: Fn(&S::Record, u32, &mut OutboundMessage) -> Result<()> + Send + Sync + 'static,
    {
        self.choices.push(Arc::new(choice));
        self
    }

    /// The key of a record, by which its partition is chosen, as Java's producers choose it.
    /// Without one, records are spread over the partitions.
    #[must_use]
    pub fn key<K: AsRef<[u8]>>(
        self,
        key: impl Fn(&S::Record) -> K + Send + Sync + 'static,
    ) -> Self {
        self.choose(move |record, _, message| {
            message.set_key(key(record));
            Ok(())
        })
    }

    /// Adds a header with this name.
    #[must_use]
    pub fn header<V: AsRef<[u8]>>(
        self,
        name: &str,
        value: impl Fn(&S::Record) -> V + Send + Sync + 'static,
    ) -> Self {
        let name = name.to_owned();
        self.choose(move |record, _, message| {
            message.add_header(name.clone(), value(record));
            Ok(())
        })
    }

    /// The timestamp of a record. Without this it is its event time; where the stream has none, the
    /// time of sending.
    #[must_use]
    pub fn timestamp(self, time: impl Fn(&S::Record) -> Timestamp + Send + Sync + 'static) -> Self {
        self.choose(move |record, _, message| {
            message.set_timestamp(time(record));
            Ok(())
        })
    }

    /// The partition of a record, from 0, given how many the topic had when the run began. See
    /// [`partition_of_key`] for the choice that Java's producers make.
    #[must_use]
    pub fn partition(
        self,
        partition: impl Fn(&S::Record, u32) -> i32 + Send + Sync + 'static,
    ) -> Self {
        self.choose(move |record, partitions, message| {
            let chosen = partition(record, partitions);
            if u32::try_from(chosen).is_ok_and(|chosen| chosen < partitions) {
                message.set_partition(chosen);
                return Ok(());
            }
            Err(Error::user(format!(
                "`partition` chose {chosen} for a record, but the topic has {partitions} partitions"
            )))
        })
    }

    /// What transactional ids and groups in the cluster begin with; `millstream` is the default.
    /// Two jobs of one name that write to one cluster from different stores need different ones. It
    /// must stay what it is for the life of the job.
    #[must_use]
    pub fn transactional_id_prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }

    /// How many bytes each task keeps until their snapshot is published and sent; 128 MiB is the
    /// default. Half full, it asks for a snapshot early; full, it holds its input back.
    #[must_use]
    pub fn outbox_bytes(mut self, bytes: u64) -> Self {
        self.limits.bytes = bytes.max(1);
        self
    }

    /// How many of these it keeps in memory; 32 MiB is the default. The others are in a file.
    #[must_use]
    pub fn outbox_memory_bytes(mut self, bytes: u64) -> Self {
        self.limits.memory_bytes = bytes;
        self
    }

    /// The directory of that file; the system's for temporary files is the default. The file has no
    /// name there, and is gone with the process.
    #[must_use]
    pub fn spill_to(mut self, directory: impl Into<PathBuf>) -> Self {
        self.limits.directory = directory.into();
        self
    }

    fn check(&self) -> Result<()> {
        let fits = |text: &str| {
            !text.is_empty()
                && text.len() <= TOPIC_LEN_MAX
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        for (what, text) in [("topic", &self.topic), ("transactional_id_prefix", &self.prefix)] {
            if !fits(text) {
                return Err(Error::invalid(format!(
                    "{what}: {text:?} does not do: write 1 to {TOPIC_LEN_MAX} letters, digits, \
                     '.', '_' and '-'"
                )));
            }
        }
        Ok(())
    }
}

/// The outbox of an epoch, as a snapshot keeps it until it is visible.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KafkaPending {
    /// The task that left it.
    task: u32,
    epoch: Epoch,
    /// The epoch of the token that was there before.
    previous: Epoch,
    topic: String,
    content: Content,
}

impl<S: Serializer> Sink for KafkaSink<S> {
    type Item = S::Record;
    type Pending = KafkaPending;
    type Writer = KafkaWriter<S>;
    type Committer = KafkaCommitter;

    fn guarantee(&self) -> Guarantee {
        self.guarantee
    }

    fn open(&self, ctx: SinkContext) -> Result<(KafkaWriter<S>, KafkaCommitter)> {
        self.check()?;
        let to = Arc::new(Destination {
            topic: self.topic.clone(),
            settings: self.settings.clone(),
            names: Names::new(&self.prefix, &ctx),
        });
        let shared = Arc::<Shared>::default();
        let direct = match self.guarantee {
            Guarantee::ExactlyOnce => None,
            Guarantee::AtLeastOnce => Some(Arc::new(to.idempotent(Outgoing::default())?)),
        };
        let way = match &direct {
            None => Way::Outbox(Outbox::new(self.limits.clone())),
            Some(producer) => Way::Direct(Direct::new(producer.clone(), to.clone())),
        };
        let writer = KafkaWriter {
            serializer: self.serializer.clone(),
            choices: self.choices.clone(),
            message: OutboundMessage::default(),
            message_bytes_max: to.message_bytes_max()?,
            task: ctx.info.task.0,
            to: to.clone(),
            shared: shared.clone(),
            way,
        };
        Ok((writer, KafkaCommitter { to, ctx, direct, shared, now: Default::default() }))
    }
}
