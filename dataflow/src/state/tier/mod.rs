//! Where keyed state goes that finds no room in memory: a [`Below`], bytes by key on the local
//! disk.
//!
//! Made by [`crate::engine`] as the job's [`Backend`] says, handed to each state by the stages of
//! [`crate::task`]; written and read by [`super::table`]. It is scratch: what is published lies in
//! snapshots, in the same form for every backend.
//!
//! A [`Tier`] is what one state of one operator instance is given. An entry is kept under its
//! table's prefix, its key group (2 bytes, big-endian) and its key, with the generation of its last
//! write in front of its value. What has changed since the newest published capture stands in an
//! index of its own, in order of generations, so that a capture of changes reads no more than that.

mod backend;
mod budget;
mod chunk;
#[cfg(feature = "rocksdb")]
mod rocks;
#[cfg(feature = "rocksdb")]
mod scratch;
#[cfg(test)]
pub(crate) mod shelf;
mod writes;

use std::sync::Arc;

pub(crate) use backend::Base;
#[cfg(all(test, feature = "rocksdb"))]
pub(crate) use backend::without_memory;
pub use backend::{Backend, RocksDbSettings};
pub(crate) use budget::{Account, Pool};
pub(crate) use chunk::{OutsideChunk, Wanted, split_stamp};
use millstream_protocol::id::KeyGroup;
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};
use serde::Serialize;
#[cfg(any(test, feature = "rocksdb"))]
pub(crate) use writes::Write;
pub(crate) use writes::Writes;

use crate::error::Result;

/// Bytes of a key group in front of a key.
pub(crate) const GROUP_BYTES: usize = 2;

/// A column family: a space of keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family(pub(crate) u32);

/// Bytes by key, in order, in some column families.
pub(crate) trait Below: Send + Sync {
    /// Makes a column family, or finds the one of this name.
    fn family(&self, name: &str) -> Result<Family>;

    /// Calls `found` with the value of a key, if there is one.
    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()>;

    /// Does all of these writes.
    fn apply(&self, writes: &Writes) -> Result<()>;

    /// What is there now, whatever is written later.
    fn freeze(self: Arc<Self>) -> Box<dyn Frozen>;
}

/// A [`Below`] as it was at some moment.
pub(crate) trait Frozen: Send {
    /// Calls `each` with the keys from `from` up to but without `to` and their values, in order,
    /// for as long as it says so.
    fn walk(&self, family: Family, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<()>;

    /// The value of a key.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;
}

/// Is given keys and values, and says whether it wants more.
pub(crate) type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool> + 'a;

/// Where the entries of one state of one operator instance go that find no room in memory, and how
/// much room there is.
#[derive(Clone)]
pub struct Tier {
    pub(crate) below: Arc<dyn Below>,
    /// Of the entries.
    pub(crate) family: Family,
    /// Of the index of changed entries, which all states share.
    pub(crate) changed: Family,
    pub(crate) account: Arc<Account>,
    pub(crate) groups: KeyGroups,
    pub(crate) range: KeyGroupRange,
}

impl Tier {
    /// The place of an entry of the table with this prefix.
    pub(crate) fn key(&self, prefix: &[u8], hash: u64, key: &impl Serialize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(prefix.len() + 24);
        bytes.extend_from_slice(prefix);
        bytes.extend(self.groups.of_hash(hash).0.to_be_bytes());
        Ok(postcard::to_extend(key, bytes)?)
    }

    /// From where up to where the entries of the table with this prefix are.
    pub(crate) fn bounds(&self, prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let at = |group: KeyGroup| [prefix, &group.0.to_be_bytes()].concat();
        (at(self.range.start), at(self.range.end))
    }

    /// The place in the index of changes of what was written in a generation to an entry of the
    /// table with this prefix; with an empty key, the place in front of all of that generation.
    pub(crate) fn changed_key(&self, prefix: &[u8], generation: u32, group_key: &[u8]) -> Vec<u8> {
        let Family(family) = self.family;
        let (family, first) = (family.to_be_bytes(), self.range.start.0.to_be_bytes());
        [&family, prefix, &first, &generation.to_be_bytes(), group_key].concat()
    }
}
