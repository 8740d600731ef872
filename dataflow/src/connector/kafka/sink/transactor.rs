//! [`Transactor`]: the one producer that may write for a task of the sink, and the token that its
//! transactions leave.
//!
//! Used by [`super::commit`] and [`super::recover`], on blocking threads. Invariant: to make one is
//! to end the open transaction of every earlier one under the same id, and to lock them out.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use millstream_protocol::id::{Epoch, Run};
use millstream_protocol::log::Lineage;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::super::client::Told;
use super::super::fault::{code_of, explain, fail};
use super::destination::Destination;
use super::flight::{Flight, Outgoing, not_taken, send};
use super::outbox::Content;
use super::stop::Stop;
use super::token::Token;
use crate::error::{Error, Kind, Result};

/// How long one call of librdkafka blocks: a run that ends is noticed between two.
const SLICE: Duration = Duration::from_secs(1);
/// How long a pause is where a call fails at once, and may be made again.
const PAUSE: Duration = Duration::from_millis(100);
/// How often a call is made again. A broker that is restarted is back within a minute; after that
/// the job restarts, with its own backoff.
const TRIES: u32 = 60;
/// How long librdkafka's queue may stay full between two looks.
const QUEUE_WAIT: Duration = Duration::from_millis(5);
/// Where the token lies: a partition that every topic has.
const TOKEN_PARTITION: i32 = 0;

/// The newest run of this process that took over a transactional id.
static NEWEST: LazyLock<Mutex<HashMap<String, Run>>> = LazyLock::new(Mutex::default);

fn newest() -> std::sync::MutexGuard<'static, HashMap<String, Run>> {
    NEWEST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The producer of a transactional id.
pub(super) struct Transactor {
    producer: Arc<BaseProducer<Outgoing>>,
    told: Told,
    /// How the transactions name the group of the token.
    group: ConsumerGroupMetadata,
    to: Arc<Destination>,
    task: u32,
    id: String,
    run: Run,
}

impl Transactor {
    /// Ends what others have begun under this task's id, and locks them out.
    pub(super) fn open(to: &Arc<Destination>, task: u32, run: Run, stop: &Stop) -> Result<Self> {
        let id = to.names.transactional_id(task);
        let outgoing = Outgoing::default();
        let told = outgoing.told.clone();
        let producer = Arc::new(to.transactional(&id, outgoing)?);
        let group = to.reader(task, Outgoing::default())?.group_metadata();
        let group = group.ok_or_else(|| Error::bug("librdkafka knows no group of a consumer"))?;
        {
            let mut newest = newest();
            let newest = newest.entry(id.clone()).or_insert(run);
            *newest = run.max(*newest);
        }
        let transactor = Self { producer, told, group, to: to.clone(), task, id, run };
        transactor.repeat("begin", stop, |producer| producer.init_transactions(SLICE))?;
        // librdkafka says of settings that it ignores in its log, which is read by now.
        transactor.told.check_settings()?;
        Ok(transactor)
    }

    /// Makes a call until it succeeds or cannot.
    fn repeat(
        &self,
        what: &str,
        stop: &Stop,
        call: impl Fn(&BaseProducer<Outgoing>) -> Result<(), KafkaError>,
    ) -> Result<()> {
        let mut tries = 0;
        loop {
            stop.check()?;
            self.producer.poll(Duration::ZERO);
            let Err(error) = call(&self.producer) else { return Ok(()) };
            let again = matches!(&error, KafkaError::Transaction(error) if error.is_retriable());
            tries += 1;
            if !again || tries >= TRIES || self.told.end().is_some() {
                return Err(self.failed(what, &error));
            }
            stop.wait(PAUSE)?;
        }
    }

    /// The error of a call.
    #[cold]
    fn failed(&self, what: &str, error: &KafkaError) -> Error {
        match self.producer.client().fatal_error() {
            Some((code, reason)) => explain(self.attempt(what), code, &reason),
            None => fail(self.attempt(what), error, &self.told),
        }
    }

