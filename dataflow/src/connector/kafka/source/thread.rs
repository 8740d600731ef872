//! [`Work`]: the thread that takes records from librdkafka and decodes them, for one task.
//!
//! Started by [`super::reader`], to which it sends [`Message`]s over a bounded queue, and from
//! which it takes offsets to report to a group. It decodes too, out of librdkafka's memory.
//! Invariant: what it says of a partition, it says in the order of the partition.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::chunk::{Chunk, Then};
use super::ends::Ends;
use super::hold::Holds;
use super::lag::{Backlogs, Lag};
use super::part::Part;
use super::position::{KafkaPosition, Partition};
use super::queue::{Fetched, Queue, Taken};
use super::resolve::{is_lost, lost, offsets};
use super::watch::{Watch, recreated};
use crate::batch::BATCH_RECORDS;
use crate::connector::kafka::client::Told;
use crate::connector::kafka::decode::Decode;
use crate::connector::kafka::fault::{explain, kind_of};
use crate::error::{Error, Kind, Result};
use crate::task::Doorbell;

/// Messages under way to the engine. Each holds a chunk, so that this bounds memory, and four keep
/// both sides busy.
pub(super) const MESSAGES: usize = 4;

/// How long it waits for records before it looks at what else there is: events of its client,
/// offsets to report, a change of its topics. Its end does not wait for that.
const WAIT: Duration = Duration::from_millis(100);

/// For a look at the topics before a loss is reported.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// What the thread says. Partitions go by their place in the list.
pub(super) enum Message<T> {
    /// A new partition, and where it is read from.
    Found(Partition, KafkaPosition),
    Chunk(Chunk<T>),
    /// Nothing more can be read.
    Failed(Error),
    /// There is nothing more to read.
    Finished,
}

/// Offsets to report: a partition by its place, and the offset of its next record.
pub(super) type Report = Vec<(usize, i64)>;

/// What the thread works with.
pub(super) struct Work<D: Decode> {
    pub(super) queue: Arc<Queue>,
    pub(super) told: Told,
    pub(super) watch: Watch,
    pub(super) topics: Vec<Arc<str>>,
    pub(super) topic_ids: Vec<u128>,
    pub(super) decode: D,
    pub(super) parts: Vec<Part>,
    pub(super) bounded: bool,
    pub(super) owns: Box<dyn Fn(&str, i32) -> bool + Send>,
    pub(super) messages: SyncSender<Message<D::Record>>,
    pub(super) reports: Receiver<Report>,
    pub(super) holds: Arc<Holds>,
    pub(super) backlogs: Arc<Backlogs>,
    pub(super) doorbell: Doorbell,
    pub(super) stop: Arc<AtomicBool>,
}

/// Why the thread ends.
enum Halt {
    /// Nobody listens any more.
    Stopped,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<D: Decode> Work<D> {
    /// Reads until all is read, something fails, or nobody listens.
    pub(super) fn run(self) {
        let (messages, doorbell) = (self.messages.clone(), self.doorbell.clone());
        let mut reading = Reading {
            places: HashMap::new(),
            chunk: Chunk::with_capacity(BATCH_RECORDS),
            ends: Ends::of_empty(self.queue.client()),
            lag: Lag::new(self.queue.client(), self.backlogs.clone()),
            work: self,
        };
        let last = match reading.read_all() {
            Ok(()) => Message::Finished,
            Err(Halt::Failed(error)) => Message::Failed(error),
            Err(Halt::Stopped) => return,
        };
        if messages.send(last).is_ok() {
            doorbell.ring();
        }
    }
}

struct Reading<D: Decode> {
    /// The place of each partition in the list.
    places: HashMap<Partition, usize>,
    chunk: Chunk<D::Record>,
    ends: Ends,
    lag: Lag,
    work: Work<D>,
}

impl<D: Decode> Reading<D> {
    fn read_all(&mut self) -> Result<(), Halt> {
        self.assign(0..self.work.parts.len())?;
        let mut fetched = Fetched::default();
        loop {
            if self.work.bounded && self.work.parts.iter().all(|part| part.ended) {
                return Ok(());
            }
            if self.work.stop.load(Ordering::Relaxed) {
                return Err(Halt::Stopped);
            }
            self.work.holds.obey(&self.work.queue, &mut self.work.parts)?;
            self.work.queue.read(WAIT, &mut fetched);
            // Before the records: it may say that they are those of another topic.
            self.serve()?;
            self.take(&fetched)?;
            self.ask_for_ends()?;
            self.lag.follow(&self.work.parts)?;
            self.report();
            self.look()?;
        }
    }

