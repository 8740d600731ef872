//! [`TaskInfo`] and [`Counters`]: what an operator instance is, and what it has done so far.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::id::TaskIndex;
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};

use crate::time::Timestamp;

/// Which operator instance this is.
#[derive(Clone, Debug)]
pub struct TaskInfo {
    /// The operator's id.
    pub operator: Arc<str>,
    /// The instance, from 0.
    pub task: TaskIndex,
    /// How many instances there are.
    pub parallelism: u32,
    /// The job's key groups.
    pub key_groups: KeyGroups,
    /// What it has done so far.
    pub counters: Arc<Counters>,
}

impl TaskInfo {
    /// The key groups of this instance.
    pub fn groups(&self) -> KeyGroupRange {
        self.key_groups.of_task(self.task, self.parallelism)
    }
}

/// What an operator instance has done so far. Counted per batch; read from outside.
#[derive(Debug)]
pub struct Counters {
    /// Records taken in.
    pub records_in: AtomicU64,
    /// The batches they came in.
    pub batches_in: AtomicU64,
    /// Records put out.
    pub records_out: AtomicU64,
    /// Records that came too late for their window.
    pub late: AtomicU64,
    /// Records that failed and were sent to a side output or skipped.
    pub failed: AtomicU64,
    /// The watermark, in milliseconds; MIN before the first.
    pub watermark: AtomicI64,
    /// Nanoseconds at work, waiting for input, and waiting for room downstream.
    pub busy_ns: AtomicU64,
    /// See `busy_ns`.
    pub blocked_ns: AtomicU64,
    /// Nanoseconds in which a source left splits alone because they were too far ahead of others.
    pub ahead_ns: AtomicU64,
    /// Nanoseconds between the word of a barrier and its passing, in which inputs that had
    /// delivered it were not read.
    pub aligning_ns: AtomicU64,
    /// The longest single step, in nanoseconds.
    pub longest_step_ns: AtomicU64,
    /// Entries of keyed state at the last barrier.
    pub state_entries: AtomicU64,
    splits: Mutex<Vec<(Arc<str>, Arc<AtomicI64>)>>,
}

impl Counters {
    /// A source reads one more split: where its watermark is to be told.
    pub(crate) fn add_split(&self, id: &Arc<str>) -> Arc<AtomicI64> {
        let mark = Arc::new(AtomicI64::new(Timestamp::MIN.0));
        let mut splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        splits.push((id.clone(), mark.clone()));
        mark
    }

    /// The splits that a source reads, each with its watermark: MIN before the first record, MAX
    /// where it holds nothing back, since it is idle or was read to its end.
    pub fn splits(&self) -> Vec<(Arc<str>, Timestamp)> {
        let splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        let time = |mark: &AtomicI64| Timestamp(mark.load(Ordering::Relaxed));
        splits.iter().map(|(id, mark)| (id.clone(), time(mark))).collect()
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            records_in: AtomicU64::new(0),
            batches_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            late: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            watermark: AtomicI64::new(Timestamp::MIN.0),
            busy_ns: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
            ahead_ns: AtomicU64::new(0),
            aligning_ns: AtomicU64::new(0),
            longest_step_ns: AtomicU64::new(0),
            state_entries: AtomicU64::new(0),
            splits: Mutex::default(),
        }
    }
}

/// Adds to a counter that one thread writes and others read.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}
