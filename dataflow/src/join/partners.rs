//! [`Partners`]: the index of a slice of an interval join: by key, and which records have met none
//! yet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::buffer::Index;
use super::chains::Chains;
use super::log::Log;
use crate::data::Key;
use crate::time::Timestamp;

/// The records of a slice by key. `OUTER`: also whether each has met another, and in which order
/// those that have not fall due.
pub(super) struct Partners<K, const OUTER: bool> {
    chains: Chains<K>,
    /// By record: whether it has met another.
    met: Vec<bool>,
    /// Records that had met none when they came: time, key hash, number; the earliest first.
    due: BinaryHeap<Reverse<(Timestamp, u64, u32)>>,
}

impl<K: Key, const OUTER: bool> Default for Partners<K, OUTER> {
    fn default() -> Self {
        Self { chains: Chains::default(), met: Vec::new(), due: BinaryHeap::new() }
    }
}

impl<K: Key, const OUTER: bool> Partners<K, OUTER> {
    /// Adds the next record.
    #[inline]
    pub(super) fn add(&mut self, hash: u64, key: K, time: Timestamp, has_met: bool) {
        if OUTER {
            self.met.push(has_met);
            if !has_met {
                self.due.push(Reverse((time, hash, self.chains.len())));
            }
        }
        self.chains.push(hash, key);
    }

    /// The records of a key, newest first.
    #[inline]
    pub(super) fn walk(&self, hash: u64, key: &K) -> impl Iterator<Item = u32> {
        self.chains.walk(hash, key)
    }

    /// Loads the place of a hash into the cache.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        self.chains.prefetch(hash);
    }

    /// The newest record of a key.
    #[inline]
    pub(super) fn newest(&self, hash: u64, key: &K) -> Option<u32> {
        self.chains.newest(hash, key)
    }

    /// The record before this one of the same key.
    #[inline]
    pub(super) fn before(&self, id: u32) -> Option<u32> {
        self.chains.before(id)
    }

    /// Notes that a record has met another; whether that was its first. Always `false` where not
    /// `OUTER`.
    #[inline]
    pub(super) fn meet(&mut self, id: u32) -> bool {
        OUTER && !std::mem::replace(&mut self.met[id as usize], true)
    }

    /// The time and key hash of the first record that falls due and has met none.
    pub(super) fn first_due(&mut self) -> Option<(Timestamp, u64)> {
        while let Some(Reverse((time, hash, id))) = self.due.peek() {
            if !self.met[*id as usize] {
                return Some((*time, *hash));
            }
            self.due.pop();
        }
        None
    }

    /// Takes that record.
    pub(super) fn pop_due(&mut self) -> Option<u32> {
        self.due.pop().map(|Reverse((_, _, id))| id)
    }
}

impl<K: Key, T, const OUTER: bool> Index<K, T> for Partners<K, OUTER> {
    fn restored(&mut self, log: &Log<T>, hash: u64, key: K) {
        let (_, time) = log.get(self.chains.len());
        self.add(hash, key, time, false);
    }

    fn settle(&mut self, log: &Log<T>, hash: u64, key: &K, time: Timestamp) -> Option<Vec<u32>> {
        if !OUTER {
            // The program has become an inner join, to which this means nothing.
            return Some(Vec::new());
        }
        let its = |id: &u32| log.get(*id).1 == time;
        let all: Vec<u32> = self.chains.walk(hash, key).filter(its).collect();
        let newly = all.iter().copied().filter(|id| self.meet(*id)).collect();
        (!all.is_empty()).then_some(newly)
    }

    fn clear_some(&mut self) -> bool {
        self.met.clear();
        self.due.clear();
        self.chains.clear_some()
    }
}
