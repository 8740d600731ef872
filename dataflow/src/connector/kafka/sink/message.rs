//! [`OutboundMessage`]: a record as it goes to Kafka, and [`Serializer`], which makes one of a
//! record.
//!
//! Filled by the writer, kept in the outbox as bytes ([`Stored`]), handed to librdkafka.

use serde::{Deserialize, Serialize};

use super::super::super::format::Json;
use super::blob::Blob;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// What a record takes beside its parts, as librdkafka reckons it.
const OVERHEAD_BYTES: usize = 36;
/// What a header takes beside its parts.
const HEADER_BYTES: usize = 10;

/// Makes what goes to Kafka of a record. Cloned for each task.
///
/// ```
/// use millstream_dataflow::Result;
/// use millstream_dataflow::connector::kafka::{KafkaSink, OutboundMessage, Serializer};
///
/// #[derive(Clone)]
/// struct Text;
///
/// impl Serializer for Text {
///     type Record = (String, String);
///
///     fn serialize(&self, pair: &(String, String), message: &mut OutboundMessage) -> Result<()> {
///         message.set_key(&pair.0);
///         message.value_mut().extend_from_slice(pair.1.as_bytes());
///         Ok(())
///     }
/// }
///
/// let sink = KafkaSink::of("texts", Text).brokers("localhost:9092");
/// ```
pub trait Serializer: Clone + Send + 'static {
    /// The records.
    type Record: Send + 'static;

    /// Fills an empty message, which has the record's event time as its timestamp.
    fn serialize(&self, record: &Self::Record, message: &mut OutboundMessage) -> Result<()>;
}

impl<T: Serialize + Send + 'static> Serializer for Json<T> {
    type Record = T;

    fn serialize(&self, record: &T, message: &mut OutboundMessage) -> Result<()> {
        serde_json::to_writer(message.value_mut(), record)
            .map_err(|error| Error::user(format!("a record cannot be JSON: {error}")))
    }
}

/// A record as it goes to Kafka. Without a key and with a null value until they are set.
#[derive(Clone, Debug, Default)]
pub struct OutboundMessage {
    key: Vec<u8>,
    has_key: bool,
    value: Vec<u8>,
    has_value: bool,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
    partition: Option<i32>,
}

impl OutboundMessage {
    /// Sets the key, which chooses the partition unless that is set.
    pub fn set_key(&mut self, key: impl AsRef<[u8]>) {
        self.key.clear();
        self.key.extend_from_slice(key.as_ref());
        self.has_key = true;
    }

    /// Takes the key away: the record goes to any partition.
    pub fn set_no_key(&mut self) {
        self.has_key = false;
    }

    /// The value, to write it; empty at first.
    pub fn value_mut(&mut self) -> &mut Vec<u8> {
        if !self.has_value {
            self.value.clear();
            self.has_value = true;
        }
        &mut self.value
    }

    /// A null value: in a compacted topic, the end of what has this key.
    pub fn set_null(&mut self) {
        self.has_value = false;
    }

    /// Adds a header. Several may have one name.
    pub fn add_header(&mut self, name: impl Into<String>, value: impl AsRef<[u8]>) {
        self.headers.push((name.into(), Some(value.as_ref().to_vec())));
    }

    /// Adds a header whose value is null.
    pub fn add_null_header(&mut self, name: impl Into<String>) {
        self.headers.push((name.into(), None));
    }

    /// Sets the timestamp. Without one, and without an event time, it is the time of sending.
    pub fn set_timestamp(&mut self, at: Timestamp) {
        self.timestamp = Some(at.0);
    }

    /// Sets the partition, from 0.
    pub fn set_partition(&mut self, partition: i32) {
        self.partition = Some(partition);
    }

    /// Empties it for the next record, which has this event time.
    pub(super) fn begin(&mut self, time: Timestamp) {
        self.has_key = false;
        self.has_value = false;
        self.headers.clear();
        // Kafka has no times before 1970.
        self.timestamp = (time.0 >= 0 && time != Timestamp::MAX).then_some(time.0);
        self.partition = None;
    }

    pub(super) fn stored(&self) -> Stored<'_> {
        let headers = self.headers.iter();
        Stored {
            key: self.has_key.then_some(Blob(&self.key)),
            value: self.has_value.then_some(Blob(&self.value)),
            headers: headers.map(|(name, value)| (&**name, value.as_deref().map(Blob))).collect(),
            timestamp: self.timestamp,
            partition: self.partition,
        }
    }
}

/// A message in the bytes of an outbox. Frozen: parts of snapshots hold it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored<'a> {
    #[serde(borrow)]
    pub(super) key: Option<Blob<&'a [u8]>>,
    #[serde(borrow)]
    pub(super) value: Option<Blob<&'a [u8]>>,
    #[serde(borrow)]
    pub(super) headers: Vec<(&'a str, Option<Blob<&'a [u8]>>)>,
    pub(super) timestamp: Option<i64>,
    pub(super) partition: Option<i32>,
}

impl<'a> Stored<'a> {
    /// Appends it to bytes.
    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) -> Result<()> {
        postcard::to_io(self, bytes)?;
        Ok(())
    }

    /// Takes the first off bytes.
    pub(super) fn take_from(bytes: &'a [u8]) -> Result<(Self, &'a [u8])> {
        postcard::take_from_bytes(bytes)
            .map_err(|error| Error::corrupt(format!("an outbox does not decode: {error}")))
    }

    /// The most that it can take on the wire, uncompressed: what `message.max.bytes` bounds.
    pub(super) fn wire_bytes(&self) -> usize {
        let length = |blob: &Option<Blob<&[u8]>>| blob.as_ref().map_or(0, |blob| blob.0.len());
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| HEADER_BYTES + name.len() + length(value));
        OVERHEAD_BYTES + length(&self.key) + length(&self.value) + headers.sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_read_again() {
        let mut message = OutboundMessage::default();
        message.begin(Timestamp(7));
        message.set_key("k");
        message.value_mut().extend(b"value");
        message.add_header("one", "1");
        message.add_null_header("none");
        message.set_partition(3);
        let mut bytes = Vec::new();
        message.stored().append_to(&mut bytes).unwrap();
        // The next one finds nothing of it.
        let mut next = message.clone();
        next.begin(Timestamp::MIN);
        next.stored().append_to(&mut bytes).unwrap();
        let (first, rest) = Stored::take_from(&bytes).unwrap();
        assert_eq!(first, message.stored());
        assert_eq!((first.timestamp, first.headers.len()), (Some(7), 2));
        let (second, rest) = Stored::take_from(rest).unwrap();
        assert!(rest.is_empty() && second.headers.is_empty());
        assert_eq!(
            (second.key, second.value, second.timestamp, second.partition),
            Default::default()
        );
        assert!(Stored::take_from(&bytes[..5]).is_err());
    }

    #[test]
    fn the_bytes_of_an_outbox_stay_as_they_are() {
        let mut message = OutboundMessage::default();
        message.begin(Timestamp(300));
        message.set_key("ab");
        message.value_mut().push(b'c');
        message.add_header("h", "v");
        message.set_partition(1);
        let mut bytes = Vec::new();
        message.stored().append_to(&mut bytes).unwrap();
        let expected = b"\x01\x02ab\x01\x01c\x01\x01h\x01\x01v\x01\xd8\x04\x01\x02";
        assert_eq!(bytes, expected, "outboxes in snapshots of earlier versions must be read");
    }
}
