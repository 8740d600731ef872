//! [`Table`]: the in-memory map behind keyed state. Written by operators, scanned by a capture.
//!
//! The lower 32 bits of the key hash place an entry: the upper ones are alike among all keys of a
//! task. The lowest of them choose the [`Segment`]; a full one doubles up to [`SEGMENT_BLOCKS`],
//! then splits, so that growth never moves more (a whole table of 5 M entries took 600 ms).
//! A hash that is passed in is always that of the key: growth makes it again.
//!
//! Each entry carries the generation of its last write, as an age of one byte. A capture only
//! raises the generation; the scan later takes older entries, and a write to one that it has not
//! reached saves the old value first. Invariant: saved and scanned entries together are the state
//! as it was at the cut.
//!
//! A table of a bounded state moves entries out to a [`crate::state::tier`] where it may not grow,
//! and brings them in when they are asked for: see [`outside`]. Each entry is in one of the two
//! places. Nothing of that is on the way of a record whose entry is in memory.

mod capture;
mod outside;
mod update;

use std::collections::VecDeque;

use capture::Capture;
use millstream_protocol::id::Epoch;
use outside::Outside;

use super::block::{Base, OLD};
use super::chunk::Spare;
use super::segment::{SEGMENT_BLOCKS, Segment, age_of, hash_again, stamp_of};
use crate::data::{Data, Key};

const SEGMENT_BLOCKS_MIN: usize = 1;
/// Beyond this depth the directory stops doubling and segments grow again.
const DEPTH_MAX: u32 = super::segment::HOME_SHIFT;
/// The stamp of entries that a restore brought: older than every write of this run.
const RESTORED: u32 = 1;

/// A hash map whose content can be captured while it is written to.
pub(crate) struct Table<K, V> {
    /// A power of two of places; each holds the number of a segment there is.
    directory: Vec<u32>,
    directory_mask: usize,
    /// Where the blocks of each place's segment begin: a step less for each search.
    bases: Vec<Base<K, V>>,
    segments: Vec<Segment<K, V>>,
    len: usize,
    generation: u32,
    /// The age of an entry that was written to in this generation.
    age: u8,
    /// The generation of the newest published capture; 0 where there is none to build upon.
    base: u32,
    capture: Option<Capture<K, V>>,
    /// One less than the blocks of each segment where a search may start.
    mask: usize,
    /// Full segments that wait to be split, by a hash that belongs there: while a batch is at work,
    /// when the next one begins, one at a time. Hashes are spread so evenly that many segments are
    /// full at once, and the memory of each new one may have to be cleared by the system first.
    crowded: VecDeque<u64>,
    defers: bool,
    /// How often a segment has grown: where entries stood before then says nothing any more.
    grown: u32,
    /// Captured, and not known to be published yet.
    in_flight: Option<(Epoch, u32)>,
    /// Keys removed since the base, with the generation of the removal, in order.
    removed: Vec<(K, u32)>,
    /// Memory for the chunks of captures.
    spare: Spare<(K, V)>,
    /// Where entries go that find no room in memory; none where memory is not bounded.
    outside: Option<Box<Outside>>,
}

impl<K: Key, V: Data> Default for Table<K, V> {
    fn default() -> Self {
        let segments = vec![Segment::new(SEGMENT_BLOCKS_MIN, 0, RESTORED + 1)];
        Self {
            directory: vec![0],
            directory_mask: 0,
            bases: vec![segments[0].blocks.base()],
            segments,
            len: 0,
            generation: RESTORED + 1,
            age: age_of(RESTORED + 1),
            base: 0,
            capture: None,
            mask: SEGMENT_BLOCKS_MIN - 1,
            crowded: VecDeque::new(),
            defers: false,
            grown: 0,
            in_flight: None,
            removed: Vec::new(),
            spare: Spare::default(),
            outside: None,
        }
    }
}

