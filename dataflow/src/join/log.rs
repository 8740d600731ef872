//! [`Log`]: records in the order of their arrival, only ever added to. The body of a slice of
//! [`super::buffer`].
//!
//! It grows by blocks that never move, so that adding to a log of millions costs what adding to an
//! empty one does. Invariant: all blocks but the last are full, so a record's number says where it
//! lies.

use crate::batch::Batch;
use crate::time::Timestamp;

/// Records of a block: what is copied at most when a block grows, and freed at once.
const BLOCK_RECORDS: usize = 1024;

/// Records with times and key hashes, numbered from 0.
pub(super) struct Log<T> {
    blocks: Vec<Batch<T>>,
    len: u32,
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }
}

/// Neighbouring records of a log.
pub(super) struct Piece<'a, T> {
    pub(super) records: &'a [T],
    pub(super) times: &'a [Timestamp],
    pub(super) hashes: &'a [u64],
}

impl<T> Log<T> {
    /// How many records there are.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Adds a record; returns its number.
    #[inline]
    pub(super) fn push(&mut self, record: T, time: Timestamp, hash: u64) -> u32 {
        if self.len as usize == self.blocks.len() * BLOCK_RECORDS {
            self.blocks.push(Batch::untimed(Vec::new()));
        }
        let block = self.blocks.last_mut().expect("a block with room was seen to");
        block.records.push(record);
        block.times.push(time);
        block.hashes.push(hash);
        self.len += 1;
        self.len - 1
    }

    /// A record and its time.
    #[inline]
    pub(super) fn get(&self, id: u32) -> (&T, Timestamp) {
        let block = &self.blocks[id as usize / BLOCK_RECORDS];
        let at = id as usize % BLOCK_RECORDS;
        (&block.records[at], block.times[at])
    }

    /// As many of the records `from..to` as lie together, from the first on.
    pub(super) fn piece(&self, from: u32, to: u32) -> Piece<'_, T> {
        let block = &self.blocks[from as usize / BLOCK_RECORDS];
        let start = from as usize % BLOCK_RECORDS;
        let end = (start + (to - from) as usize).min(block.len());
        Piece {
            records: &block.records[start..end],
            times: &block.times[start..end],
            hashes: &block.hashes[start..end],
        }
    }

    /// The blocks, to be freed one by one.
    pub(super) fn into_blocks(self) -> Vec<Batch<T>> {
        self.blocks
    }
}
