//! [`Router`]: the end of a chain. Sorts records into one buffer per receiving task and sends full
//! ones.
//!
//! Receives from the last operator of a chain, hands to the channels of one edge. Invariant: on
//! each channel the order of the events is the order in which the router got them, but that a
//! watermark may fall behind records (it never overtakes one).

use std::marker::PhantomData;

use millstream_protocol::id::Epoch;

use super::channel::{Event, Sender};
use super::local::RING_EVENTS;
use crate::batch::{BATCH_RECORDS, Batch};
use crate::error::Result;
use crate::snapshot::Restore;
use crate::task::{Barrier, Control, Node, Step};
use crate::time::Timestamp;

/// Memory that one task may buffer for one edge, over all receivers, before batches become smaller.
const EDGE_BUFFER_BYTES: usize = 3 << 20;
/// Batches that a channel may hold: its ring full of them, one being filled, one in the receiver's
/// hands.
const CHANNEL_BATCHES: usize = RING_EVENTS + 2;
/// Fewer records than this per batch cost more in handling than they save in memory.
const BATCH_RECORDS_MIN: usize = 64;
/// A batch stays under this many bytes, so that large records do not sit for long.
const BATCH_BYTES: usize = 32 << 10;

/// Chooses the receiver of each record, a batch at a time.
pub(crate) trait Partition<T>: Send {
    /// Moves the records into the buffers of their receivers and reports those that have become
    /// full.
    fn partition(&mut self, batch: Batch<T>, outlets: &mut Outlets<T>) -> Result<()>;
}

/// The channels of an edge, each with the batch that is being filled for it.
pub(crate) struct Outlets<T> {
    pub(super) outlets: Vec<Outlet<T>>,
    pub(super) batch_records: usize,
}

pub(super) struct Outlet<T> {
    sender: Sender,
    pub(super) batch: Batch<T>,
    /// The newest watermark not sent yet, for it must not overtake the records in `batch`.
    watermark: Option<Timestamp>,
}

impl<T: Send + 'static> Outlet<T> {
    fn send_batch(&mut self, capacity: usize) {
        if self.batch.is_empty() {
            return;
        }
        let mut next = Batch::with_capacity(capacity);
        if !self.batch.hashes.is_empty() {
            next.hashes.reserve(capacity);
        }
        let full = std::mem::replace(&mut self.batch, next);
        self.sender.send(Event::Batch(Box::new(full)));
        self.send_watermark();
    }

    fn send_watermark(&mut self) {
        if let Some(time) = self.watermark.take() {
            self.sender.send(Event::Watermark(time));
        }
    }
}

impl<T: Send + 'static> Outlets<T> {
    /// How many receivers there are.
    pub(crate) fn len(&self) -> usize {
        self.outlets.len()
    }

    /// Sends a whole batch to one receiver.
    pub(super) fn pass(&mut self, index: usize, batch: Batch<T>) {
        let capacity = self.capacity();
        let outlet = &mut self.outlets[index];
        outlet.send_batch(capacity);
        outlet.batch = batch;
        outlet.send_batch(capacity);
    }

    /// Makes room for so many records in the batch of a receiver, by sending it if it must.
    pub(super) fn room_for(&mut self, index: usize, records: usize) -> &mut Batch<T> {
        let capacity = self.capacity();
        let outlet = &mut self.outlets[index];
        if outlet.batch.len() + records > capacity {
            outlet.send_batch(capacity);
        }
        &mut outlet.batch
    }

    /// Room for a share of a full batch behind an almost full one: so that what is sent is full,
    /// rather than what was there when the next share did not fit any more.
    fn capacity(&self) -> usize {
        let share = self.batch_records / self.outlets.len().max(1);
        self.batch_records + share + share / 4
    }

    /// Sends the batch of a receiver if it is full.
    pub(super) fn send_if_full(&mut self, index: usize) {
        if self.outlets[index].batch.len() >= self.batch_records {
            let capacity = self.capacity();
            self.outlets[index].send_batch(capacity);
        }
    }

    fn flush(&mut self) {
        let capacity = self.capacity();
        for outlet in &mut self.outlets {
            outlet.send_batch(capacity);
            outlet.send_watermark();
        }
    }

    fn mark(&mut self, event: impl Fn() -> Event) {
        self.flush();
        for outlet in &mut self.outlets {
            outlet.sender.send(event());
        }
    }

    fn watermark(&mut self, time: Timestamp) {
        for outlet in &mut self.outlets {
            outlet.watermark = Some(time);
            if outlet.batch.is_empty() {
                outlet.send_watermark();
            }
        }
    }
}

