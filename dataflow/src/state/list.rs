//! Lists per key: an [`ExpiringMap`] from numbers to items. Appending captures the new item alone.
//!
//! Written by process functions. An item keeps its number until it is taken out, and the next one
//! gets the number behind the last.

use super::ExpiringMap;
use super::ttl::Lived;
use crate::data::{Data, Key};
use crate::time::Timestamp;

/// A list per key.
pub(crate) type ExpiringList<K, V> = ExpiringMap<K, u64, V>;

impl<K: Key, V: Data> ExpiringList<K, V> {
    /// Appends an item.
    pub(crate) fn append(&mut self, hash: u64, key: &K, item: V, now: Timestamp) {
        let entry = Lived::new(self.ttl, item, now);
        self.table.push(hash, key, |last| last.map_or(0, |last| last + 1), entry);
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::Epoch;

    use super::*;
    use crate::state::State;

    #[test]
    fn an_append_captures_the_new_item_alone() {
        let now = Timestamp(0);
        let mut lists: ExpiringList<u32, char> = ExpiringList::new(None);
        lists.append(1, &1, 'a', now);
        lists.append(1, &1, 'b', now);
        lists.append(2, &2, 'x', now);
        lists.table.begin(Epoch(1), true);
        lists.append(1, &1, 'c', now);
        assert_eq!(lists.table.scan_entries(&mut 100).unwrap().entries.len(), 3);
        lists.table.settled(Epoch(1), true);
        lists.table.begin(Epoch(2), false);
        let chunk = lists.table.scan_entries(&mut 100).unwrap();
        assert_eq!(chunk.removed, []);
        let new: Vec<_> = chunk.entries.iter().map(|(k, n, item)| (*k, *n, item.value)).collect();
        assert_eq!(new, [(1, 2, 'c')]);
        lists.table.remove_all(1, &1);
        lists.append(1, &1, 'z', now);
        let items: Vec<_> = lists.range(1, &1, .., now).map(|(_, item)| *item).collect();
        assert_eq!(items, ['z']);
    }
}
