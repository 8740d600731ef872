//! [`ExpiringValue`] and [`ExpiringMap`]: keyed state whose entries may have a time to live.
//!
//! Written by process functions. Invariant: an expired entry is never handed out, whether or not a
//! sweep has freed it yet.

use std::ops::RangeBounds;

use millstream_protocol::key_hash::key_hash;

use super::ttl::{Lived, Sweep};
use super::{MapState, TableState, Ttl};
use crate::data::{Data, Key};
use crate::error::Result;
use crate::time::Timestamp;

/// Entries outside of memory that a sweep looks at in one go: some 100 us of work.
const OUTSIDE_AT_ONCE: usize = 256;

/// A value per key.
pub(crate) struct ExpiringValue<K: Key, V: Data> {
    pub(crate) table: TableState<K, Lived<V>>,
    ttl: Option<Ttl>,
    /// The segment to go on with; behind the last one, the place outside.
    sweep: Sweep<(usize, Vec<u8>)>,
}

impl<K: Key, V: Data> ExpiringValue<K, V> {
    pub(crate) fn new(ttl: Option<Ttl>) -> Self {
        Self { table: TableState::default(), ttl, sweep: Sweep::default() }
    }

    /// Frees the value if it is expired, and counts a read as a use where that prolongs its life.
    #[inline]
    fn refresh(&mut self, hash: u64, key: &K, now: Timestamp) {
        let Some(ttl) = self.ttl else { return };
        let Some(entry) = self.table.get(hash, key) else { return };
        if ttl.is_over(entry, now) {
            self.table.remove(hash, key);
        } else if ttl.on_read()
            && !entry.is_touched_at(now)
            && let Some(entry) = self.table.get_mut(hash, key)
        {
            entry.touch(self.ttl, now);
        }
    }

    pub(crate) fn get(&mut self, hash: u64, key: &K, now: Timestamp) -> Option<&V> {
        self.refresh(hash, key, now);
        self.table.get(hash, key).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, hash: u64, key: &K, now: Timestamp) -> Option<&mut V> {
        self.refresh(hash, key, now);
        let entry = self.table.get_mut(hash, key)?;
        entry.touch(self.ttl, now);
        Some(&mut entry.value)
    }

    pub(crate) fn get_or_insert_with(
        &mut self,
        hash: u64,
        key: &K,
        now: Timestamp,
        init: impl FnOnce() -> V,
    ) -> &mut V {
        self.refresh(hash, key, now);
        let ttl = self.ttl;
        if self.table.get(hash, key).is_none() {
            return &mut self.table.entry(hash, key.clone(), || Lived::new(ttl, init(), now)).value;
        }
        let entry = self.table.get_mut(hash, key).expect("found just now");
        entry.touch(ttl, now);
        &mut entry.value
    }

    pub(crate) fn set(&mut self, hash: u64, key: &K, now: Timestamp, value: V) {
        let entry = Lived::new(self.ttl, value, now);
        match self.table.get_mut(hash, key) {
            Some(old) => *old = entry,
            None => self.table.put(hash, key.clone(), entry),
        }
    }

    pub(crate) fn clear(&mut self, hash: u64, key: &K) {
        self.table.remove(hash, key);
    }

    /// Frees expired values, a segment of the table or more as the budget of slots allows; says
    /// when to go on.
    pub(crate) fn sweep(&mut self, now: Timestamp, budget: &mut usize) -> Result<Timestamp> {
        let Some(ttl) = self.ttl else { return Ok(Timestamp::MAX) };
        let Some((mut at, mut from)) = self.sweep.due(ttl, now) else {
            return Ok(self.sweep.next(now));
        };
        let mut more = true;
        while *budget > 0 && more {
            let (mut over, mut ageless, mut seen) = (Vec::new(), Vec::new(), 1);
            let mut look = |key: &K, entry: &Lived<V>| {
                seen += 1;
                if ttl.is_over(entry, now) {
                    over.push(key.clone());
                } else if entry.is_ageless() {
                    ageless.push(key.clone());
                }
            };
            if at < self.table.segment_count() {
                self.table.segment(at).for_each(|(key, entry)| look(key, entry));
                at += 1;
            } else {
                let mut some = (*budget).min(OUTSIDE_AT_ONCE);
                more = self.table.walk_outside(&mut from, &mut some, look)?;
            }
            for key in over {
                self.table.remove(key_hash(&key)?, &key);
            }
            for key in ageless {
                if let Some(entry) = self.table.get_mut(key_hash(&key)?, &key) {
                    entry.touch(self.ttl, now);
                }
            }
            *budget = budget.saturating_sub(seen);
        }
        self.sweep.at = Some((at, from));
        if !more {
            self.sweep.is_through(ttl, now);
        }
        Ok(self.sweep.next(now))
    }
}