impl<K: Key, V: Data> Table<K, V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn segment_of(&self, hash: u64) -> usize {
        // SAFETY: the directory has one place more than the mask says, a power of two.
        unsafe { *self.directory.get_unchecked(hash as usize & self.directory_mask) as usize }
    }

    /// The value of a key that is in memory: for tables that have nothing outside.
    #[inline]
    pub(crate) fn peek(&self, hash: u64, key: &K) -> Option<&V> {
        let segment = &self.segments[self.segment_of(hash)];
        segment.find(hash, key).map(|index| &segment.entry(index).1)
    }

    /// The value of a key.
    #[inline]
    pub(crate) fn get(&mut self, hash: u64, key: &K) -> Option<&V> {
        let (at, index) = self.locate(hash, key)?;
        Some(&self.segments[at].entry(index).1)
    }

    /// Where the entry of a key is: the segment, the index. Brought in if it was outside.
    #[inline]
    fn locate(&mut self, hash: u64, key: &K) -> Option<(usize, usize)> {
        let at = self.segment_of(hash);
        match self.segments[at].find(hash, key) {
            Some(index) => Some((at, index)),
            None if self.segments[at].has_outside => self.bring_in(hash, key),
            None => None,
        }
    }

    /// The value of a key, to write to.
    #[inline]
    pub(crate) fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        let (at, index) = self.locate(hash, key)?;
        Some(self.touch(at, index))
    }

    /// Sets the value of a key.
    pub(crate) fn put(&mut self, hash: u64, key: K, value: V) {
        let mut value = Some(value);
        let place = self.entry(hash, key, || value.take().expect("called once"));
        if let Some(value) = value {
            *place = value;
        }
    }

    #[inline(always)]
    fn touch(&mut self, at: usize, index: usize) -> &mut V {
        self.note_write(at, index);
        &mut self.segments[at].entry_mut(index).1
    }

    /// To be called before an entry that was found is written to or removed.
    #[inline(always)]
    fn note_write(&mut self, at: usize, index: usize) {
        if self.segments[at].age(index) != self.age {
            self.first_write(at, index);
        }
    }

    /// The first write to an entry since the last cut: its old value may still be wanted.
    #[cold]
    #[inline(never)]
    fn first_write(&mut self, at: usize, index: usize) {
        let segment = &mut self.segments[at];
        let stamp = stamp_of(segment.age(index), self.generation);
        let scanned = segment.scanned;
        segment.newest = segment.newest.max(self.generation);
        let entry = segment.renew(index, self.age);
        if let Some(capture) = &mut self.capture {
            capture.keep_old(scanned, stamp, entry);
        }
    }

    /// Adds an entry, and says where: the segment, the index.
    #[inline(never)]
    fn insert(&mut self, at: usize, hash: u64, entry: (K, V)) -> (usize, usize) {
        let is_full = self.segments[at].is_full() && !self.may_wait(at, hash);
        let at = if is_full { self.make_room(hash) } else { at };
        self.len += 1;
        let segment = &mut self.segments[at];
        segment.newest = segment.newest.max(self.generation);
        (at, segment.insert(hash, self.age, entry))
    }

    /// Whether a full segment can wait for its turn to be split. Then it is in the list.
    fn may_wait(&mut self, at: usize, hash: u64) -> bool {
        let segment = &mut self.segments[at];
        let splits = segment.block_count() >= SEGMENT_BLOCKS && segment.depth < DEPTH_MAX;
        if !self.defers || !splits || self.outside.is_some() || segment.is_crammed() {
            return false;
        }
        if !segment.is_listed {
            segment.is_listed = true;
            self.crowded.push_back(hash);
        }
        true
    }

    /// Splits the segment that waits the longest for it.
    #[cold]
    fn split_one(&mut self) {
        if let Some(hash) = self.crowded.pop_front() {
            let at = self.segment_of(hash);
            self.segments[at].is_listed = false;
            self.make_room(hash);
        }
    }

    /// Makes room for a hash, and says in which segment.
    #[cold]
    fn make_room(&mut self, hash: u64) -> usize {
        loop {
            let at = self.segment_of(hash);
            if !self.segments[at].is_full() {
                return at;
            }
            self.grown = self.grown.wrapping_add(1);
            if self.outside.is_some() && !self.may_grow(at) {
                self.move_out(at);
                continue;
            }
            let segment = &mut self.segments[at];
            if segment.block_count() < SEGMENT_BLOCKS || segment.depth >= DEPTH_MAX {
                segment.double();
                self.mask = segment.home_mask();
                self.bases_of(at);
            } else {
                self.split(at, hash);
            }
        }
    }

    fn split(&mut self, at: usize, hash: u64) {
        let depth = self.segments[at].depth;
        if 1 << depth == self.directory.len() {
            self.directory.extend_from_within(..);
            self.bases.extend_from_within(..);
            self.directory_mask = self.directory.len() - 1;
        }
        let bit = 1 << depth;
        let other = self.segments[at].split(bit);
        let path = hash & (bit - 1) | bit;
        for place in (path as usize..self.directory.len()).step_by(1 << other.depth) {
            self.directory[place] = self.segments.len() as u32;
            self.bases[place] = other.blocks.base();
        }
        self.segments.push(other);
    }

    /// Takes down where the blocks of a segment are that has grown.
    fn bases_of(&mut self, at: usize) {
        for (segment, base) in self.directory.iter().zip(&mut self.bases) {
            if *segment as usize == at {
                *base = self.segments[at].blocks.base();
            }
        }
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let (at, index) = self.locate(hash, key)?;
        self.note_write(at, index);
        let (key, value) = self.segments[at].take(hash, index)?;
        self.len -= 1;
        if self.base > 0 || self.in_flight.is_some() || self.capture.is_some() {
            self.removed.push((key, self.generation));
        }
        Some(value)
    }

    /// How many segments there are, for walks that pause: a segment is the unit of a pause.
    pub(crate) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The entries of one segment.
    pub(crate) fn segment(&self, index: usize) -> impl Iterator<Item = (&K, &V)> {
        self.segments[index].entries().map(|(key, value)| (key, value))
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        (0..self.segments.len()).flat_map(|index| self.segment(index))
    }

    /// Forgets all entries, and that they ever were; keeps the memory. The caller sees to it that
    /// no capture wants them any more, and records the removal if one is needed.
    pub(crate) fn clear(&mut self) {
        for segment in &mut self.segments {
            segment.clear();
        }
        self.len = 0;
        self.removed.clear();
    }

    /// The same for one segment; returns how many entries there were.
    pub(crate) fn clear_segment(&mut self, index: usize) -> usize {
        let cleared = self.segments[index].clear();
        self.len -= cleared;
        cleared
    }

    /// The hashes of one segment's entries, in their order.
    pub(crate) fn hashes_of_segment(&self, index: usize, hashes: &mut Vec<u64>) {
        hashes.clear();
        hashes.extend(self.segments[index].entries().map(|(key, _)| hash_again(key)));
    }

    /// The entries of one segment with their hashes.
    pub(crate) fn segment_hashed(&self, index: usize) -> impl Iterator<Item = (u64, &K, &V)> {
        self.segments[index].entries().map(|(key, value)| (hash_again(key), key, value))
    }

    /// The same, to write to. No capture learns of it: for tables that are never captured.
    pub(crate) fn segment_mut(&mut self, index: usize) -> impl Iterator<Item = (u64, &K, &mut V)> {
        self.segments[index].entries_mut().map(|(key, value)| (hash_again(key), &*key, value))
    }

    /// Takes all entries out of one segment, and forgets that they ever were; see [`Table::clear`].
    /// The caller reads the iterator to its end.
    pub(crate) fn drain_segment(&mut self, index: usize) -> impl Iterator<Item = (K, V)> {
        let segment = &mut self.segments[index];
        self.len -= segment.len;
        segment.drain()
    }

    /// Puts in an entry that a snapshot held.
    pub(crate) fn restore(&mut self, hash: u64, key: K, value: V) {
        let (generation, age) = (self.generation, self.age);
        (self.generation, self.age) = (RESTORED, OLD);
        self.put(hash, key, value);
        (self.generation, self.age) = (generation, age);
        self.base = RESTORED;
    }

    /// Takes out an entry that a later snapshot of a chain did not hold any more.
    pub(crate) fn restore_removed(&mut self, hash: u64, key: &K) {
        let place = self.locate(hash, key);
        if place.is_some_and(|(at, index)| self.segments[at].take(hash, index).is_some()) {
            self.len -= 1;
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