    /// Begins to read partitions.
    fn assign(&mut self, new: Range<usize>) -> Result<()> {
        let parts = &self.work.parts[new.clone()];
        let places = parts.iter().map(|part| part.partition.clone()).zip(new);
        self.places.extend(places);
        let open = parts.iter().filter(|part| !part.ended);
        self.work.queue.assign(open.map(|part| (&part.partition, part.next, part.leader_epoch)))
    }

    /// Hands a message over. While there is no room for it, how much waits goes on growing: the
    /// reader wakes this thread when it has taken one.
    fn send(&mut self, mut message: Message<D::Record>) -> Result<(), Halt> {
        loop {
            message = match self.work.messages.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(Halt::Stopped),
                Err(TrySendError::Full(message)) => message,
            };
            self.lag.follow(&self.work.parts)?;
            thread::park_timeout(WAIT);
        }
        self.work.doorbell.ring();
        Ok(())
    }

    fn send_chunk(&mut self) -> Result<(), Halt> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Chunk::with_capacity(BATCH_RECORDS));
        self.send(Message::Chunk(chunk))
    }

    /// Decodes what was fetched, and sends it on.
    fn take(&mut self, fetched: &Fetched) -> Result<(), Halt> {
        // Of the records before: those of a partition come in runs.
        let (mut place, mut split) = ((0, 0), None);
        for taken in fetched.iter() {
            if taken.place() != place || split.is_none() {
                (place, split) = (taken.place(), self.split_of(taken));
            }
            match (taken.error(), split) {
                (None, Some(split)) => self.decode(taken, split),
                (Some(Code::PartitionEOF), Some(split)) => self.at_end(split, taken.offset()),
                (Some(code), split) => self.trouble(code, &taken.reason(), split)?,
                (None, None) => {
                    let topic = taken.topic().unwrap_or_default();
                    let message = format!("a record of {topic} came that nobody asked for");
                    return Err(Error::bug(message).into());
                }
            }
            if self.chunk.is_full() {
                self.send_chunk()?;
            }
        }
        self.send_chunk()
    }

    fn split_of(&self, taken: Taken<'_>) -> Option<usize> {
        let topic = self.work.topics.iter().find(|topic| Some(&***topic) == taken.topic())?;
        self.places.get(&Partition::new(topic, taken.place().1)).copied()
    }

    #[inline]
    fn decode(&mut self, taken: Taken<'_>, split: usize) {
        let part = &mut self.work.parts[split];
        let offset = taken.offset();
        if part.end.is_some_and(|end| offset >= end) {
            self.end(split);
            return;
        }
        // Behind a change of assignment librdkafka may repeat.
        if offset < part.next {
            return;
        }
        part.next = offset + 1;
        self.chunk.bytes += taken.bytes();
        let message = taken.record(&part.partition.topic);
        match self.work.decode.decode(&message) {
            Ok(record) => self.chunk.record(split, offset, taken.leader_epoch(), record),
            Err(error) => {
                let bytes = message.value().unwrap_or_default();
                self.chunk.malformed(split, offset, bytes, error.to_string());
            }
        }
        if part.end.is_some_and(|end| part.next >= end) {
            self.end(split);
        }
    }

    /// The broker says that there is nothing more before this offset, nor at it.
    fn at_end(&mut self, split: usize, offset: i64) {
        let part = &mut self.work.parts[split];
        if part.ended {
            return;
        }
        part.next = part.next.max(offset);
        if part.end.is_some_and(|end| part.next >= end) {
            self.end(split);
        } else {
            part.empty_at = part.next;
            self.lag.is_at_end(split, part.next);
            self.chunk.then(split, part.next, Then::Empty);
        }
    }

    /// Has the brokers say of partitions that were empty whether they are still.
    fn ask_for_ends(&mut self) -> Result<(), Halt> {
        if self.ends.is_due() {
            let parts = self.work.parts.iter().enumerate();
            let empty = parts.filter(|(_, part)| part.is_empty());
            self.ends.ask(empty.map(|(place, part)| (part.partition.clone(), place)).collect())?;
        }
        for (place, end) in self.ends.poll() {
            let part = &self.work.parts[place];
            // Behind: what is there will come, and ends the lull.
            if part.is_empty() && end.is_none_or(|end| end <= part.next) {
                let then = if end.is_some() { Then::Empty } else { Then::Unknown };
                self.chunk.then(place, part.next, then);
            }
        }
        self.send_chunk()
    }

    /// A bounded partition is read.
    fn end(&mut self, split: usize) {
        let part = &mut self.work.parts[split];
        if part.ended {
            return;
        }
        part.ended = true;
        // A position behind the last record stays where it is told to end.
        part.next = part.end.unwrap_or(part.next).max(part.next);
        self.lag.is_at_end(split, part.next);
        self.chunk.then(split, part.next, Then::End);
        self.work.queue.unassign(&self.work.parts[split].partition);
    }

    /// An error of a partition, or of reading at all.
    fn trouble(&mut self, code: Code, reason: &str, split: Option<usize>) -> Result<(), Halt> {
        let part = split.map(|split| &self.work.parts[split]);
        if part.is_some_and(|part| part.ended) {
            return Ok(());
        }
        let named = part.map_or_else(|| "the topics".into(), |part| part.partition.id());
        let is_unknown = matches!(
            code,
            Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopicId
                | Code::UnknownPartition
        );
        if is_unknown {
            tracing::warn!("{named}: {reason}: looking whether the topic is still there");
            self.work.watch.hasten();
            return Ok(());
        }
        if let Some(part) = part.filter(|_| is_lost(code)) {
            let (partition, next) = (part.partition.clone(), part.next);
            self.work.watch.look_now(LAST_LOOK)?;
            let work = &self.work;
            return Err(lost(&work.queue, &work.told, &partition, next).into());
        }
        if kind_of(code, reason) == Kind::Unavailable {
            // librdkafka goes on by itself, from the same offset.
            tracing::warn!("cannot read {named} for now: {reason}");
            return Ok(());
        }
        Err(explain(format!("cannot read {named}"), code, reason).into())
    }

    /// Takes what the client says beside: its log, errors of connections, answers to reports.
    fn serve(&mut self) -> Result<()> {
        self.work.queue.serve();
        for (topic, id) in self.work.told.take_ids() {
            let mut known = self.work.topics.iter().zip(&self.work.topic_ids);
            let known = known.find(|(name, _)| ***name == *topic).map_or(0, |(_, id)| *id);
            if known != 0 && id != 0 && id != known {
                return Err(recreated(&topic));
            }
        }
        match self.work.told.end() {
            Some(end) => Err(explain("cannot read from the brokers", end.code, &end.reason)),
            None => Ok(()),
        }
    }

    /// Reports offsets to the group: for those who watch, nobody reads them back.
    fn report(&mut self) {
        let Some(report) = self.work.reports.try_iter().last() else { return };
        let mut list = rdkafka::TopicPartitionList::with_capacity(report.len());
        for (split, next) in report {
            let Partition { topic, number } = &self.work.parts[split].partition;
            // Fails for a negative offset alone.
            let _ = list.add_partition_offset(topic, *number, Offset::Offset(next));
        }
        if let Err(error) = self.work.queue.client().commit(&list, CommitMode::Async) {
            tracing::warn!("cannot report offsets to the group: {error}");
        }
    }

    /// Looks whether the topics are the same, and reads new partitions.
    fn look(&mut self) -> Result<(), Halt> {
        for (topic, numbers) in self.work.watch.poll()? {
            if self.work.bounded {
                continue;
            }
            let (name, topic_id) = (self.work.topics[topic].clone(), self.work.topic_ids[topic]);
            let first = numbers.start;
            let own = numbers.filter(|number| (self.work.owns)(&name, *number));
            let own: Vec<Partition> = own.map(|number| Partition::new(&name, number)).collect();
            let asked: Vec<&Partition> = own.iter().collect();
            let work = &self.work;
            let firsts = match offsets(&work.queue, &work.told, &asked, Offset::Beginning) {
                Ok(firsts) => firsts,
                // A partition that was just made may have no leader yet.
                Err(error) if error.kind() == Kind::Unavailable => {
                    tracing::warn!("new partitions of {name} cannot be read yet: {error}");
                    self.work.watch.find_again(topic, first);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let start = self.work.parts.len();
            for (partition, next) in own.into_iter().zip(firsts) {
                let next = next.unwrap_or(0);
                let position = KafkaPosition { next, end: None, topic_id, leader_epoch: -1 };
                tracing::info!("{} is new, and read from offset {next}", partition.id());
                self.work.parts.push(Part::new(partition.clone(), position));
                self.send(Message::Found(partition, position))?;
            }
            self.assign(start..self.work.parts.len())?;
        }
        Ok(())
    }
}
