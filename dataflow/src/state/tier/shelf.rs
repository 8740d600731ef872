//! For tests of tables: a [`Below`] that is a tree in memory, which thousands of cases can have
//! each, and the same tests on `RocksDB`, one for all.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use millstream_protocol::key_group::KeyGroups;
use serde::de::DeserializeOwned;

use super::{Account, Below, Each, Family, Frozen, OutsideChunk, Tier, Write, Writes};
use crate::data::{Data, Key};
use crate::error::Result;
use crate::state::{Buckets, entries};

type Tree = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
struct Shelf(Mutex<HashMap<u32, Tree>>);

struct Taken(HashMap<u32, Tree>);

/// A tier over a tree, with so much memory above it.
pub(crate) fn tier(bytes: usize) -> Tier {
    over(Arc::new(Shelf::default()), Family(0), Family(1), bytes)
}

fn over(below: Arc<dyn Below>, family: Family, changed: Family, bytes: usize) -> Tier {
    let groups = KeyGroups::default();
    let account = Account::alone(bytes);
    Tier { below, family, changed, account, groups, range: groups.all() }
}

/// A tier over a `RocksDB` that all tests of the process share, each with families of its own.
#[cfg(feature = "rocksdb")]
pub(crate) fn rocks(bytes: usize) -> Tier {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static NEXT: AtomicUsize = AtomicUsize::new(0);
    static ROCKS: LazyLock<(Arc<dyn Below>, tempfile::TempDir)> = LazyLock::new(|| {
        let home = tempfile::tempdir().unwrap();
        (super::rocks::open_for_tests(home.path()), home)
    });
    let below = ROCKS.0.clone();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let family = |what: &str| below.family(&format!("{what}{number}")).unwrap();
    let (family, changed) = (family("state"), family("changed"));
    over(below, family, changed, bytes)
}

/// The entries that a chunk brings, through the bytes that a snapshot has of them.
pub(crate) fn entries_of<K: Key, V: Data + DeserializeOwned>(chunk: OutsideChunk) -> Vec<(K, V)> {
    let groups = chunk.tier.groups;
    let mut buckets = Buckets::new(groups);
    chunk.encode(&[], &mut buckets).unwrap();
    let mut found = Vec::new();
    for (group, bytes) in buckets.into_groups() {
        for entry in entries(&bytes) {
            let entry = entry.unwrap();
            assert!(!entry.removed);
            let (key, value): (K, V) = postcard::from_bytes(entry.body).unwrap();
            let hash = millstream_protocol::key_hash::key_hash(&key).unwrap();
            assert_eq!(groups.of_hash(hash), group);
            found.push((key, value));
        }
    }
    found
}

impl Below for Shelf {
    fn family(&self, _: &str) -> Result<Family> {
        Ok(Family(0))
    }

    fn get(&self, Family(family): Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
        if let Some(value) = self.0.lock().unwrap().entry(family).or_default().get(key) {
            found(value);
        }
        Ok(())
    }

    fn apply(&self, writes: &Writes) -> Result<()> {
        let mut trees = self.0.lock().unwrap();
        for (Family(family), write) in writes.iter() {
            let tree = trees.entry(family).or_default();
            match write {
                Write::Put(key, value) => drop(tree.insert(key.to_vec(), value.to_vec())),
                Write::Remove(key) => drop(tree.remove(key)),
                Write::RemoveRange(from, to) => {
                    tree.retain(|key, _| key[..] < *from || key[..] >= *to);
                }
            }
        }
        Ok(())
    }

    fn freeze(self: Arc<Self>) -> Box<dyn Frozen> {
        Box::new(Taken(self.0.lock().unwrap().clone()))
    }
}

impl Frozen for Taken {
    fn walk(
        &self,
        Family(family): Family,
        from: &[u8],
        to: &[u8],
        each: &mut Each<'_>,
    ) -> Result<()> {
        let tree = self.0.get(&family).into_iter().flatten();
        for (key, value) in tree.filter(|(key, _)| key[..] >= *from && key[..] < *to) {
            if !each(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn get(&self, Family(family): Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.0.get(&family).and_then(|tree| tree.get(key)).cloned())
    }
}
