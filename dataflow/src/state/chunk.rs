//! [`Chunk`]: captured entries on their way from the engine thread to the encoder.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::id::KeyGroup;
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};
use millstream_protocol::key_hash::key_hash;
use serde::Serialize;

use super::tier::OutsideChunk;
use crate::data::{Data, Key};
use crate::error::{Error, Result};
use crate::snapshot::{Packed, Packer};

/// Captured entries that know how to write themselves down, off the engine thread.
pub trait Chunk: Send {
    /// Appends each entry to the bucket of its key group.
    fn encode(self: Box<Self>, into: &mut Buckets) -> Result<()>;

    /// How many entries and removals it holds.
    fn len(&self) -> usize;

    /// The memory that it takes, without what its entries have elsewhere; 0 where it is little.
    fn bytes(&self) -> usize {
        0
    }

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Captured entries of a [`super::table::Table`].
pub(crate) struct TableChunk<K, V> {
    pub(crate) entries: Vec<(K, V)>,
    pub(crate) removed: Vec<K>,
    /// What is read from outside of memory when it is encoded.
    pub(crate) outside: Option<OutsideChunk>,
    /// Where the memory of the entries goes when they are encoded.
    pub(crate) spare: Spare<(K, V)>,
}

/// Memory of chunks that were encoded, for the next: what is taken anew may have to be cleared by
/// the system first, which takes milliseconds, in the middle of a scan.
pub(crate) struct Spare<E>(Arc<Mutex<Vec<Vec<E>>>>);

/// Chunks whose memory is kept: one is under way, one gathers what is saved meanwhile, and one is
/// being encoded.
const SPARE_CHUNKS: usize = 3;
/// Memory beyond this is given back: a slice needs less, and what was saved of segments that were
/// emptied may be any amount.
const SPARE_BYTES: usize = 2 << 20;

impl<E> Spare<E> {
    /// Memory without entries; what was kept, if any was.
    pub(crate) fn take(&self) -> Vec<E> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Keeps memory, but for what was in it.
    pub(crate) fn put(&self, mut memory: Vec<E>) {
        memory.clear();
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = memory.capacity() * size_of::<E>();
        if (1..=SPARE_BYTES).contains(&bytes) && spare.len() < SPARE_CHUNKS {
            spare.push(memory);
        }
    }
}

impl<E> Default for Spare<E> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<E> Clone for Spare<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Key, V: Data> Chunk for TableChunk<K, V> {
    fn encode(self: Box<Self>, into: &mut Buckets) -> Result<()> {
        for key in &self.removed {
            into.remove(key, key)?;
        }
        for (key, value) in &self.entries {
            into.put(key, &(key, value))?;
        }
        self.spare.put(self.entries);
        self.outside.map_or(Ok(()), |outside| outside.encode(&[], into))
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.entries)
    }

    fn len(&self) -> usize {
        let outside = self.outside.as_ref().map_or(0, OutsideChunk::len);
        self.entries.len() + self.removed.len() + outside
    }
}

/// Encoded entries, a bucket per key group of one task.
///
/// An entry is a little-endian u32 header (the length of the body, shifted left by one, and a bit
/// that says "removed"), then the body in postcard. Removals of a share stand in front of what it
/// puts, see [`joined`]: a key both removed and put lives.
///
/// What is put is compressed as soon as there is much of it, so that all of a large state is in
/// memory compressed at most.
pub struct Buckets {
    groups: KeyGroups,
    range: KeyGroupRange,
    removed: Vec<Vec<u8>>,
    put: Vec<Vec<u8>>,
    put_bytes: usize,
    /// More of them are compressed.
    put_bytes_max: usize,
    packer: Packer,
    entries: u64,
}

/// The bytes of each group that has any, in order.
pub(crate) type ByGroup = Vec<(KeyGroup, Vec<u8>)>;

/// What buckets held.
pub(crate) struct Drained {
    /// By group, those that have any.
    pub(crate) removed: ByGroup,
    /// What was compressed already, in the order in which it was put.
    pub(crate) packed: Vec<Packed>,
    /// What was put behind that, by group.
    pub(crate) put: ByGroup,
}

impl Buckets {
    /// Some that make blocks of what is put, in this packer, once it has so many bytes.
    pub(crate) fn packed_by(packer: Packer, put_bytes_max: usize, groups: KeyGroups) -> Self {
        let range = groups.all();
        let empty = || (0..range.len()).map(|_| Vec::new()).collect();
        Self {
            groups,
            range,
            removed: empty(),
            put: empty(),
            put_bytes: 0,
            put_bytes_max,
            packer,
            entries: 0,
        }
    }

