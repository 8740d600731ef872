//! [`TableState`]: a [`Table`] of one value per key, as a [`State`].

use std::ops::{Deref, DerefMut};

use millstream_protocol::id::Epoch;
use millstream_protocol::key_hash::key_hash;

use super::{Chunk, Entry, State, Table};
use crate::data::{Data, Key};
use crate::error::Result;

/// One value per key.
pub(crate) struct TableState<K: Key, V: Data>(Table<K, V>);

impl<K: Key, V: Data> Default for TableState<K, V> {
    fn default() -> Self {
        Self(Table::default())
    }
}

impl<K: Key, V: Data> Deref for TableState<K, V> {
    type Target = Table<K, V>;

    fn deref(&self) -> &Table<K, V> {
        &self.0
    }
}

impl<K: Key, V: Data> DerefMut for TableState<K, V> {
    fn deref_mut(&mut self) -> &mut Table<K, V> {
        &mut self.0
    }
}

impl<K: Key, V: Data> State for TableState<K, V> {
    fn can_delta(&self) -> bool {
        self.0.can_delta()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn begin(&mut self, epoch: Epoch, full: bool) {
        self.0.begin_capture(epoch, full);
    }

    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>> {
        self.0.scan(budget).map(|chunk| Box::new(chunk) as _)
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        self.0.settled(epoch, published);
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<()> {
        if entry.removed {
            let key: K = postcard::from_bytes(entry.body)?;
            self.0.restore_removed(key_hash(&key)?, &key);
        } else {
            let (key, value): (K, V) = postcard::from_bytes(entry.body)?;
            self.0.restore(key_hash(&key)?, key, value);
        }
        Ok(())
    }

    fn restored(&mut self) {
        self.0.restored();
    }
}
