//! [`Decode`]: how a program's records lie in Kafka's.
//!
//! Called by the thread of [`super::source`] with each record as librdkafka holds it, so that
//! nothing is copied but what the program's record keeps. Invariant: a record that does not decode
//! is malformed, and what becomes of it is said by the source's stream, not here.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::message::KafkaMessage;
use crate::data::Data;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Reads a program's record out of one of Kafka's. Cloned for each task; runs on a thread beside
/// the engine.
///
/// ```
/// use millstream_dataflow::connector::kafka::{Decode, KafkaMessage, KafkaSource};
/// use millstream_dataflow::{Error, Result};
///
/// /// A number in eight bytes, under a key that is text.
/// #[derive(Clone)]
/// struct Counts;
///
/// impl Decode for Counts {
///     type Record = (String, u64);
///
///     fn decode(&mut self, message: &KafkaMessage<'_>) -> Result<(String, u64)> {
///         let key = std::str::from_utf8(message.key().unwrap_or_default())?;
///         let value = message.value().unwrap_or_default().try_into();
///         Ok((key.to_owned(), u64::from_be_bytes(value?)))
///     }
/// }
///
/// let source = KafkaSource::of("counts", Counts).brokers("kafka:9092");
/// ```
pub trait Decode: Clone + Send + 'static {
    /// The records.
    type Record: Data;

    /// Reads a record. An error makes it a malformed one, with these words.
    fn decode(&mut self, message: &KafkaMessage<'_>) -> Result<Self::Record>;
}

/// The value is JSON. A record without a value (a tombstone) reads as `null`, so that `Option<T>`
/// takes it.
pub struct JsonValue<T>(PhantomData<fn() -> T>);

impl<T> JsonValue<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for JsonValue<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JsonValue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonValue")
    }
}

impl<T: Data> Decode for JsonValue<T> {
    type Record = T;

    fn decode(&mut self, message: &KafkaMessage<'_>) -> Result<T> {
        match message.value() {
            Some(value) => Ok(serde_json::from_slice(value)?),
            None => serde_json::from_slice(b"null").map_err(|_| tombstone()),
        }
    }
}

/// The value is UTF-8 text.
#[derive(Clone, Copy, Debug)]
pub struct TextValue;

impl Decode for TextValue {
    type Record = String;

    fn decode(&mut self, message: &KafkaMessage<'_>) -> Result<String> {
        let value = message.value().ok_or_else(tombstone)?;
        Ok(std::str::from_utf8(value)?.to_owned())
    }
}

/// The value as it is.
#[derive(Clone, Copy, Debug)]
pub struct BytesValue;

impl Decode for BytesValue {
    type Record = Vec<u8>;

    fn decode(&mut self, message: &KafkaMessage<'_>) -> Result<Vec<u8>> {
        message.value().map(<[u8]>::to_vec).ok_or_else(tombstone)
    }
}

#[cold]
fn tombstone() -> Error {
    Error::user("the record has no value (a tombstone)")
}

/// A record of Kafka's: what a value came with, and the value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KafkaRecord<T> {
    /// The topic that it was read from.
    #[serde(with = "shared_text")]
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// When it was made, or when the broker took it: the topic's `message.timestamp.type` says
    /// which. [`Timestamp::MIN`], which is malformed as an event time, where there is none.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Its value.
    pub value: T,
}

/// Another format's record, with what it came with.
#[derive(Clone, Debug)]
pub struct Whole<D>(pub(super) D);

impl<D: Decode> Decode for Whole<D> {
    type Record = KafkaRecord<D::Record>;

    fn decode(&mut self, message: &KafkaMessage<'_>) -> Result<Self::Record> {
        let headers =
            message.headers().map(|(name, value)| (name.into_owned(), value.map(Vec::from)));
        Ok(KafkaRecord {
            value: self.0.decode(message)?,
            topic: message.shared_topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().unwrap_or(Timestamp::MIN),
            key: message.key().map(Vec::from),
            headers: headers.collect(),
        })
    }
}

/// Text that many records share, as serde sees it: text.
mod shared_text {
    use std::sync::Arc;

    use serde::de::{Deserialize, Deserializer};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Arc::from)
    }
}
