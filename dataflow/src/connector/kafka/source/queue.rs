//! [`Queue`]: what the brokers have sent, by the hundred and as librdkafka holds it.
//!
//! Filled by librdkafka's own threads, emptied by [`super::thread`]. All calls of C for records are
//! here and in [`KafkaMessage`]. Invariant: what was taken out is freed when its [`Fetched`] is
//! emptied, before its client.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};

use super::super::client::Told;
use super::super::message::KafkaMessage;
use super::position::Partition;
use crate::error::{Error, Result};

/// Records that are taken at once: as many as an engine's batch holds.
const FETCHED: usize = crate::batch::BATCH_RECORDS;

/// A consumer's client.
pub(super) type Client = BaseConsumer<Told>;

/// Where librdkafka puts the records, and the ends, of all partitions that are read.
pub(super) struct Queue {
    raw: NonNull<sys::rd_kafka_queue_t>,
    /// Where its client puts its log, errors of connections, and answers.
    events: NonNull<sys::rd_kafka_queue_t>,
    client: Arc<Client>,
}

// SAFETY: librdkafka's queues may be used from any thread, several at once too.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    pub(super) fn new(client: &Arc<Client>) -> Result<Self> {
        // SAFETY: the client lives; it is kept for as long as the queues.
        let (raw, events) = unsafe {
            let native = client.client().native_ptr();
            (sys::rd_kafka_queue_new(native), sys::rd_kafka_queue_get_consumer(native))
        };
        let [raw, events] = [raw, events].map(NonNull::new);
        let (raw, events) =
            raw.zip(events).ok_or_else(|| Error::bug("librdkafka gives no queue"))?;
        Ok(Self { raw, events, client: client.clone() })
    }

    pub(super) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Gives to the client's context what there is for it.
    pub(super) fn serve(&self) {
        // SAFETY: the queue lives.
        while unsafe { sys::rd_kafka_queue_length(self.events.as_ptr()) } > 0 {
            // One of them. Errors are told to the context too, which knows why.
            let _ = self.client.poll(Duration::ZERO);
        }
    }

    /// Begins to read partitions, each from an offset, and with the leader's epoch that the record
    /// before had (-1: not known), by which a broker can tell whether it has lost what was read.
    pub(super) fn assign<'p>(
        &self,
        partitions: impl Iterator<Item = (&'p Partition, i64, i32)>,
    ) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, next, leader_epoch) in partitions {
            self.take_in(partition)?;
            let Partition { topic, number } = partition;
            let added = list.add_partition_offset(topic, *number, Offset::Offset(next));
            added.map_err(|error| Error::bug(format!("{}: {next}: {error}", partition.id())))?;
            if leader_epoch >= 0 {
                set_leader_epoch(&list, partition, leader_epoch)?;
            }
        }
        if list.count() == 0 {
            return Ok(());
        }
        let assigned = self.client.incremental_assign(&list);
        assigned.map_err(|error| Error::bug(format!("cannot assign partitions: {error}")))
    }

    /// Fetches nothing more of these, and throws away what was fetched and not taken.
    pub(super) fn pause(&self, partitions: &[&Partition]) {
        if let Err(error) = self.client.pause(&list_of(partitions)) {
            // They are read as before: more is held in memory than should be, and nothing is lost.
            tracing::warn!("cannot pause {} partitions: {error}", partitions.len());
        }
    }

    /// Fetches these again, from behind what was taken.
    pub(super) fn resume(&self, partitions: &[&Partition]) -> Result<()> {
        let resumed = self.client.resume(&list_of(partitions));
        resumed.map_err(|error| Error::bug(format!("cannot resume partitions: {error}")))
    }

    /// Reads a partition no further.
    pub(super) fn unassign(&self, partition: &Partition) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.number);
        if let Err(error) = self.client.incremental_unassign(&list) {
            // What still comes of it is thrown away.
            tracing::warn!("cannot leave off reading {}: {error}", partition.id());
        }
    }

    /// From here on what is read of a partition comes here. Before it is assigned.
    fn take_in(&self, partition: &Partition) -> Result<()> {
        let topic = CString::new(&*partition.topic)?;
        // SAFETY: client and queue live, and the name ends in a zero; the reference to the
        // partition's own queue is given back.
        unsafe {
            let native = self.client.client().native_ptr();
            let own = sys::rd_kafka_queue_get_partition(native, topic.as_ptr(), partition.number);
            if own.is_null() {
                return Err(Error::bug(format!("librdkafka has no queue for {}", partition.id())));
            }
            sys::rd_kafka_queue_forward(own, self.raw.as_ptr());
            sys::rd_kafka_queue_destroy(own);
        }
        Ok(())
    }

    /// Takes what is there; waits for the first of it, at most so long.
    pub(super) fn read(&self, wait: Duration, into: &mut Fetched) {
        into.free();
        let milliseconds = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        // Asked for many it would wait until there are so many: so first for one.
        if self.take(milliseconds, 1, into) > 0 {
            self.take(0, FETCHED - 1, into);
        }
    }

    fn take(&self, milliseconds: i32, most: usize, into: &mut Fetched) -> usize {
        into.messages.reserve(most);
        let before = into.messages.len();
        // SAFETY: behind the messages there is room for so many, and what was written is theirs.
        unsafe {
            let room = into.messages.as_mut_ptr().add(before);
            let queue = self.raw.as_ptr();
            let taken = sys::rd_kafka_consume_batch_queue(queue, milliseconds, room, most);
            let taken = usize::try_from(taken).unwrap_or(0);
            into.messages.set_len(before + taken);
            taken
        }
    }

    /// Wakes whoever waits in [`Self::read`].
    pub(super) fn wake(&self) {
        // SAFETY: the queue lives.
        unsafe { sys::rd_kafka_queue_yield(self.raw.as_ptr()) };
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the one owner gives them back, before their client.
        unsafe {
            sys::rd_kafka_queue_destroy(self.raw.as_ptr());
            sys::rd_kafka_queue_destroy(self.events.as_ptr());
        }
    }
}