    /// Some that hold up to 16 MiB before they make blocks.
    #[cfg(test)]
    pub(crate) fn new(groups: KeyGroups) -> Self {
        Self::packed_by(Packer::default(), 16 << 20, groups)
    }

    /// Appends an entry to the group of its key.
    pub fn put<K: Key>(&mut self, key: &K, body: &impl Serialize) -> Result<()> {
        let index = self.bucket(key)?;
        self.entries += 1;
        self.put_bytes += append(&mut self.put[index], body, 0)?;
        self.pack_much()
    }

    /// Appends the removal of an entry.
    pub fn remove<K: Key>(&mut self, key: &K, body: &impl Serialize) -> Result<()> {
        let index = self.bucket(key)?;
        self.entries += 1;
        append(&mut self.removed[index], body, 1)?;
        Ok(())
    }

    /// Appends an entry whose body is written already, in pieces.
    pub(crate) fn put_raw(&mut self, group: KeyGroup, body: &[&[u8]]) -> Result<()> {
        let index = self.bucket_of(group)?;
        self.entries += 1;
        let length = body.iter().map(|piece| piece.len()).sum();
        let bucket = &mut self.put[index];
        bucket.extend(header(length, 0)?);
        for piece in body {
            bucket.extend_from_slice(piece);
        }
        self.put_bytes += length;
        self.pack_much()
    }

    fn pack_much(&mut self) -> Result<()> {
        if self.put_bytes < self.put_bytes_max {
            return Ok(());
        }
        self.put_bytes = 0;
        let put = self.put.iter_mut().map(mem::take).collect();
        self.packer.pack(by_group(self.range, put))
    }

    fn bucket<K: Key>(&self, key: &K) -> Result<usize> {
        self.bucket_of(self.groups.of_hash(key_hash(key)?))
    }

    fn bucket_of(&self, group: KeyGroup) -> Result<usize> {
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

    /// The bytes of each group that has any, of buckets that hold little.
    #[cfg(test)]
    pub(crate) fn into_groups(self) -> impl Iterator<Item = (KeyGroup, Vec<u8>)> {
        let Drained { removed, packed, put } = self.drain();
        assert!(packed.is_empty(), "more than a test should have");
        joined(removed, put)
    }

    /// What they hold.
    pub(crate) fn drain(self) -> Drained {
        Drained {
            removed: by_group(self.range, self.removed),
            packed: self.packer.packed,
            put: by_group(self.range, self.put),
        }
    }
}

fn by_group(range: KeyGroupRange, buckets: Vec<Vec<u8>>) -> ByGroup {
    let groups = (range.start.0..).map(KeyGroup).zip(buckets);
    groups.filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// Both by group, the first in front in each.
pub(crate) fn joined(first: ByGroup, second: ByGroup) -> impl Iterator<Item = (KeyGroup, Vec<u8>)> {
    let (mut first, mut second) = (first.into_iter().peekable(), second.into_iter().peekable());
    std::iter::from_fn(move || {
        let (one, two) = (first.peek().map(|it| it.0), second.peek().map(|it| it.0));
        match (one, two) {
            (Some(one), Some(two)) if one == two => {
                let (group, mut bytes) = first.next()?;
                bytes.extend(second.next()?.1);
                Some((group, bytes))
            }
            (Some(one), Some(two)) if one < two => first.next(),
            (Some(_), None) => first.next(),
            _ => second.next(),
        }
    })
}

/// Appends an entry; returns the length of its body.
fn append(bucket: &mut Vec<u8>, body: &impl Serialize, removed: u32) -> Result<usize> {
    let start = bucket.len();
    bucket.extend([0; 4]);
    let mut bytes = postcard::to_extend(body, mem::take(bucket))?;
    let length = bytes.len() - start - 4;
    bytes[start..start + 4].copy_from_slice(&header(length, removed)?);
    *bucket = bytes;
    Ok(length)
}

fn header(length: usize, removed: u32) -> Result<[u8; 4]> {
    let length = u32::try_from(length).ok().filter(|length| length >> 31 == 0);
    let length = length.ok_or_else(|| Error::user("a state entry is larger than 2 GiB"))?;
    Ok((length << 1 | removed).to_le_bytes())
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
