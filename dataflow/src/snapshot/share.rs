//! A share: the bytes of one operator instance in a snapshot.
//!
//! Written by [`mod@super::encoder`], read by [`super::restore`]. Layout, integers little-endian:
//!
//! ```text
//! block*            zstd frames; each holds the entries of consecutive key groups of one state
//! index             postcard of [Index], one zstd frame
//! length of index   u32
//! CRC32C of index   u32
//! magic             8 bytes
//! ```
//!
//! The entries of a key group may lie in several blocks, which are then read in the order of the
//! index. A reader that wants some key groups reads the index, then the blocks that hold them. Each
//! block has a checksum of its own in the index, so nothing is believed before it was checked.

use std::mem;

use millstream_protocol::id::{Epoch, KeyGroup};
use millstream_protocol::key_group::KeyGroupRange;
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;

use super::body::{Body, Piece};
use super::spool::Spool;
use crate::error::{Error, Result};
use crate::state::{Buckets, Drained, joined};
use crate::time::Timestamp;

const MAGIC: &[u8; 8] = b"MSSHARE1";
const TRAILER_BYTES: usize = 16;
/// Blocks grow until they hold this many bytes before compression.
const BLOCK_BYTES: usize = 256 << 10;
/// zstd's fastest level: 3 is a fifth smaller on counters and costs twice the CPU.
const ZSTD_LEVEL: i32 = 1;
/// No index and no block is larger; a larger length is a broken one.
const RAW_BYTES_MAX: usize = 1 << 31;

/// What a share holds and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The operator's id.
    pub operator: String,
    /// The instance, from 0.
    pub task: u32,
    /// The epoch of the snapshot.
    pub epoch: Epoch,
    /// The epoch of the snapshot that this share builds upon; `None`: it is complete in itself.
    pub since: Option<Epoch>,
    /// The key groups it covers; `None` for an operator without keyed state.
    pub groups: Option<KeyGroupRange>,
    /// The watermark of the instance at the cut.
    pub watermark: Timestamp,
    /// Key groups that a restore had brought further than that.
    pub floors: Vec<(KeyGroupRange, Timestamp)>,
    /// The keyed states, by name.
    pub states: Vec<StateIndex>,
    /// The list states: name and items.
    pub lists: Vec<(String, Vec<Vec<u8>>)>,
}

/// One keyed state in a share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StateIndex {
    /// The state's name within the operator.
    pub name: String,
    /// How many entries and removals there are.
    pub entries: u64,
    /// The blocks, in order of their key groups.
    pub blocks: Vec<Block>,
}

/// Consecutive key groups of a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// Where the block starts in the share.
    pub offset: u64,
    /// Its length there.
    pub length: u32,
    /// CRC32C of its bytes there.
    pub crc32c: u32,
    /// Each group in it with the length of its entries, uncompressed.
    pub groups: Vec<(KeyGroup, u32)>,
}

/// Puts a share together, out of pieces that nobody has to copy into one: a share of a gigabyte
/// would be moved several times while it grows.
pub(crate) struct Writer {
    body: Body,
    packer: Packer,
    index: Index,
}

impl Writer {
    pub(crate) fn new(index: Index, spool: Spool) -> Self {
        Self { body: Body::default(), packer: Packer::new(spool), index }
    }

    /// Adds a keyed state: what its buckets hold.
    pub(crate) fn state(&mut self, name: &str, buckets: Buckets) -> Result<()> {
        let entries = buckets.entries();
        let mut state = StateIndex { name: name.to_owned(), entries, blocks: Vec::new() };
        let Drained { removed, packed, put } = buckets.drain();
        let packer = &mut self.packer;
        if packed.is_empty() {
            packer.pack(joined(removed, put))?;
        } else {
            // Removals stand in front of all that is put, wherever it lies.
            packer.pack(removed)?;
            packer.packed.extend(packed);
            packer.pack(put)?;
        }
        for Packed { piece, groups } in packer.packed.drain(..) {
            state.blocks.push(Block {
                offset: self.body.len(),
                length: piece.len() as u32,
                crc32c: piece.checksum(),
                groups,
            });
            self.body.push(piece);
        }
        self.index.states.push(state);
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Body> {
        let mut last = self.packer.compress(&postcard::to_stdvec(&self.index)?)?;
        let (length, crc32c) = (last.len() as u32, crc32c::crc32c(&last));
        last.extend(length.to_le_bytes());
        last.extend(crc32c.to_le_bytes());
        last.extend(MAGIC);
        self.body.push(Piece::in_memory(last));
        Ok(self.body)
    }
}

/// A block on its way into a share.
pub(crate) struct Packed {
    piece: Piece,
    groups: Vec<(KeyGroup, u32)>,
}

/// Makes blocks.
#[derive(Default)]
pub(crate) struct Packer {
    /// Kept from block to block: making one costs more than compressing a small block.
    compressor: Option<Compressor<'static>>,
    spool: Spool,
    pub(crate) packed: Vec<Packed>,
}

impl Packer {
    pub(crate) fn new(spool: Spool) -> Self {
        Self { compressor: None, spool, packed: Vec::new() }
    }

