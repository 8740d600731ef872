//! [`Due`]: which keys want to be looked at when the watermark gets there.
//!
//! Derived from keyed state and never captured: made anew after a restore. A key stands in it at
//! most once for each time that its owner noted; stale entries are told by the owner's own note.

use std::collections::BTreeMap;

/// Keys by the time at which they are due.
pub(super) struct Due<K> {
    at: BTreeMap<i64, Vec<(u64, K)>>,
}

impl<K> Default for Due<K> {
    fn default() -> Self {
        Self { at: BTreeMap::new() }
    }
}

impl<K> Due<K> {
    /// The key is due at this time.
    pub(super) fn add(&mut self, time: i64, hash: u64, key: K) {
        self.at.entry(time).or_default().push((hash, key));
    }

    /// Takes a key out that is due at or before a time, the earliest first.
    pub(super) fn pop(&mut self, until: i64) -> Option<(i64, u64, K)> {
        loop {
            let mut first = self.at.first_entry().filter(|first| *first.key() <= until)?;
            let time = *first.key();
            if let Some((hash, key)) = first.get_mut().pop() {
                return Some((time, hash, key));
            }
            first.remove();
        }
    }
}
