//! [`Backlog`]: how many records of a split wait to be read.
//!
//! Told by a reader, also from a thread of its own while its task waits for room, and by the engine
//! where a reader says nothing but that a split is empty. Read from outside, from time to time.
//! Invariant: what is not known is not shown as 0.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Stands for an end that is not known.
const UNKNOWN: u64 = u64::MAX;

/// How many records of a split lie between what was emitted and the end that is known.
///
/// Belongs to a split that a reader has named: [`Emit::backlog`](super::Emit::backlog). Where a
/// reader tells nothing here, it is none once the reader has said that the split is empty, and not
/// known from the next record on.
#[derive(Debug)]
pub struct Backlog {
    /// The end, counted like `next`.
    end: AtomicU64,
    /// Where what is emitted next stands.
    next: AtomicU64,
    /// The reader tells of it.
    is_told: AtomicBool,
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            end: AtomicU64::new(UNKNOWN),
            next: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        }
    }
}

impl Backlog {
    /// So many records wait as of now; none: nobody knows. In place of [`Self::ends_at`] and
    /// [`Self::emitted_to`].
    pub fn set(&self, records: Option<u64>) {
        self.is_told.store(true, Ordering::Relaxed);
        self.put(records);
    }

    /// The split ends here for now, as an offset; none: nobody knows.
    pub fn ends_at(&self, end: Option<u64>) {
        self.is_told.store(true, Ordering::Relaxed);
        self.end.store(end.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }

    /// What is emitted next stands here, as an offset.
    #[inline]
    pub fn emitted_to(&self, next: u64) {
        self.next.store(next, Ordering::Relaxed);
    }

    /// How many records wait; none where nobody knows. With offsets, those that are no record's
    /// count, too.
    pub fn records(&self) -> Option<u64> {
        let end = Some(self.end.load(Ordering::Relaxed)).filter(|end| *end != UNKNOWN)?;
        Some(end.saturating_sub(self.next.load(Ordering::Relaxed)))
    }

    /// The reader says that the split is empty, or not any more: tells where it tells nothing else.
    pub(crate) fn note_empty(&self, empty: bool) {
        if !self.is_told.load(Ordering::Relaxed) {
            self.put(empty.then_some(0));
        }
    }

    fn put(&self, records: Option<u64>) {
        self.next.store(0, Ordering::Relaxed);
        self.end.store(records.unwrap_or(UNKNOWN), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_nothing() {
        let backlog = Backlog::default();
        assert_eq!(backlog.records(), None);
        backlog.note_empty(true);
        assert_eq!(backlog.records(), Some(0));
        backlog.note_empty(false);
        assert_eq!(backlog.records(), None, "a record came, and more may");
        backlog.set(Some(7));
        backlog.note_empty(true);
        assert_eq!(backlog.records(), Some(7), "the reader knows it better");
        backlog.set(None);
        assert_eq!(backlog.records(), None);
    }

    #[test]
    fn between_offsets_lies_what_was_not_emitted() {
        let backlog = Backlog::default();
        backlog.emitted_to(100);
        assert_eq!(backlog.records(), None, "the end is not known yet");
        backlog.ends_at(Some(130));
        assert_eq!(backlog.records(), Some(30));
        backlog.emitted_to(140);
        assert_eq!(backlog.records(), Some(0), "the end was asked for before");
        backlog.ends_at(None);
        assert_eq!(backlog.records(), None);
    }
}