    /// Makes blocks of the entries of each of some groups, in order.
    pub(crate) fn pack(
        &mut self,
        groups: impl IntoIterator<Item = (KeyGroup, Vec<u8>)>,
    ) -> Result<()> {
        let (mut raw, mut in_block) = (Vec::new(), Vec::new());
        for (group, bytes) in groups {
            in_block.push((group, bytes.len() as u32));
            if raw.is_empty() {
                raw = bytes;
            } else {
                raw.extend(bytes);
            }
            if raw.len() >= BLOCK_BYTES {
                self.close(&raw, mem::take(&mut in_block))?;
                raw.clear();
            }
        }
        if !in_block.is_empty() {
            self.close(&raw, in_block)?;
        }
        Ok(())
    }

    fn close(&mut self, raw: &[u8], groups: Vec<(KeyGroup, u32)>) -> Result<()> {
        let bytes = self.compress(raw)?;
        self.packed.push(Packed { piece: self.spool.put(bytes), groups });
        Ok(())
    }

    fn compress(&mut self, raw: &[u8]) -> Result<Vec<u8>> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(ZSTD_LEVEL)?),
        };
        Ok(compressor.compress(raw)?)
    }
}

fn decompress(compressed: &[u8], what: &str) -> Result<Vec<u8>> {
    let bytes = zstd::stream::decode_all(compressed)
        .map_err(|error| Error::corrupt(format!("{what} does not decompress: {error}")))?;
    if bytes.len() > RAW_BYTES_MAX {
        return Err(Error::corrupt(format!("{what} is larger than any we write")));
    }
    Ok(bytes)
}

/// Reads the index of a share, after checking it.
pub fn read_index(share: &Body) -> Result<Index> {
    let end = share.len().checked_sub(TRAILER_BYTES as u64);
    let end = end.ok_or_else(|| Error::corrupt("the share is shorter than its trailer"))?;
    let trailer = share.read_at(end, TRAILER_BYTES as u64)?;
    if &trailer[8..] != MAGIC {
        return Err(Error::corrupt("the share does not end in its magic number"));
    }
    let length = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
    let crc32c = u32::from_le_bytes([trailer[4], trailer[5], trailer[6], trailer[7]]);
    let start = end.checked_sub(length.into());
    let start = start.ok_or_else(|| Error::corrupt("the share is shorter than its index"))?;
    let index = share.read_at(start, length.into())?;
    if crc32c::crc32c(&index) != crc32c {
        return Err(Error::corrupt("the share's index does not match its checksum"));
    }
    let index = decompress(&index, "the share's index")?;
    postcard::from_bytes(&index)
        .map_err(|error| Error::corrupt(format!("the share's index does not decode: {error}")))
}

/// Reads the entries of some key groups of a state, a call of `each` per group.
pub(crate) fn read_groups(
    share: &Body,
    state: &StateIndex,
    wanted: KeyGroupRange,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    for block in &state.blocks {
        if !block.groups.iter().any(|(group, _)| wanted.contains(*group)) {
            continue;
        }
        let bytes = share.read_at(block.offset, block.length.into())?;
        if crc32c::crc32c(&bytes) != block.crc32c {
            return Err(Error::corrupt("a block does not match its checksum"));
        }
        let raw = decompress(&bytes, "a block")?;
        let mut rest = &raw[..];
        for (group, length) in &block.groups {
            let length = *length as usize;
            let (entries, behind) = rest
                .split_at_checked(length)
                .ok_or_else(|| Error::corrupt("a key group is cut short"))?;
            rest = behind;
            if wanted.contains(*group) {
                each(entries)?;
            }
        }
    }
    Ok(())
}

