//! [`Chains`]: which records of a log have a key. Built by the joins, walked when they look for
//! partners.
//!
//! A table from the key to its newest record, and from each record a link to the one before it of
//! the same key: no list to allocate per key. Invariant: record numbers are added in order, from 0.

use crate::data::Key;
use crate::state::Table;

const NONE: u32 = u32::MAX;
/// Segments of the table emptied per call: some 100 us. Clearing millions of keys at once would
/// stall the task.
const CLEAR_SEGMENTS: usize = 4;

/// The records of each key, newest first.
pub(super) struct Chains<K> {
    heads: Table<K, u32>,
    /// By record: the one before it of the same key.
    before: Vec<u32>,
    /// Segments of the table that are empty again.
    cleared: usize,
}

impl<K: Key> Default for Chains<K> {
    fn default() -> Self {
        Self { heads: Table::default(), before: Vec::new(), cleared: 0 }
    }
}

impl<K: Key> Chains<K> {
    /// Adds the next record.
    #[inline]
    pub(super) fn push(&mut self, hash: u64, key: K) {
        let head = self.heads.entry(hash, key, || NONE);
        let id = self.before.len() as u32;
        self.before.push(std::mem::replace(head, id));
    }

    /// The newest record of a key.
    #[inline]
    pub(super) fn newest(&self, hash: u64, key: &K) -> Option<u32> {
        self.heads.peek(hash, key).copied()
    }

    /// The record before this one of the same key.
    #[inline]
    pub(super) fn before(&self, id: u32) -> Option<u32> {
        let before = self.before[id as usize];
        (before != NONE).then_some(before)
    }

    /// The records of a key, newest first.
    #[inline]
    pub(super) fn walk(&self, hash: u64, key: &K) -> impl Iterator<Item = u32> {
        std::iter::successors(self.newest(hash, key), |id| self.before(*id))
    }

    /// How many records were added.
    pub(super) fn len(&self) -> u32 {
        self.before.len() as u32
    }

    /// Loads the place of a hash into the cache.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.heads.prefetch(hash);
    }

    /// Forgets some of the records and keeps the memory; whether all are forgotten. Until then, do
    /// not use it.
    pub(super) fn clear_some(&mut self) -> bool {
        if self.before.is_empty() {
            return true;
        }
        let to = self.heads.segment_count().min(self.cleared + CLEAR_SEGMENTS);
        for segment in self.cleared..to {
            self.heads.drain_segment(segment).for_each(drop);
        }
        self.cleared = to;
        if to < self.heads.segment_count() {
            return false;
        }
        self.before.clear();
        self.cleared = 0;
        true
    }
}
