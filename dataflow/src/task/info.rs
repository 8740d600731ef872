//! [`TaskInfo`] and [`Counters`]: what an operator instance is, and what it has done so far.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

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
    /// The longest single step, in nanoseconds.
    pub longest_step_ns: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            late: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            watermark: AtomicI64::new(Timestamp::MIN.0),
            busy_ns: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
            ahead_ns: AtomicU64::new(0),
            longest_step_ns: AtomicU64::new(0),
        }
    }
}

/// Adds to a counter that one thread writes and others read.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}
