//! [`Segment`]: a stretch of [`Blocks`] of a [`super::Table`], probed block by block.
//!
//! Some bits of a key's hash choose the block where the search for it starts; an entry that
//! finds it full goes to the next, which leaves a count on the way, so that a search knows where to
//! stop and nothing moves when an entry leaves. Hashes are not stored: they are made again from the
//! keys when a segment is built anew. Invariant: no stamp in it is older than `floor`, except those
//! of [`OLD`] entries.

use std::mem;

use millstream_protocol::key_hash::key_hash;

use super::block::{Block, BlockMut, Blocks, LANES, OLD, tag};
use crate::data::Key;

/// Places per block in an index; a power of two, so the last ones are not used.
const STRIDE: usize = LANES.next_power_of_two();

/// Blocks of a segment that splits rather than grows: the most that growth moves at once.
pub(super) const SEGMENT_BLOCKS: usize = 256;

/// Lower bits of a hash choose its segment, those from here on its block. A constant: a shift by a
/// variable made each search wait for the one before.
pub(super) const HOME_SHIFT: u32 = 22;

/// The block where the search for a hash starts.
#[inline(always)]
pub(super) fn home(hash: u64, mask: usize) -> usize {
    (hash >> HOME_SHIFT) as usize & mask
}

/// How many generations an age tells apart.
pub(super) const AGES: u32 = 255;

/// The age of an entry that is written to in a generation.
#[inline(always)]
pub(super) fn age_of(generation: u32) -> u8 {
    (generation % AGES) as u8 + 1
}

/// The generation of an age, seen from a generation less than [`AGES`] later. Old ones are 1, which
/// is what a restore brings.
pub(super) fn stamp_of(age: u8, now: u32) -> u32 {
    if age == OLD {
        return 1;
    }
    let past = (u32::from(age_of(now)) + AGES - u32::from(age)) % AGES;
    now.saturating_sub(past).max(1)
}

/// The hash of a key that is in a table, so it had one.
pub(super) fn hash_again<K: Key>(key: &K) -> u64 {
    key_hash(key).expect("a key that had a hash has one again")
}

/// A stretch of blocks that grows alone.
pub(super) struct Segment<K, V> {
    pub(super) blocks: Blocks<K, V>,
    pub(super) len: usize,
    pub(super) depth: u32,
    /// The newest stamp in it: a scan passes over segments that nobody wrote to.
    pub(super) newest: u32,
    /// The oldest stamp that an age in it may stand for.
    pub(super) floor: u32,
    /// The generation up to which a scan has taken it.
    pub(super) scanned: u32,
    /// Whether entries that belong here may be outside.
    pub(super) has_outside: bool,
    /// Whether it waits for its turn to be split.
    pub(super) is_listed: bool,
}

impl<K: Key, V> Segment<K, V> {
    pub(super) fn new(blocks: usize, depth: u32, floor: u32) -> Self {
        Self {
            blocks: Blocks::empty(blocks),
            len: 0,
            depth,
            newest: 0,
            floor,
            scanned: 0,
            has_outside: false,
            is_listed: false,
        }
    }

    /// How many blocks it has: a power of two.
    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// One less than the blocks where a search may start. Those behind, of a segment that had to
    /// grow further because its hashes are all alike, are reached by spilling alone.
    pub(super) fn home_mask(&self) -> usize {
        self.blocks.len().min(SEGMENT_BLOCKS) - 1
    }