/// The end of a chain: one edge to the tasks of the next.
pub(crate) struct Router<T, P> {
    partition: P,
    outlets: Outlets<T>,
    linger_ms: i64,
    /// When the oldest buffered record was buffered; MAX while nothing is.
    buffered_since: Timestamp,
    ended: bool,
    marker: PhantomData<fn(T)>,
}

impl<T: Send + 'static, P: Partition<T>> Router<T, P> {
    pub(crate) fn new(partition: P, senders: Vec<Sender>, linger_ms: i64) -> Self {
        let record_bytes = size_of::<T>().max(1) + size_of::<Timestamp>() + size_of::<u64>();
        let held = senders.len().max(1) * CHANNEL_BATCHES;
        let fair = EDGE_BUFFER_BYTES / (held * record_bytes);
        let batch_records =
            fair.min(BATCH_BYTES / record_bytes * 2).clamp(BATCH_RECORDS_MIN, BATCH_RECORDS);
        let outlets = senders
            .into_iter()
            .map(|sender| Outlet { sender, batch: Batch::untimed(Vec::new()), watermark: None })
            .collect();
        Self {
            partition,
            outlets: Outlets { outlets, batch_records },
            linger_ms,
            buffered_since: Timestamp::MAX,
            ended: false,
            marker: PhantomData,
        }
    }

    fn note_blocked(&self, step: &mut Step) {
        step.blocked |= self.outlets.outlets.iter().any(|outlet| outlet.sender.is_blocked());
    }
}

impl<T: Send + 'static, P: Partition<T>> Node<T> for Router<T, P> {
    fn batch(&mut self, step: &mut Step, batch: Batch<T>) -> Result<()> {
        if self.buffered_since == Timestamp::MAX {
            self.buffered_since = step.now;
        }
        self.partition.partition(batch, &mut self.outlets)?;
        self.note_blocked(step);
        Ok(())
    }
}

impl<T: Send + 'static, P: Partition<T>> Control for Router<T, P> {
    fn watermark(&mut self, step: &mut Step, time: Timestamp) -> Result<()> {
        self.outlets.watermark(time);
        self.note_blocked(step);
        Ok(())
    }

    fn idle(&mut self, step: &mut Step) -> Result<()> {
        self.outlets.mark(|| Event::Idle);
        self.note_blocked(step);
        Ok(())
    }

    fn barrier(&mut self, step: &mut Step, barrier: Barrier) -> Result<()> {
        // Receivers count an input that ended as having delivered every later barrier.
        if !self.ended {
            self.outlets.mark(|| Event::Barrier(barrier));
            self.note_blocked(step);
        }
        Ok(())
    }

    fn end(&mut self, step: &mut Step) -> Result<()> {
        self.outlets.mark(|| Event::End);
        self.ended = true;
        self.note_blocked(step);
        Ok(())
    }

    fn poll(&mut self, step: &mut Step) -> Result<()> {
        let due = self.buffered_since.saturating_add(self.linger_ms);
        if self.buffered_since != Timestamp::MAX {
            if step.flush || step.now >= due {
                self.outlets.flush();
                self.buffered_since = Timestamp::MAX;
            } else {
                step.wake_by(due);
            }
        }
        for outlet in &mut self.outlets.outlets {
            step.blocked |= !outlet.sender.flush()?;
        }
        Ok(())
    }

    fn settled(&mut self, _: Epoch, _: bool) {}

    fn restore(&mut self, _: &Restore) -> Result<()> {
        Ok(())
    }
}
