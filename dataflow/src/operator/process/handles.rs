//! [`ListRef`] and [`MapRef`]: the list and the map of the key at hand.

use std::ops::RangeBounds;

use crate::data::{Data, Key};
use crate::state::{ExpiringList, ExpiringMap};
use crate::time::Timestamp;

/// The list of one key.
pub struct ListRef<'a, K, V> {
    pub(super) hash: u64,
    pub(super) key: &'a K,
    pub(super) now: Timestamp,
    pub(super) list: &'a mut ExpiringList<K, V>,
}

impl<K: Key, V: Data> ListRef<'_, K, V> {
    /// Appends an item. The next snapshot takes it alone, however long the list is.
    pub fn push(&mut self, item: V) {
        self.list.append(self.hash, self.key, item, self.now);
    }

    /// The items, in the order in which they came.
    pub fn iter(&mut self) -> impl DoubleEndedIterator<Item = &V> {
        self.list.range(self.hash, self.key, .., self.now).map(|(_, item)| item)
    }

    /// A copy of the items, for use while records are put out.
    pub fn to_vec(&mut self) -> Vec<V> {
        self.iter().cloned().collect()
    }

    /// How many items there are.
    pub fn len(&mut self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&mut self) -> bool {
        self.iter().next().is_none()
    }

    /// Takes all items out.
    pub fn clear(&mut self) {
        self.list.table.remove_all(self.hash, self.key);
    }
}

/// The map of one key, in order.
pub struct MapRef<'a, K, A, B> {
    pub(super) hash: u64,
    pub(super) key: &'a K,
    pub(super) now: Timestamp,
    pub(super) map: &'a mut ExpiringMap<K, A, B>,
}

impl<K: Key, A: Data + Ord, B: Data> MapRef<'_, K, A, B> {
    /// An entry.
    pub fn get(&mut self, at: &A) -> Option<&B> {
        self.map.get(self.hash, self.key, at, self.now)
    }

    /// An entry, to write to.
    pub fn get_mut(&mut self, at: &A) -> Option<&mut B> {
        self.map.get_mut(self.hash, self.key, at, self.now)
    }

    /// Whether there is an entry.
    pub fn contains(&mut self, at: &A) -> bool {
        self.get(at).is_some()
    }

    /// Sets an entry; returns what was there.
    pub fn insert(&mut self, at: A, value: B) -> Option<B> {
        self.map.insert((self.hash, self.key), at, value, self.now)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, at: &A) -> Option<B> {
        self.map.remove(self.hash, self.key, at, self.now)
    }

    /// All entries, in order.
    pub fn iter(&mut self) -> impl DoubleEndedIterator<Item = (&A, &B)> {
        self.range(..)
    }

    /// The entries in a range, in order.
    pub fn range(
        &mut self,
        range: impl RangeBounds<A>,
    ) -> impl DoubleEndedIterator<Item = (&A, &B)> {
        self.map.range(self.hash, self.key, range, self.now)
    }

    /// A copy of the entries, in order, for use while records are put out.
    pub fn to_vec(&mut self) -> Vec<(A, B)> {
        self.iter().map(|(at, value)| (at.clone(), value.clone())).collect()
    }

    /// How many entries there are.
    pub fn len(&mut self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&mut self) -> bool {
        self.iter().next().is_none()
    }

    /// Takes the entries in a range out.
    pub fn remove_range(&mut self, range: impl RangeBounds<A>) {
        self.map.table.remove_range(self.hash, self.key, range, drop);
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        self.map.table.remove_all(self.hash, self.key);
    }
}
