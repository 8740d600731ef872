//! [`KafkaReader`]: what the source task polls. Emits what its thread has decoded, and keeps the
//! positions.
//!
//! Receives [`Message`]s from [`super::thread`], hands records to [`crate::task`] by way of
//! [`Out`]. Invariant: a position is that of what was emitted, however far its thread has read
//! ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};

use millstream_protocol::id::Epoch;

use super::KafkaSource;
use super::chunk::CHUNK_BYTES;
use super::hold::Holds;
use super::lag::Backlogs;
use super::out::Out;
use super::part::Part;
use super::position::{KafkaPosition, owner};
use super::queue::Queue;
use super::resolve::{Known, Opened, open};
use super::thread::{MESSAGES, Message, Report, Work};
use super::watch::Watch;
use crate::connector::kafka::decode::Decode;
use crate::error::{Context as _, Error, Kind, Result};
use crate::source::{Emit, Poll, Reader, SourceContext};

/// Emits what its thread reads.
pub struct KafkaReader<D: Decode> {
    out: Out<D::Record>,
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
    holds: Arc<Holds>,
    /// The partitions that the thread was last told to leave alone.
    paused: Vec<bool>,
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
        let backlogs = Arc::<Backlogs>::default();
        let out = Out::new(&found, backlogs.clone());
        let (messages, received) = sync_channel(MESSAGES);
        let (reports, reported) = sync_channel(1);
        let stop = Arc::<AtomicBool>::default();
        let holds = Arc::<Holds>::default();
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
            holds: holds.clone(),
            backlogs,
            doorbell: ctx.doorbell,
            stop: stop.clone(),
        };
        let thread = Builder::new().name(format!("kafka-{}", ctx.info.operator));
        let thread = thread.spawn(move || work.run());
        let thread = thread.or_kind(Kind::Unavailable, || "cannot start a thread".to_owned())?;
        Ok(Self {
            out,
            finished: false,
            reporting: spec.group.is_some(),
            cut: None,
            queue,
            stop,
            messages: Some(received),
            reports,
            holds,
            paused: Vec::new(),
            thread: Some(thread),
        })
    }

    fn take(&mut self, message: Message<D::Record>, emit: &mut Emit<D::Record>) -> Result<()> {
        match message {
            Message::Found(partition, position) => {
                self.out.add(&partition, position);
                self.out.name_splits(emit);
            }
            Message::Chunk(chunk) => self.out.put(chunk, emit),
            Message::Failed(error) => return Err(error),
            Message::Finished => self.finished = true,
        }
        Ok(())
    }

    /// Keeps what is too far ahead, and has the thread leave alone what is kept much of.
    fn hold(&mut self, emit: &Emit<D::Record>) {
        let paused = self.out.sort(emit, &self.paused);
        if paused != self.paused {
            self.holds.say(paused.clone());
            self.paused = paused;
            // It may wait for what is paused.
            self.queue.wake();
        }
    }

    /// Wakes the thread where it waits for room.
    fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
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
        self.out.name_splits(emit);
        self.hold(emit);
        let mut bytes = 0;
        loop {
            self.out.emit(emit)?;
            if !self.out.is_empty() || emit.room() == 0 || bytes >= CHUNK_BYTES {
                return Ok(Poll::Ready);
            }
            if self.finished {
                // What is kept goes out before the end.
                let is_over = self.out.keeps_nothing();
                return Ok(if is_over { Poll::Finished } else { Poll::Pending });
            }
            let received =
                self.messages.as_ref().map_or(Err(TryRecvError::Disconnected), Receiver::try_recv);
            match received {
                Ok(message) => {
                    self.wake();
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

    fn holds_splits(&self) -> bool {
        true
    }

    fn positions(&self) -> Vec<(Arc<str>, KafkaPosition)> {
        self.out.positions().map(|(id, position)| (id.clone(), position)).collect()
    }

    fn cut(&mut self, epoch: Epoch) {
        if self.reporting {
            let nexts = self.out.positions().map(|(_, position)| position.next);
            self.cut = Some((epoch, nexts.enumerate().collect()));
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
        self.wake();
        if let Some(thread) = self.thread.take() {
            // Its panic was reported, or nobody cares any more.
            let _ = thread.join();
        }
    }
}
