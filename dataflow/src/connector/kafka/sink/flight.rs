//! [`Outgoing`]: the context of a producer; it hears what became of each record. [`Flight`] counts
//! those of an epoch that are on their way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, ProducerContext};
use rdkafka::{ClientContext, Message as _};

use super::super::client::Told;
use super::super::fault::{code_of, fail};
use super::blob::Blob;
use super::message::Stored;
use crate::error::{Error, Kind, Result};

/// Records that are on their way.
#[derive(Debug, Default)]
pub(super) struct Flight {
    under_way: AtomicU64,
    lost: Mutex<Option<(Kind, String)>>,
}

impl Flight {
    /// So many more are to arrive.
    pub(super) fn expect(&self, records: u64) {
        self.under_way.fetch_add(records, Ordering::SeqCst);
    }

    /// So many are not, after all.
    pub(super) fn forget(&self, records: u64) {
        self.under_way.fetch_sub(records, Ordering::SeqCst);
    }

    /// Whether none is under way. Fails where one was lost.
    pub(super) fn has_landed(&self) -> Result<bool> {
        if let Some((kind, message)) = &*self.lost() {
            return Err(Error::new(*kind, message.clone()));
        }
        Ok(self.under_way.load(Ordering::SeqCst) == 0)
    }

    fn lost(&self) -> std::sync::MutexGuard<'_, Option<(Kind, String)>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The context of a producer, and of the consumer that reads a token.
#[derive(Clone, Debug, Default)]
pub(super) struct Outgoing {
    pub(super) told: Told,
}

impl ClientContext for Outgoing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.told.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.told.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.told.error(error, reason);
    }
}

impl ConsumerContext for Outgoing {}

impl ProducerContext for Outgoing {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        if let Err((error, message)) = result {
            let mut lost = flight.lost();
            if lost.is_none() {
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let headers = headers.map(|it| it.key.len() + it.value.map_or(0, <[u8]>::len));
                let bytes = message.payload_len() + message.key_len() + headers.sum::<usize>();
                let error = not_taken(message.topic(), bytes, error, &self.told);
                *lost = Some((error.kind(), error.to_string()));
            }
        }
        flight.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Hands a message to librdkafka, which copies it. It chooses the partition where none is set.
pub(super) fn send(
    message: &Stored<'_>,
    producer: &BaseProducer<Outgoing>,
    topic: &str,
    flight: Arc<Flight>,
) -> Result<(), KafkaError> {
    let mut record = BaseRecord::<[u8], [u8], _>::with_opaque_to(topic, flight);
    record.key = message.key.map(|Blob(key)| key);
    record.payload = message.value.map(|Blob(value)| value);
    record.timestamp = message.timestamp;
    record.partition = message.partition;
    if !message.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(message.headers.len());
        let all = message.headers.iter().fold(headers, |headers, (key, value)| {
            headers.insert(Header { key, value: value.as_ref() })
        });
        record.headers = Some(all);
    }
    producer.send(record).map_err(|(error, _)| error)
}

/// A record that the broker, or librdkafka on its behalf, does not take.
#[cold]
pub(super) fn not_taken(topic: &str, bytes: usize, error: &KafkaError, told: &Told) -> Error {
    match code_of(error) {
        Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge) => too_large(topic, bytes),
        _ => fail(format_args!("topic {topic} did not take a record"), error, told),
    }
}

/// A record that is too large.
#[cold]
pub(super) fn too_large(topic: &str, bytes: usize) -> Error {
    Error::invalid(format!(
        "a record of {bytes} bytes, or the batch it is in, is larger than topic {topic} takes: \
         raise message.max.bytes of the sink and max.message.bytes of the topic, or make batches \
         smaller by batch.size"
    ))
}
