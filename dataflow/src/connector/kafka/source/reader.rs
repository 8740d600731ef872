//! [`KafkaReader`]: what the source task polls. Emits what its thread has decoded, and keeps the
//! positions.
//!
//! Receives [`Message`]s from [`super::thread`], hands records to [`crate::task`]. Invariant: the
//! position of a partition is behind the last record emitted, however far its thread has read
//! ahead.

use std::iter::Peekable;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};

use millstream_protocol::id::Epoch;

use super::KafkaSource;
use super::chunk::{CHUNK_BYTES, Chunk, Run, Then, Undecoded};
use super::position::{KafkaPosition, Partition, owner};
use super::queue::Queue;
use super::resolve::{Known, Opened, open};
use super::thread::{MESSAGES, Message, Part, Report, Work};
use super::watch::Watch;
use crate::connector::kafka::decode::Decode;
use crate::error::{Context as _, Error, Kind, Result};
use crate::source::{Emit, Malformed, Place, Poll, Reader, SourceContext, SplitIndex};

/// A partition as the engine knows it.
struct Split {
    id: Arc<str>,
    /// For messages.
    shown: String,
    position: KafkaPosition,
}

impl Split {
    fn new(partition: &Partition, position: KafkaPosition) -> Self {
        let Partition { topic, number } = partition;
        let shown = format!("topic {topic}, partition {number}");
        Self { id: partition.id(), shown, position }
    }
}

/// A chunk whose records are on their way out.
struct Current<T> {
    records: std::vec::IntoIter<T>,
    offsets: Vec<i64>,
    runs: std::vec::IntoIter<Run>,
    run: Option<Going>,
}

/// A run whose records are on their way out.
struct Going {
    run: Run,
    malformed: Peekable<std::vec::IntoIter<Undecoded>>,
    emitted: usize,
}

impl<T> Current<T> {
    fn new(chunk: Chunk<T>) -> Self {
        let Chunk { records, offsets, runs, .. } = chunk;
        Self { records: records.into_iter(), offsets, runs: runs.into_iter(), run: None }
    }

    fn next_run(&mut self) -> Option<&mut Going> {
        if self.run.is_none() {
            self.run = self.runs.next().map(|mut run| {
                let malformed = std::mem::take(&mut run.malformed).into_iter().peekable();
                Going { run, malformed, emitted: 0 }
            });
        }
        self.run.as_mut()
    }
}