    /// The block where the search for a hash starts.
    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        home(hash, self.home_mask())
    }

    /// The index of a key's entry, for as long as none is added or removed.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, key: &K) -> Option<usize> {
        let (mut at, tag) = (self.home(hash), tag(hash));
        for _ in 0..self.blocks.len() {
            let block = self.blocks.at(at);
            if let Some(lane) = block.find(tag, key) {
                return Some(at * STRIDE + lane);
            }
            if !block.head.has_spilled() {
                return None;
            }
            at = (at + 1) & (self.blocks.len() - 1);
        }
        None
    }

    /// The entry at an index that was found.
    #[inline(always)]
    pub(super) fn entry(&self, index: usize) -> &(K, V) {
        self.blocks.at(index / STRIDE).entry(index % STRIDE)
    }

    /// The same, to write to.
    #[inline(always)]
    pub(super) fn entry_mut(&mut self, index: usize) -> &mut (K, V) {
        self.blocks.at_mut(index / STRIDE).entry(index % STRIDE)
    }

    /// The age at an index that was found.
    #[inline(always)]
    pub(super) fn age(&self, index: usize) -> u8 {
        self.blocks.at(index / STRIDE).head.age(index % STRIDE)
    }

    /// The entry at an index that was found, which is written to from here on.
    pub(super) fn renew(&mut self, index: usize, age: u8) -> &(K, V) {
        self.blocks.at_mut(index / STRIDE).head.set_age(index % STRIDE, age);
        self.entry(index)
    }

    /// Whether another entry would make searches long.
    pub(super) fn is_full(&self) -> bool {
        // Beyond four fifths too many searches would go on to a further block: at 0.87 one in 14
        // does, and a running sum by 100 k keys took 1.12 times as long (measured).
        self.len >= self.blocks.len() * LANES * 26 / 32
    }

    /// Whether it is so full that it cannot wait for its turn to be split: an entry more might find
    /// no room for long.
    pub(super) fn is_crammed(&self) -> bool {
        self.len >= self.blocks.len() * LANES * 31 / 32
    }

    /// Adds an entry whose key is not there; the caller has seen to it that it is not full. Returns
    /// its index.
    pub(super) fn insert(&mut self, hash: u64, age: u8, mut entry: (K, V)) -> usize {
        self.len += 1;
        let (mut at, tag) = (self.home(hash), tag(hash));
        loop {
            match self.blocks.at_mut(at).put(tag, age, entry) {
                Ok(lane) => return at * STRIDE + lane,
                Err(back) => entry = back,
            }
            self.blocks.at_mut(at).head.spill();
            at = (at + 1) & (self.blocks.len() - 1);
        }
    }

    /// Takes the entry at an index out, which was found by this hash.
    pub(super) fn take(&mut self, hash: u64, index: usize) -> Option<(K, V)> {
        let taken = self.blocks.at_mut(index / STRIDE).take(index % STRIDE)?;
        self.len -= 1;
        let mut at = self.home(hash);
        while at != index / STRIDE {
            self.blocks.at_mut(at).head.unspill();
            at = (at + 1) & (self.blocks.len() - 1);
        }
        Some(taken)
    }

    /// The entry at an index stays when others leave, once.
    pub(super) fn keep_for_now(&mut self, index: usize) {
        self.blocks.at_mut(index / STRIDE).head.keep(index % STRIDE);
    }

    /// Where the entries are that were written to the longest ago, seen from a generation: one in
    /// `part` of all, but none that is to stay this time. Among those of one generation it is left
    /// to chance, which `salt` is for.
    pub(super) fn oldest(&mut self, now: u32, part: usize, salt: u32) -> Vec<usize> {
        let chance = |index: usize| (index as u32 ^ salt).wrapping_mul(0x9e37_79b1);
        let mut old: Vec<(u32, u32, usize)> = Vec::with_capacity(self.len);
        let mut kept = Vec::new();
        for at in 0..self.blocks.len() {
            let head = self.blocks.at_mut(at).head;
            for lane in head.used() {
                let index = at * STRIDE + lane;
                let place = (stamp_of(head.age(lane), now), chance(index), index);
                if head.take_keep(lane) { kept.push(place) } else { old.push(place) }
            }
        }
        let wanted = (self.len / part).max(1);
        if old.is_empty() {
            old = kept;
        }
        if old.len() > wanted {
            old.select_nth_unstable(wanted);
            old.truncate(wanted);
        }
        old.into_iter().map(|(_, _, index)| index).collect()
    }

    /// Makes it twice as large.
    pub(super) fn double(&mut self) {
        let larger = Blocks::empty(self.blocks.len() * 2);
        let old = mem::replace(&mut self.blocks, larger);
        self.len = 0;
        for (age, entry) in entries_of(old) {
            self.insert(hash_again(&entry.0), age, entry);
        }
    }

    /// Moves the entries whose hashes have this bit set into a new segment of the same size. The
    /// others stay where they are, but for those that had found their block full.
    pub(super) fn split(&mut self, bit: u64) -> Self {
        self.depth += 1;
        self.is_listed = false;
        let (blocks, depth) = (self.blocks.len(), self.depth);
        let mut other = Self { blocks: Blocks::empty(blocks), len: 0, depth, ..*self };
        for at in 0..blocks {
            for lane in self.blocks.at(at).head.used() {
                let index = at * STRIDE + lane;
                let (age, hash) = (self.age(index), hash_again(&self.entry(index).0));
                let goes = hash & bit != 0;
                if !goes && self.home(hash) == at {
                    continue;
                }
                if let Some(entry) = self.take(hash, index) {
                    let side = if goes { &mut other } else { &mut *self };
                    side.insert(hash, age, entry);
                }
            }
        }
        other
    }

    /// The entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(K, V)> {
        self.blocks.iter().flat_map(Block::entries)
    }

    /// The entries, to write to.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut (K, V)> {
        self.blocks.iter_mut().flat_map(BlockMut::entries)
    }

    /// The entries with their stamps, as seen from a generation.
    pub(super) fn stamped(&self, now: u32) -> impl Iterator<Item = (u32, &(K, V))> {
        self.blocks.iter().flat_map(move |block| {
            let lanes = block.head.used();
            lanes.map(move |lane| (stamp_of(block.head.age(lane), now), block.entry(lane)))
        })
    }

    /// Drops all entries; returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        self.newest = 0;
        let len = mem::take(&mut self.len);
        if len > 0 {
            self.blocks.iter_mut().for_each(BlockMut::clear);
        }
        len
    }

    /// Takes all entries out. The caller reads to the end: what it leaves is never dropped.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        let used = if self.len == 0 { 0 } else { self.blocks.len() };
        self.len = 0;
        self.newest = 0;
        self.blocks.iter_mut().take(used).flat_map(BlockMut::drain)
    }

    /// Makes entries [`OLD`] that were last written to in a generation up to `old`; the others were
    /// then written to in `young`, if one is given. Ages are seen from `now`.
    pub(super) fn forget(&mut self, now: u32, old: u32, young: Option<u32>) {
        for block in self.blocks.iter_mut() {
            let head = block.head;
            for lane in head.used() {
                let age = head.age(lane);
                if age == OLD {
                    continue;
                }
                if stamp_of(age, now) <= old {
                    head.set_age(lane, OLD);
                } else if let Some(young) = young {
                    head.set_age(lane, age_of(young));
                    self.newest = self.newest.max(young);
                }
            }
        }
        self.floor = young.unwrap_or(old + 1);
    }
}

/// The entries of blocks, with their ages.
fn entries_of<K, V>(mut blocks: Blocks<K, V>) -> impl Iterator<Item = (u8, (K, V))> {
    (0..blocks.len() * LANES).filter_map(move |at| {
        let (block, lane) = (at / LANES, at % LANES);
        let age = blocks.at(block).head.age(lane);
        blocks.at_mut(block).take(lane).map(|entry| (age, entry))
    })
}