fn list_of(partitions: &[&Partition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(&partition.topic, partition.number);
    }
    list
}

/// What was taken from a queue at once.
#[derive(Default)]
pub(super) struct Fetched {
    messages: Vec<*mut sys::rd_kafka_message_t>,
}

impl Fetched {
    pub(super) fn iter(&self) -> impl Iterator<Item = Taken<'_>> {
        self.messages.iter().map(|raw| Taken { raw: *raw, fetched: self })
    }

    fn free(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: it came from the queue, and nothing borrows from it any more.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.free();
    }
}

/// A record, or word of its partition.
#[derive(Clone, Copy)]
pub(super) struct Taken<'a> {
    raw: *mut sys::rd_kafka_message_t,
    fetched: &'a Fetched,
}

impl<'a> Taken<'a> {
    fn raw(&self) -> &'a sys::rd_kafka_message_t {
        let _ = self.fetched;
        // SAFETY: it stays until what was fetched is freed.
        unsafe { &*self.raw }
    }

    /// Nothing for a record.
    pub(super) fn error(&self) -> Option<Code> {
        let code = self.raw().err;
        (code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into())
    }

    /// What librdkafka says of the error.
    pub(super) fn reason(&self) -> String {
        // SAFETY: the message lives, and so does its text.
        unsafe {
            let text = sys::rd_kafka_message_errstr(self.raw);
            if text.is_null() {
                return String::new();
            }
            CStr::from_ptr(text).to_string_lossy().into_owned()
        }
    }

    /// What tells partitions apart within one fetch: equal for records of one partition that follow
    /// each other.
    pub(super) fn place(&self) -> (usize, i32) {
        (self.raw().rkt.addr(), self.raw().partition)
    }

    /// The topic's name; an error may have none.
    pub(super) fn topic(&self) -> Option<&'a str> {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return None;
        }
        // SAFETY: the topic of a message lives as long as it, and names are of few characters of
        // ASCII.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(topic)).to_str().ok() }
    }

    pub(super) fn offset(&self) -> i64 {
        self.raw().offset
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message lives.
        unsafe { sys::rd_kafka_message_leader_epoch(self.raw) }
    }

    /// Bytes of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.raw().len + self.raw().key_len
    }

    /// The record, of which `error` said that it is one.
    pub(super) fn record(&self, topic: &'a Arc<str>) -> KafkaMessage<'a> {
        debug_assert!(self.error().is_none());
        // SAFETY: it is a record and stays until what was fetched is freed.
        unsafe { KafkaMessage::new(self.raw, topic) }
    }
}

/// Says at which leader's epoch a partition was read, so that a broker can tell whether it has lost
/// what was read.
fn set_leader_epoch(list: &TopicPartitionList, partition: &Partition, epoch: i32) -> Result<()> {
    let topic = CString::new(&*partition.topic)?;
    // SAFETY: list and name live; what is found in the list is the list's.
    unsafe {
        let found =
            sys::rd_kafka_topic_partition_list_find(list.ptr(), topic.as_ptr(), partition.number);
        if !found.is_null() {
            sys::rd_kafka_topic_partition_set_leader_epoch(found, epoch);
        }
    }
    Ok(())
}
