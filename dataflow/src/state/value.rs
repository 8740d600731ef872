//! [`TableState`]: a [`Table`] of one value per key, as a [`State`].

use std::ops::{Deref, DerefMut};

use millstream_protocol::id::Epoch;
use millstream_protocol::key_hash::key_hash;

use super::{Chunk, Entry, State, Table, Tier};
use crate::data::{Data, Key};
use crate::error::Result;

/// One value per key.
pub(crate) struct TableState<K: Key, V: Data> {
    table: Table<K, V>,
    /// It stays in memory, whatever the backend.
    stays: bool,
}

impl<K: Key, V: Data> Default for TableState<K, V> {
    fn default() -> Self {
        Self { table: Table::default(), stays: false }
    }
}

impl<K: Key, V: Data> TableState<K, V> {
    /// One that is not bounded: for operators that walk over all of it, or keep more per key than
    /// is in it.
    pub(crate) fn in_memory() -> Self {
        Self { stays: true, ..Self::default() }
    }
}

impl<K: Key, V: Data> Deref for TableState<K, V> {
    type Target = Table<K, V>;

    fn deref(&self) -> &Table<K, V> {
        &self.table
    }
}

impl<K: Key, V: Data> DerefMut for TableState<K, V> {
    fn deref_mut(&mut self) -> &mut Table<K, V> {
        &mut self.table
    }
}

impl<K: Key, V: Data> State for TableState<K, V> {
    fn can_delta(&self) -> bool {
        self.table.can_delta()
    }

    fn len(&self) -> usize {
        self.table.len()
    }

    fn bound(&mut self, tier: &mut dyn FnMut() -> Result<Tier>) -> Result<()> {
        if !self.stays {
            self.table.bound(tier()?, Vec::new());
        }
        Ok(())
    }

    fn shrink(&mut self) {
        self.table.shrink();
    }

    fn begin(&mut self, epoch: Epoch, full: bool) {
        self.table.begin_capture(epoch, full);
    }

    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>> {
        self.table.scan(budget).map(|chunk| Box::new(chunk) as _)
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        self.table.settled(epoch, published);
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<()> {
        if entry.removed {
            let key: K = postcard::from_bytes(entry.body)?;
            self.table.restore_removed(key_hash(&key)?, &key);
        } else {
            let (key, value): (K, V) = postcard::from_bytes(entry.body)?;
            self.table.restore(key_hash(&key)?, key, value);
        }
        Ok(())
    }

    fn restored(&mut self) {
        self.table.restored();
    }
}
