//! [`Context`]: what an operator sees of the engine while it runs.

use std::sync::atomic::Ordering;

use millstream_protocol::key_group::KeyGroupRange;

use crate::batch::{BATCH_RECORDS, Batch};
use crate::error::Result;
use crate::task::{BoxNode, Step, TaskInfo};
use crate::time::Timestamp;

/// An output and the records that wait to fill a batch.
pub struct Output<T> {
    pub(crate) next: BoxNode<T>,
    buffer: Batch<T>,
    sent: u64,
}

impl<T: Send + 'static> Output<T> {
    pub(crate) fn new(next: BoxNode<T>) -> Self {
        Self { next, buffer: Batch::untimed(Vec::new()), sent: 0 }
    }

    #[inline(always)]
    fn push(&mut self, step: &mut Step, record: T, time: Timestamp) -> Result<()> {
        if self.buffer.records.capacity() == 0 {
            self.make_buffer();
        }
        self.buffer.records.push(record);
        self.buffer.times.push(time);
        if self.buffer.len() >= BATCH_RECORDS {
            return self.flush(step);
        }
        Ok(())
    }

    #[cold]
    fn make_buffer(&mut self) {
        self.buffer = Batch::with_capacity(BATCH_RECORDS);
    }

    fn push_batch(&mut self, step: &mut Step, batch: Batch<T>) -> Result<()> {
        self.flush(step)?;
        self.sent += batch.len() as u64;
        self.next.batch(step, batch)
    }

    /// Sends what is buffered.
    pub(crate) fn flush(&mut self, step: &mut Step) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.buffer, Batch::untimed(Vec::new()));
        self.sent += batch.len() as u64;
        self.next.batch(step, batch)
    }

    /// How many records were sent since the last call.
    pub(crate) fn take_sent(&mut self) -> u64 {
        std::mem::take(&mut self.sent)
    }
}

/// What an operator sees of the engine while it runs: its outputs, the times, who it is.
pub struct Context<'a, O, S = ()> {
    pub(crate) step: &'a mut Step,
    pub(crate) out: &'a mut Output<O>,
    pub(crate) side: &'a mut Output<S>,
    pub(crate) info: &'a TaskInfo,
    pub(crate) watermark: Timestamp,
    pub(crate) floors: &'a [(KeyGroupRange, Timestamp)],
}

impl<O: Send + 'static, S: Send + 'static> Context<'_, O, S> {
    /// Puts a record out.
    #[inline]
    pub fn emit(&mut self, record: O, time: Timestamp) -> Result<()> {
        self.out.push(self.step, record, time)
    }

    /// Puts a whole batch out.
    pub fn emit_batch(&mut self, batch: Batch<O>) -> Result<()> {
        self.out.push_batch(self.step, batch)
    }

    /// Puts a record out at the side output.
    pub fn emit_side(&mut self, record: S, time: Timestamp) -> Result<()> {
        self.side.push(self.step, record, time)
    }

    /// The same context, lent on.
    pub(crate) fn lend(&mut self) -> Context<'_, O, S> {
        Context {
            step: self.step,
            out: self.out,
            side: self.side,
            info: self.info,
            watermark: self.watermark,
            floors: self.floors,
        }
    }

    /// The watermark: no record with a smaller time will come.
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// How far time has come for a key: a restored key may have seen a later watermark than its new
    /// task.
    #[inline]
    pub fn watermark_of(&self, hash: u64) -> Timestamp {
        if self.floors.is_empty() {
            return self.watermark;
        }
        let group = self.info.key_groups.of_hash(hash);
        let floors = self.floors.iter().filter(|(range, _)| range.contains(group));
        floors.map(|(_, floor)| *floor).fold(self.watermark, Timestamp::max)
    }

    /// Processing time, read once per step.
    pub fn now(&self) -> Timestamp {
        self.step.now
    }

    /// Asks for [`super::Operator::on_tick`] at this processing time at the latest.
    pub fn wake_by(&mut self, time: Timestamp) {
        self.step.wake_by(time);
    }

    /// Which operator instance this is.
    pub fn info(&self) -> &TaskInfo {
        self.info
    }

    /// Whether an output is full: a good moment to pause long work and return
    /// [`super::Progress::More`].
    pub fn is_blocked(&self) -> bool {
        self.step.blocked
    }

    /// Counts records that came too late.
    pub fn count_late(&self, records: u64) {
        self.info.counters.late.fetch_add(records, Ordering::Relaxed);
    }

    /// Counts records that failed and went to a side output or were skipped.
    pub fn count_failed(&self, records: u64) {
        self.info.counters.failed.fetch_add(records, Ordering::Relaxed);
    }
}