/// A map per key, in order.
pub(crate) struct ExpiringMap<K, A, B> {
    pub(crate) table: MapState<K, A, Lived<B>>,
    pub(super) ttl: Option<Ttl>,
    sweep: Sweep<(u32, Option<A>)>,
}

impl<K: Key, A: Data + Ord, B: Data> ExpiringMap<K, A, B> {
    pub(crate) fn new(ttl: Option<Ttl>) -> Self {
        Self { table: MapState::default(), ttl, sweep: Sweep::default() }
    }

    fn refresh(&mut self, hash: u64, key: &K, at: &A, now: Timestamp) {
        let Some(ttl) = self.ttl else { return };
        let Some(entry) = self.table.get(hash, key, at) else { return };
        if ttl.is_over(entry, now) {
            self.table.remove(hash, key, at);
        } else if ttl.on_read()
            && !entry.is_touched_at(now)
            && let Some(entry) = self.table.get_mut(hash, key, at)
        {
            entry.touch(self.ttl, now);
        }
    }

    fn refresh_range(&mut self, hash: u64, key: &K, range: &impl RangeBounds<A>, now: Timestamp) {
        let Some(ttl) = self.ttl else { return };
        let bounds = (range.start_bound(), range.end_bound());
        let entries = self.table.range(hash, key, bounds);
        let stale = entries.filter(|(_, entry)| {
            ttl.is_over(entry, now) || ttl.on_read() && !entry.is_touched_at(now)
        });
        let stale: Vec<A> = stale.map(|(at, _)| at.clone()).collect();
        for at in stale {
            self.refresh(hash, key, &at, now);
        }
    }

    pub(crate) fn get(&mut self, hash: u64, key: &K, at: &A, now: Timestamp) -> Option<&B> {
        self.refresh(hash, key, at, now);
        self.table.get(hash, key, at).map(|entry| &entry.value)
    }

    pub(crate) fn get_mut(&mut self, hash: u64, key: &K, at: &A, now: Timestamp) -> Option<&mut B> {
        self.refresh(hash, key, at, now);
        let entry = self.table.get_mut(hash, key, at)?;
        entry.touch(self.ttl, now);
        Some(&mut entry.value)
    }

    pub(crate) fn insert(
        &mut self,
        (hash, key): (u64, &K),
        at: A,
        value: B,
        now: Timestamp,
    ) -> Option<B> {
        let ttl = self.ttl;
        let old = self.table.insert(hash, key, at, Lived::new(ttl, value, now))?;
        (!ttl.is_some_and(|ttl| ttl.is_over(&old, now))).then_some(old.value)
    }

    pub(crate) fn remove(&mut self, hash: u64, key: &K, at: &A, now: Timestamp) -> Option<B> {
        let old = self.table.remove(hash, key, at)?;
        (!self.ttl.is_some_and(|ttl| ttl.is_over(&old, now))).then_some(old.value)
    }

    pub(crate) fn range(
        &mut self,
        hash: u64,
        key: &K,
        range: impl RangeBounds<A>,
        now: Timestamp,
    ) -> impl DoubleEndedIterator<Item = (&A, &B)> {
        self.refresh_range(hash, key, &range, now);
        self.table.range(hash, key, range).map(|(at, entry)| (at, &entry.value))
    }

    /// Frees expired entries, as many as the budget allows; says when to go on.
    pub(crate) fn sweep(&mut self, now: Timestamp, budget: &mut usize) -> Timestamp {
        let Some(ttl) = self.ttl else { return Timestamp::MAX };
        let Some(mut place) = self.sweep.due(ttl, now) else { return self.sweep.next(now) };
        let (mut over, mut ageless) = (Vec::new(), Vec::new());
        let more = self.table.walk(&mut place, budget, |(hash, key), at, entry| {
            if ttl.is_over(entry, now) {
                over.push((hash, key.clone(), at.clone()));
            } else if entry.is_ageless() {
                ageless.push((hash, key.clone(), at.clone()));
            }
        });
        for (hash, key, at) in over {
            self.table.remove(hash, &key, &at);
        }
        for (hash, key, at) in ageless {
            if let Some(entry) = self.table.get_mut(hash, &key, &at) {
                entry.touch(self.ttl, now);
            }
        }
        self.sweep.at = Some(place);
        if !more {
            self.sweep.is_through(ttl, now);
        }
        self.sweep.next(now)
    }
}

#[cfg(test)]
#[path = "expiring_tests.rs"]
mod tests;
