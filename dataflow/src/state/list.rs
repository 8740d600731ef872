//! [`ListTable`]: a list for each key. Appending captures the new item alone.
//!
//! Written by process functions. It is a [`MapState`] from numbers to items: an item keeps its number until it
//! is taken out, and the next one gets the number behind the last.

use std::ops::{Deref, DerefMut};

use super::MapState;
use crate::data::{Data, Key};

/// A list for each key.
pub(crate) struct ListTable<K, V>(MapState<K, u64, V>);

impl<K: Key, V: Data> Default for ListTable<K, V> {
    fn default() -> Self {
        Self(MapState::default())
    }
}

impl<K: Key, V: Data> Deref for ListTable<K, V> {
    type Target = MapState<K, u64, V>;

    fn deref(&self) -> &MapState<K, u64, V> {
        &self.0
    }
}

impl<K: Key, V: Data> DerefMut for ListTable<K, V> {
    fn deref_mut(&mut self) -> &mut MapState<K, u64, V> {
        &mut self.0
    }
}

impl<K: Key, V: Data> ListTable<K, V> {
    /// Appends an item.
    pub(crate) fn append(&mut self, hash: u64, key: &K, item: V) {
        self.0.push(hash, key, |last| last.map_or(0, |last| last + 1), item);
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::Epoch;

    use super::*;

    #[test]
    fn an_append_captures_the_new_item_alone() {
        let mut lists: ListTable<u32, String> = ListTable::default();
        lists.append(1, &1, "a".into());
        lists.append(1, &1, "b".into());
        lists.append(2, &2, "x".into());
        lists.begin_capture(Epoch(1), true);
        lists.append(1, &1, "c".into());
        assert_eq!(lists.scan(&mut 100).unwrap().entries.len(), 3);
        lists.settled(Epoch(1), true);
        lists.begin_capture(Epoch(2), false);
        let chunk = lists.scan(&mut 100).unwrap();
        assert_eq!((chunk.entries, chunk.removed), (vec![(1, 2, "c".to_owned())], vec![]));
        lists.remove_all(1, &1);
        lists.append(1, &1, "new".into());
        let items: Vec<_> = lists.entries(1, &1).collect();
        assert_eq!(items, [(&0, &"new".to_owned())]);
    }
}
