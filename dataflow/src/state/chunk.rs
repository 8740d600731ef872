//! [`Chunk`]: captured entries on their way from the engine thread to the encoder.

use millstream_protocol::id::KeyGroup;
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};
use millstream_protocol::key_hash::key_hash;
use serde::Serialize;

use crate::data::{Data, Key};
use crate::error::{Error, Result};

/// Captured entries that know how to write themselves down, off the engine thread.
pub trait Chunk: Send {
    /// Appends each entry to the bucket of its key group.
    fn encode(self: Box<Self>, into: &mut Buckets) -> Result<()>;

    /// How many entries and removals it holds.
    fn len(&self) -> usize;

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Captured entries of a [`super::table::Table`].
pub(crate) struct TableChunk<K, V> {
    pub(crate) entries: Vec<(K, V)>,
    pub(crate) removed: Vec<K>,
}

impl<K: Key, V: Data> Chunk for TableChunk<K, V> {
    fn encode(self: Box<Self>, into: &mut Buckets) -> Result<()> {
        for key in &self.removed {
            into.remove(key, key)?;
        }
        for (key, value) in &self.entries {
            into.put(key, &(key, value))?;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.entries.len() + self.removed.len()
    }
}

/// Encoded entries, a bucket per key group of one task.
///
/// An entry is a little-endian u32 header (the length of the body, shifted left by one, and a bit
/// that says "removed"), then the body in postcard. Removals of a share stand in front of what it
/// puts, see [`Buckets::into_groups`]: a key both removed and put lives.
pub struct Buckets {
    groups: KeyGroups,
    range: KeyGroupRange,
    removed: Vec<Vec<u8>>,
    put: Vec<Vec<u8>>,
    entries: u64,
}

impl Buckets {
    pub(crate) fn new(groups: KeyGroups, range: KeyGroupRange) -> Self {
        let empty = || (0..range.len()).map(|_| Vec::new()).collect();
        Self { groups, range, removed: empty(), put: empty(), entries: 0 }
    }

    /// Appends an entry to the group of its key.
    pub fn put<K: Key>(&mut self, key: &K, body: &impl Serialize) -> Result<()> {
        let index = self.bucket(key)?;
        self.entries += 1;
        append(&mut self.put[index], body, 0)
    }

    /// Appends the removal of an entry.
    pub fn remove<K: Key>(&mut self, key: &K, body: &impl Serialize) -> Result<()> {
        let index = self.bucket(key)?;
        self.entries += 1;
        append(&mut self.removed[index], body, 1)
    }

    fn bucket<K: Key>(&self, key: &K) -> Result<usize> {
        let group = self.groups.of_hash(key_hash(key)?);
        if !self.range.contains(group) {
            let message = format!("key group {group} is captured by a task that does not own it");
            return Err(Error::bug(message));
        }
        Ok(usize::from(group.0 - self.range.start.0))
    }

    /// How many entries there are.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// The bytes of each group that has any.
    pub(crate) fn into_groups(self) -> impl Iterator<Item = (KeyGroup, Vec<u8>)> {
        let first = self.range.start.0;
        let both = self.removed.into_iter().zip(self.put);
        both.enumerate().filter_map(move |(index, (mut bytes, put))| {
            if bytes.is_empty() {
                bytes = put;
            } else {
                bytes.extend(put);
            }
            (!bytes.is_empty()).then(|| (KeyGroup(first + index as u16), bytes))
        })
    }
}

fn append(bucket: &mut Vec<u8>, body: &impl Serialize, removed: u32) -> Result<()> {
    let start = bucket.len();
    bucket.extend([0; 4]);
    let mut bytes = postcard::to_extend(body, std::mem::take(bucket))?;
    let length = bytes.len() - start - 4;
    let header = u32::try_from(length).ok().filter(|length| length >> 31 == 0);
    let header = header.ok_or_else(|| Error::user("a state entry is larger than 2 GiB"))?;
    bytes[start..start + 4].copy_from_slice(&(header << 1 | removed).to_le_bytes());
    *bucket = bytes;
    Ok(())
}

/// One entry read back.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Whether the entry was removed.
    pub removed: bool,
    /// The body in postcard.
    pub body: &'a [u8],
}

/// Reads the entries of one group's bytes.
pub(crate) fn entries(mut bytes: &[u8]) -> impl Iterator<Item = Result<Entry<'_>>> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<4>()?;
        let header = u32::from_le_bytes(*header);
        let length = (header >> 1) as usize;
        if rest.len() < length {
            bytes = &[];
            return Some(Err(Error::corrupt("a state entry is cut short")));
        }
        let (body, rest) = rest.split_at(length);
        bytes = rest;
        Some(Ok(Entry { removed: header & 1 == 1, body }))
    })
}
