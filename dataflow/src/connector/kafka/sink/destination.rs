//! [`Destination`]: where a sink writes: the topic, how its cluster is reached, under which ids.
//!
//! Made of the description by each task; hands out librdkafka's clients.

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer as _};
use std::time::Duration;

use super::super::fault::{explain, fail};
use super::super::settings::Settings;
use super::flight::Outgoing;
use super::stop::Stop;
use crate::error::{Error, Kind, Result};
use crate::sink::SinkContext;

/// How a sink is told instead, where it must not be set.
const OWNED: [(&str, &str); 3] = [
    ("transactional.id", "it is made of `transactional_id_prefix`"),
    ("group.id", "it is made of `transactional_id_prefix`"),
    ("enable.idempotence", "a sink's producers are always idempotent"),
];
/// What librdkafka takes where nobody says otherwise.
const MESSAGE_BYTES_MAX: usize = 1_000_000;
/// How long one request for what the cluster knows of the topic may take, and how often it is made.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
const ASK_TRIES: u32 = 12;
/// Between two of them: a topic that was created this moment is known everywhere after the next.
const ASK_PAUSE: Duration = Duration::from_millis(250);
/// How often a topic is asked for that is said not to be there.
const MISSING_TRIES: u32 = 4;

/// Where a sink writes.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) topic: String,
    pub(super) settings: Settings,
    pub(super) names: Names,
}

/// Ids in the cluster, by task.
#[derive(Debug)]
pub(super) struct Names(String);

impl Names {
    /// Every id begins with the prefix, the job and the sink.
    pub(super) fn new(prefix: &str, ctx: &SinkContext) -> Self {
        let job = ctx.job.replace('/', ".");
        Self(format!("{prefix}.{job}.{}", ctx.info.operator))
    }

    /// `<prefix>.<namespace>.<job>.<sink>.<task>`.
    pub(super) fn transactional_id(&self, task: u32) -> String {
        format!("{}.{task}", self.0)
    }

    /// The group whose offset is the token.
    pub(super) fn group(&self, task: u32) -> String {
        format!("{}.epochs", self.transactional_id(task))
    }
}

impl Destination {
    /// The producer of a transactional id.
    pub(super) fn transactional(
        &self,
        id: &str,
        context: Outgoing,
    ) -> Result<BaseProducer<Outgoing>> {
        let own = [("enable.idempotence", "true"), ("transactional.id", id)];
        producer(&self.settings.config(&OWNED[..2], &own)?, context)
    }

    /// A producer without transactions.
    pub(super) fn idempotent(&self, context: Outgoing) -> Result<BaseProducer<Outgoing>> {
        producer(&self.settings.config(&OWNED, &[("enable.idempotence", "true")])?, context)
    }

    /// Reads the token of a task: only what no open transaction can change any more.
    pub(super) fn reader(&self, task: u32, context: Outgoing) -> Result<BaseConsumer<Outgoing>> {
        let own = [
            ("group.id", &*self.names.group(task)),
            ("enable.auto.commit", "false"),
            ("isolation.level", "read_committed"),
        ];
        // librdkafka says in its log that it ignores a producer's settings, which nobody asks for.
        let config = self.settings.config(&OWNED[..1], &own)?;
        let told = context.told.clone();
        let made = config.create_with_context(context);
        made.map_err(|error| fail("cannot make a consumer", &error, &told))
    }

    /// The largest message that librdkafka takes.
    pub(super) fn message_bytes_max(&self) -> Result<usize> {
        let config = self.settings.config(&OWNED, &[])?;
        let set = config.get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
        Ok(set.unwrap_or(MESSAGE_BYTES_MAX))
    }

    /// How many partitions the topic has.
    pub(super) fn partitions(&self, producer: &BaseProducer<Outgoing>, stop: &Stop) -> Result<u32> {
        let (mut tries, mut missing) = (0, 0);
        loop {
            stop.check()?;
            let error = match self.ask_partitions(producer) {
                Ok(partitions) => return Ok(partitions),
                Err(error) => error,
            };
            tries += 1;
            missing += u32::from(error.kind() == Kind::Invalid);
            if tries >= ASK_TRIES || missing >= MISSING_TRIES {
                return Err(error);
            }
            stop.wait(ASK_PAUSE)?;
        }
    }

    fn ask_partitions(&self, producer: &BaseProducer<Outgoing>) -> Result<u32> {
        let topic = &self.topic;
        let attempt =
            || format!("cannot write to topic {topic} at {}", self.settings.shown_brokers());
        producer.poll(Duration::ZERO);
        let told = &producer.context().told;
        let known = producer.client().fetch_metadata(Some(topic), ASK_TIMEOUT);
        let known = known.map_err(|error: KafkaError| fail(attempt(), &error, told))?;
        let Some(found) = known.topics().first() else {
            return Err(explain(attempt(), Code::UnknownTopicOrPartition, ""));
        };
        match found.error() {
            Some(error) => Err(explain(attempt(), error.into(), "")),
            None if found.partitions().is_empty() => {
                Err(Error::unavailable(format!("{}: it has no partitions yet", attempt())))
            }
            None => Ok(found.partitions().len() as u32),
        }
    }
}

fn producer(config: &ClientConfig, context: Outgoing) -> Result<BaseProducer<Outgoing>> {
    let told = context.told.clone();
    let made = config.create_with_context(context);
    made.map_err(|error| fail("cannot make a producer", &error, &told))
}
