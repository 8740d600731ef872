//! [`KafkaMessage`]: a record of Kafka's, as librdkafka holds it.
//!
//! Lent to a [`Decode`](super::Decode) by the source's thread. Invariant: nothing of it is copied
//! until somebody asks.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use rdkafka::bindings as sys;

use crate::time::Timestamp;

/// A record of Kafka's: its key, value and headers, and where it stands.
pub struct KafkaMessage<'a> {
    /// Valid, and no error, for as long as `'a`.
    raw: *mut sys::rd_kafka_message_t,
    topic: &'a Arc<str>,
    lifetime: PhantomData<&'a sys::rd_kafka_message_t>,
}

impl<'a> KafkaMessage<'a> {
    /// A record that librdkafka holds.
    ///
    /// # Safety
    /// It must be one without an error, and must stay for as long as `'a`.
    pub(super) unsafe fn new(raw: *mut sys::rd_kafka_message_t, topic: &'a Arc<str>) -> Self {
        Self { raw, topic, lifetime: PhantomData }
    }

    fn raw(&self) -> &'a sys::rd_kafka_message_t {
        // SAFETY: `new` was promised that it stays.
        unsafe { &*self.raw }
    }

    /// The topic that it was read from.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    pub(super) fn shared_topic(&self) -> Arc<str> {
        self.topic.clone()
    }

    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.raw().partition
    }

    /// Its offset there.
    pub fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// Its key, if it has one.
    pub fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: key and length belong together, and stay as long as the message.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    /// Its value; a tombstone has none.
    pub fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: payload and length belong together, and stay as long as the message.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// When it was made, or when the broker took it, as the topic's `message.timestamp.type` says.
    pub fn timestamp(&self) -> Option<Timestamp> {
        // SAFETY: the message is valid; a place for the kind of time need not be given.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.raw, ptr::null_mut()) };
        (time >= 0).then_some(Timestamp(time))
    }

    /// Its headers, in order: names, which may come again, and values, which may be missing.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'a, str>, Option<&'a [u8]>)> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is valid and keeps its headers; where it has none, `headers` stays.
        unsafe { sys::rd_kafka_message_headers(self.raw, &raw mut headers) };
        let end = if headers.is_null() { 0 } else { usize::MAX };
        (0..end).map_while(move |index| {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers stay as long as the message; behind the last it fails and leaves
            // all three alone.
            let found = unsafe {
                sys::rd_kafka_header_get_all(
                    headers,
                    index,
                    &raw mut name,
                    &raw mut value,
                    &raw mut size,
                )
            };
            if found != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return None;
            }
            // SAFETY: name and value are those of a header of this message.
            unsafe { Some((CStr::from_ptr(name).to_string_lossy(), bytes(value, size))) }
        })
    }
}

/// Bytes of C's.
///
/// # Safety
/// Where `start` is not null, `length` bytes from there on must stay for as long as `'a`.
unsafe fn bytes<'a>(start: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
