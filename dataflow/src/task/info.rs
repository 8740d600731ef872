//! [`TaskInfo`] and [`Counters`]: what an operator instance is, and what it has done so far.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::id::TaskIndex;
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};

use crate::source::Backlog;
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
    /// The watermark, in milliseconds; MIN before the first, MAX behind the end.
    pub watermark: AtomicI64,
    /// It is a source whose records have event times.
    pub timed: AtomicBool,
    /// It is such a source, and nobody is to wait for its watermark: none of its splits holds it.
    pub idle: AtomicBool,
    /// Nanoseconds at work.
    pub busy_ns: AtomicU64,
    /// Nanoseconds from where it found no room downstream to its next try, again and again: in all
    /// that time it could send nothing.
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
    splits: Mutex<Vec<SplitCounts>>,
}

/// What a source tells of a split, kept up to date by its task.
#[derive(Clone, Debug)]
struct SplitCounts {
    id: Arc<str>,
    watermark: Arc<AtomicI64>,
    newest: Arc<AtomicI64>,
    backlog: Arc<Backlog>,
}

/// Where a source's task tells of a split.
#[derive(Debug, Default)]
pub(crate) struct SplitTold {
    pub(crate) watermark: Arc<AtomicI64>,
    pub(crate) newest: Arc<AtomicI64>,
    pub(crate) backlog: Arc<Backlog>,
}

/// A split that a source reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitSeen<'a> {
    /// Its name, unique within its source.
    pub id: &'a Arc<str>,
    /// Its watermark: MIN before the first record, and where records have no event time; MAX where
    /// it holds nothing back, since it is idle or was read to its end.
    pub watermark: Timestamp,
    /// The largest event time that it was read to; MIN before the first record.
    pub newest: Timestamp,
    /// Records that wait in it; none where that is not known.
    pub waiting: Option<u64>,
}

impl Counters {
    /// A source reads one more split, of which so much waits: where it is to be told of.
    pub(crate) fn add_split(&self, id: &Arc<str>, backlog: Arc<Backlog>) -> SplitTold {
        let time = || Arc::new(AtomicI64::new(Timestamp::MIN.0));
        let (watermark, newest) = (time(), time());
        let told = SplitTold {
            watermark: watermark.clone(),
            newest: newest.clone(),
            backlog: backlog.clone(),
        };
        let mut splits = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        splits.push(SplitCounts { id: id.clone(), watermark, newest, backlog });
        told
    }

    /// Looks at each split that a source reads. Looks, and does no more: the task waits where it
    /// names another.
    pub fn each_split(&self, mut look: impl FnMut(SplitSeen<'_>)) {
        let time = |mark: &AtomicI64| Timestamp(mark.load(Ordering::Relaxed));
        for split in self.splits.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            look(SplitSeen {
                id: &split.id,
                watermark: time(&split.watermark),
                newest: time(&split.newest),
                waiting: split.backlog.records(),
            });
        }
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
            timed: AtomicBool::new(false),
            idle: AtomicBool::new(false),
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
