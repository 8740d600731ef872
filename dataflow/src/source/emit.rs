//! [`Emit`]: where a reader puts its records.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::BATCH_RECORDS;
use crate::time::Timestamp;

/// A split, by its place among those that the reader has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitIndex(pub(crate) usize);

/// A stretch of records of one split.
pub(crate) struct Stretch {
    pub(crate) split: usize,
    pub(crate) records: usize,
}

/// Where a reader puts its records, and says of splits what watermarks need to know.
pub struct Emit<T> {
    pub(crate) splits: Vec<Arc<str>>,
    /// Sources of files have thousands of them.
    pub(crate) by_id: HashMap<Arc<str>, usize>,
    pub(crate) records: Vec<T>,
    pub(crate) stretches: Vec<Stretch>,
    /// Splits said to be empty, or finished (true).
    pub(crate) quiet: Vec<(usize, bool)>,
    pub(crate) now: Timestamp,
    pub(crate) failed: u64,
}

impl<T> Emit<T> {
    pub(crate) fn new() -> Self {
        Self {
            splits: Vec::new(),
            by_id: HashMap::new(),
            records: Vec::new(),
            stretches: Vec::new(),
            quiet: Vec::new(),
            now: Timestamp::MIN,
            failed: 0,
        }
    }

    /// Names a split. A name that was given before yields the same index.
    pub fn split(&mut self, id: &str) -> SplitIndex {
        if let Some(known) = self.by_id.get(id) {
            return SplitIndex(*known);
        }
        let (id, index): (Arc<str>, _) = (id.into(), self.splits.len());
        self.by_id.insert(id.clone(), index);
        self.splits.push(id);
        SplitIndex(index)
    }

    /// How many more records this poll should emit.
    pub fn room(&self) -> usize {
        BATCH_RECORDS.saturating_sub(self.records.len())
    }

    /// Processing time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Emits a record of a split.
    #[inline]
    pub fn record(&mut self, split: SplitIndex, record: T) {
        if self.records.capacity() == 0 {
            self.records.reserve(BATCH_RECORDS);
        }
        self.records.push(record);
        match self.stretches.last_mut() {
            Some(last) if last.split == split.0 => last.records += 1,
            _ => self.stretches.push(Stretch { split: split.0, records: 1 }),
        }
    }

    /// Emits records of a split.
    pub fn records(&mut self, split: SplitIndex, records: impl IntoIterator<Item = T>) {
        let before = self.records.len();
        if self.records.capacity() == 0 {
            self.records.reserve(BATCH_RECORDS);
        }
        self.records.extend(records);
        let records = self.records.len() - before;
        if records > 0 {
            self.stretches.push(Stretch { split: split.0, records });
        }
    }

    /// Emits records of a split by letting `fill` append them.
    pub fn fill(&mut self, split: SplitIndex, fill: impl FnOnce(&mut Vec<T>)) {
        let before = self.records.len();
        fill(&mut self.records);
        let records = self.records.len().saturating_sub(before);
        if records > 0 {
            self.stretches.push(Stretch { split: split.0, records });
        }
    }

    /// The split has nothing to read right now; the outside said so. A time-out or an error is no
    /// such word.
    pub fn is_empty(&mut self, split: SplitIndex) {
        self.quiet.push((split.0, false));
    }

    /// The split will never have more: it no longer holds the watermark back.
    pub fn is_finished(&mut self, split: SplitIndex) {
        self.quiet.push((split.0, true));
    }

    /// Counts a record that was skipped because it is malformed.
    pub fn count_failed(&mut self) {
        self.failed += 1;
    }
}