/// Reads everything in a share, and checks it.
pub fn verify(share: &Body) -> Result<()> {
    let index = read_index(share)?;
    for block in index.states.iter().flat_map(|state| &state.blocks) {
        let all = block.groups.first().zip(block.groups.last());
        let Some(((first, _), (last, _))) = all else { continue };
        let state = StateIndex { blocks: vec![block.clone()], ..StateIndex::default() };
        let range = KeyGroupRange { start: *first, end: last.next() };
        read_groups(share, &state, range, |bytes| {
            crate::state::entries(bytes).try_for_each(|entry| entry.map(|_| ()))
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use millstream_protocol::key_group::KeyGroups;

    use super::*;

    fn range(start: u16, end: u16) -> KeyGroupRange {
        KeyGroupRange { start: KeyGroup(start), end: KeyGroup(end) }
    }

    fn sample() -> Vec<u8> {
        let index =
            Index { operator: "sum".into(), groups: Some(range(0, 720)), ..Index::default() };
        let mut writer = Writer::new(index, Spool::default());
        let groups = KeyGroups::default();
        let mut buckets = Buckets::new(groups);
        for group in 0..720 {
            buckets.put_raw(KeyGroup(group), &[&[group as u8; 1996]]).unwrap();
        }
        writer.state("value", buckets).unwrap();
        writer.finish().unwrap().to_bytes().unwrap()
    }

    #[test]
    fn some_groups_are_read_without_the_others() {
        let share = Body::from(sample());
        let index = read_index(&share).unwrap();
        assert!(index.states[0].blocks.len() > 3);
        let mut seen = Vec::new();
        let each = |bytes: &[u8]| {
            assert_eq!(bytes.len(), 2000);
            seen.push(bytes[4]);
            Ok(())
        };
        read_groups(&share, &index.states[0], range(100, 103), each).unwrap();
        assert_eq!(seen, [100, 101, 102]);
    }

    /// More than is kept uncompressed, with removals that come late: a key both removed and put
    /// lives.
    #[test]
    fn what_was_packed_early_is_read_behind_removals_and_in_order() {
        let groups = KeyGroups::default();
        let mut buckets = Buckets::new(groups);
        let value = |round: u8| vec![round; 1000];
        for round in 0..4 {
            for key in 0..6000u32 {
                buckets.put(&key, &(key, value(round))).unwrap();
            }
            (0..6000u32).for_each(|key| buckets.remove(&key, &key).unwrap());
        }
        let mut writer = Writer::new(Index::default(), Spool::default());
        writer.state("value", buckets).unwrap();
        let share = writer.finish().unwrap();
        let index = read_index(&share).unwrap();
        assert_eq!(index.states[0].entries, 48_000);
        let mut found = HashMap::new();
        read_groups(&share, &index.states[0], groups.all(), |bytes| {
            for entry in crate::state::entries(bytes) {
                let entry = entry.unwrap();
                if entry.removed {
                    found.remove(&postcard::from_bytes::<u32>(entry.body).unwrap());
                } else {
                    let (key, value): (u32, Vec<u8>) = postcard::from_bytes(entry.body).unwrap();
                    found.insert(key, value);
                }
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(found.len(), 6000);
        assert!(found.values().all(|found| *found == value(3)));
        verify(&share).unwrap();
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let share = sample();
        let read = |bytes: &[u8]| {
            let share = Body::from(bytes.to_vec());
            let index = read_index(&share)?;
            let all = range(0, 720);
            index.states.iter().try_for_each(|state| read_groups(&share, state, all, |_| Ok(())))
        };
        read(&share).unwrap();
        for at in 0..share.len() {
            let mut bad = share.clone();
            bad[at] ^= 0x10;
            let error = read(&bad).expect_err("a flipped byte");
            assert_eq!(error.kind(), crate::error::Kind::Corrupt);
        }
        for length in [0, 1, 15, 16, 100, share.len() - 1] {
            assert!(read(&share[..length]).is_err());
        }
    }
}