    fn attempt(&self, what: &str) -> String {
        format!("cannot {what} a transaction of {}", self.id)
    }

    /// The producer, to ask about topics.
    pub(super) fn producer(&self) -> Arc<BaseProducer<Outgoing>> {
        self.producer.clone()
    }

    /// Whether a newer run of this very process has taken over: it is the one that goes on.
    pub(super) fn is_superseded(&self) -> bool {
        newest().get(&self.id).is_some_and(|newest| *newest > self.run)
    }

    /// The token that is there, once no transaction that could change it is open.
    pub(super) fn token(&self, topic: &str, stop: &Stop) -> Result<Option<Token>> {
        let reader = self.to.reader(self.task, Outgoing::default())?;
        let mut tries = 0;
        loop {
            stop.check()?;
            let error = match read_token(&reader, topic) {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            tries += 1;
            if error.kind() != Kind::Unavailable || tries >= TRIES {
                return Err(error);
            }
            stop.wait(PAUSE)?;
        }
    }

    /// Makes messages and the token visible, together or not at all. After an error nobody knows
    /// which: this producer is of no more use.
    pub(super) fn transact(
        &self,
        topic: &str,
        content: &Content,
        token: &Token,
        stop: &Stop,
    ) -> Result<()> {
        self.try_transact(topic, content, token, stop).map_err(|error| {
            // What is purged then says less than why.
            match self.producer.client().fatal_error() {
                Some((code, reason)) => explain(self.attempt("go on with"), code, &reason),
                None => error,
            }
        })
    }

    fn try_transact(
        &self,
        topic: &str,
        content: &Content,
        token: &Token,
        stop: &Stop,
    ) -> Result<()> {
        let begun = self.producer.begin_transaction();
        begun.map_err(|error| self.failed("begin", &error))?;
        let flight = Arc::new(Flight::default());
        content.each(|message| {
            loop {
                flight.expect(1);
                match send(message, &self.producer, topic, flight.clone()) {
                    Ok(()) => return Ok(()),
                    Err(error) if code_of(&error) == Some(Code::QueueFull) => {
                        flight.forget(1);
                        self.producer.poll(QUEUE_WAIT);
                        flight.has_landed()?;
                        stop.check()?;
                    }
                    Err(error) => {
                        return Err(not_taken(topic, message.wire_bytes(), &error, &self.told));
                    }
                }
            }
        })?;
        while !flight.has_landed()? {
            stop.check()?;
            let _ = self.producer.flush(SLICE);
        }
        let mut offsets = TopicPartitionList::new();
        let epoch = Offset::Offset(token.epoch.0 as i64);
        let placed = offsets.add_partition_offset(topic, TOKEN_PARTITION, epoch);
        placed.map_err(|error| self.failed("end", &error))?;
        if let Some(mut offset) = offsets.find_partition(topic, TOKEN_PARTITION) {
            offset.set_metadata(&token.lineage.0);
        }
        self.repeat("write the token of", stop, |producer| {
            producer.send_offsets_to_transaction(&offsets, &self.group, SLICE)
        })?;
        self.repeat("commit", stop, |producer| producer.commit_transaction(SLICE))
    }
}

fn read_token(reader: &BaseConsumer<Outgoing>, topic: &str) -> Result<Option<Token>> {
    let told = &reader.context().told;
    let failed = |error: &KafkaError| {
        fail(format_args!("cannot read which epoch of topic {topic} is committed"), error, told)
    };
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition(topic, TOKEN_PARTITION);
    let read = reader.committed_offsets(wanted, SLICE).map_err(|error| failed(&error))?;
    let Some(found) = read.find_partition(topic, TOKEN_PARTITION) else { return Ok(None) };
    found.error().map_err(|error| failed(&error))?;
    let Offset::Offset(epoch) = found.offset() else { return Ok(None) };
    let lineage = Lineage(found.metadata().to_owned());
    Ok(Some(Token { epoch: Epoch(epoch as u64), lineage }))
}