/// Emits what its thread reads.
pub struct KafkaReader<D: Decode> {
    splits: Vec<Split>,
    /// Those that were named to the engine.
    named: Vec<SplitIndex>,
    current: Option<Current<D::Record>>,
    finished: bool,
    /// Offsets are reported to a group.
    reporting: bool,
    /// What the snapshot under way holds.
    cut: Option<(Epoch, Report)>,
    queue: Arc<Queue>,
    stop: Arc<AtomicBool>,
    // In this order: the thread ends when it finds nobody listening.
    messages: Option<Receiver<Message<D::Record>>>,
    reports: SyncSender<Report>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Decode> KafkaReader<D> {
    pub(super) fn open(
        source: &KafkaSource<D>,
        ctx: SourceContext<KafkaPosition>,
    ) -> Result<KafkaReader<D>> {
        let spec = &source.spec;
        let (task, parallelism) = (ctx.info.task.0, ctx.info.parallelism);
        let owns = move |topic: &str, number| owner(topic, number, parallelism) == task;
        let (restored, is_restored) = (ctx.restored, ctx.is_restored);
        let opened = open(spec, Known { owns: &owns, restored, is_restored })?;
        let Opened { queue, told, topics, splits: found } = opened;
        let splits = found.iter().map(|(partition, position)| Split::new(partition, *position));
        let splits: Vec<Split> = splits.collect();
        let (messages, received) = sync_channel(MESSAGES);
        let (reports, reported) = sync_channel(1);
        let stop = Arc::<AtomicBool>::default();
        let work = Work {
            queue: queue.clone(),
            told,
            watch: Watch::new(queue.client(), &topics, spec.look_every),
            topic_ids: topics.iter().map(|(_, topic)| topic.id).collect(),
            topics: topics.into_iter().map(|(name, _)| name).collect(),
            decode: source.decode.clone(),
            parts: found.into_iter().map(|(at, position)| Part::new(at, position)).collect(),
            bounded: spec.is_bounded(),
            owns: Box::new(owns),
            messages,
            reports: reported,
            doorbell: ctx.doorbell,
            stop: stop.clone(),
        };
        let thread = Builder::new().name(format!("kafka-{}", ctx.info.operator));
        let thread = thread.spawn(move || work.run());
        let thread = thread.or_kind(Kind::Unavailable, || "cannot start a thread".to_owned())?;
        Ok(Self {
            splits,
            named: Vec::new(),
            current: None,
            finished: false,
            reporting: spec.group.is_some(),
            cut: None,
            queue,
            stop,
            messages: Some(received),
            reports,
            thread: Some(thread),
        })
    }

    /// Names partitions that the engine does not know yet: from here on they hold the watermark
    /// back.
    fn name_splits(&mut self, emit: &mut Emit<D::Record>) {
        for split in &self.splits[self.named.len()..] {
            let index = emit.split(&split.id);
            self.named.push(index);
            if split.position.is_at_end() {
                emit.is_finished(index);
            }
        }
    }

    /// Emits of the current chunk what there is room for.
    fn emit(&mut self, emit: &mut Emit<D::Record>) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        while emit.room() > 0 {
            let begun = current.offsets.len() - current.records.len();
            let Some(going) = current.next_run() else {
                self.current = None;
                return Ok(());
            };
            let split = &mut self.splits[going.run.split];
            let index = self.named[going.run.split];
            let count = emit.room().min(going.run.records - going.emitted);
            going.emitted += count;
            let (emitted, is_done) = (going.emitted, going.emitted == going.run.records);
            let passed = |record: &Undecoded| is_done || record.before < emitted;
            while let Some(record) = going.malformed.next_if(passed) {
                let place = Place::Offset(record.offset.unsigned_abs());
                let malformed = Malformed::at(place, record.bytes, record.error);
                emit.malformed(index, &split.shown, malformed)?;
            }
            let Run { next, leader_epoch, then, .. } = going.run;
            let position = &mut split.position;
            if leader_epoch >= 0 {
                position.leader_epoch = leader_epoch;
            }
            if is_done {
                (position.next, current.run) = (next, None);
            } else if let Some(last) = (begun + count).checked_sub(1) {
                position.next = current.offsets[last] + 1;
            }
            if emit.wants_places() {
                let offsets = current.offsets[begun..begun + count].iter();
                emit.places(offsets.map(|offset| Place::Offset(offset.unsigned_abs())));
            }
            emit.records(index, current.records.by_ref().take(count));
            match then {
                Then::Empty if is_done => emit.is_empty(index),
                Then::End if is_done => emit.is_finished(index),
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Message<D::Record>, emit: &mut Emit<D::Record>) -> Result<()> {
        match message {
            Message::Found(partition, position) => {
                self.splits.push(Split::new(&partition, position));
                self.name_splits(emit);
            }
            Message::Chunk(chunk) => self.current = Some(Current::new(chunk)),
            Message::Failed(error) => return Err(error),
            Message::Finished => self.finished = true,
        }
        Ok(())
    }

    /// Why the thread is gone without a word: it panicked, in the code that decodes.
    fn panicked(&mut self) -> Error {
        let panic = self.thread.take().and_then(|thread| thread.join().err());
        let text = panic.as_ref().and_then(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        });
        Error::user(format!("panicked while decoding: {}", text.unwrap_or("no message")))
    }
}

impl<D: Decode> Reader for KafkaReader<D> {
    type Item = D::Record;
    type Position = KafkaPosition;

    fn poll(&mut self, emit: &mut Emit<D::Record>) -> Result<Poll> {
        self.name_splits(emit);
        let mut bytes = 0;
        loop {
            self.emit(emit)?;
            if self.current.is_some() || emit.room() == 0 || bytes >= CHUNK_BYTES {
                return Ok(Poll::Ready);
            }
            if self.finished {
                return Ok(Poll::Finished);
            }
            let received =
                self.messages.as_ref().map_or(Err(TryRecvError::Disconnected), Receiver::try_recv);
            match received {
                Ok(message) => {
                    if let Message::Chunk(chunk) = &message {
                        bytes += chunk.bytes;
                    }
                    self.take(message, emit)?;
                }
                Err(TryRecvError::Empty) => return Ok(Poll::Pending),
                Err(TryRecvError::Disconnected) => return Err(self.panicked()),
            }
        }
    }

    fn positions(&self) -> Vec<(Arc<str>, KafkaPosition)> {
        self.splits.iter().map(|split| (split.id.clone(), split.position)).collect()
    }

    fn cut(&mut self, epoch: Epoch) {
        if self.reporting {
            let report = self.splits.iter().map(|split| split.position.next).enumerate().collect();
            self.cut = Some((epoch, report));
        }
    }

    fn published(&mut self, epoch: Epoch) {
        if let Some((_, report)) = self.cut.take_if(|(cut, _)| *cut == epoch) {
            // Where the one before is still under way, the next snapshot tells.
            let _ = self.reports.try_send(report);
        }
    }
}

impl<D: Decode> Drop for KafkaReader<D> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.messages = None;
        self.queue.wake();
        if let Some(thread) = self.thread.take() {
            // Its panic was reported, or nobody cares any more.
            let _ = thread.join();
        }
    }
}
