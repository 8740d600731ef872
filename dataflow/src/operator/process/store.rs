//! [`AnyState`]: a declared state whose type only its handle knows.

use std::any::Any;

use crate::data::{Data, Key};
use crate::error::Result;
use crate::state::{ExpiringMap, ExpiringValue, State};
use crate::time::Timestamp;

/// A declared state of one task.
pub(super) trait AnyState<K>: Send {
    fn any(&mut self) -> &mut dyn Any;

    fn state(&mut self) -> &mut dyn State;

    /// Loads the places of these key hashes into the cache.
    fn prefetch(&self, hashes: &[u64]);

    /// Frees expired entries, as many as the budget allows; says when to go on.
    fn sweep(&mut self, now: Timestamp, budget: &mut usize) -> Result<Timestamp>;
}

impl<K: Key, V: Data> AnyState<K> for ExpiringValue<K, V> {
    fn any(&mut self) -> &mut dyn Any {
        self
    }

    fn state(&mut self) -> &mut dyn State {
        &mut self.table
    }

    fn prefetch(&self, hashes: &[u64]) {
        for hash in hashes {
            self.table.prefetch(*hash);
        }
    }

    fn sweep(&mut self, now: Timestamp, budget: &mut usize) -> Result<Timestamp> {
        Self::sweep(self, now, budget)
    }
}

impl<K: Key, A: Data + Ord, B: Data> AnyState<K> for ExpiringMap<K, A, B> {
    fn any(&mut self) -> &mut dyn Any {
        self
    }

    fn state(&mut self) -> &mut dyn State {
        &mut self.table
    }

    fn prefetch(&self, hashes: &[u64]) {
        for hash in hashes {
            self.table.prefetch(*hash);
        }
    }

    fn sweep(&mut self, now: Timestamp, budget: &mut usize) -> Result<Timestamp> {
        Ok(Self::sweep(self, now, budget))
    }
}
