//! [`Table`]: the in-memory map behind keyed state. Written by operators, scanned by a capture.
//!
//! The lower 32 bits of the key hash place an entry: the upper ones are alike among all keys of a
//! task. The topmost of them choose the [`Segment`]; a full one doubles up to [`SEGMENT_SLOTS`],
//! then splits, so that growth never moves more (a whole table of 5 M entries took 600 ms).
//!
//! Each entry carries the generation of its last write. A capture only raises the generation; the
//! scan later takes older entries, and a write to one that it has not reached saves the old value
//! first. Invariant: saved and scanned entries together are the state as it was at the cut.

use std::mem;
use std::num::NonZeroU32;

use millstream_protocol::id::Epoch;

use super::chunk::TableChunk;
use super::segment::{Segment, Slot, empty_slots};
use crate::data::{Data, Key};

/// Slots of a segment that splits rather than grows: it takes 30 us, and a task may stall for 1 ms.
const SEGMENT_SLOTS: usize = 4096;
const SEGMENT_SLOTS_MIN: usize = 16;
/// Beyond this depth the directory stops doubling and segments grow again.
const DEPTH_MAX: u32 = 22;
/// The stamp of entries that a restore brought: older than every write of this run.
const RESTORED: NonZeroU32 = NonZeroU32::MIN;

struct Capture<K, V> {
    epoch: Epoch,
    generation: u32,
    /// Entries stamped later than this are taken.
    base: u32,
    next_segment: usize,
    next_removed: usize,
    saved: Vec<(K, V)>,
}

/// A hash map whose content can be captured while it is written to.
pub(crate) struct Table<K, V> {
    directory: Vec<u32>,
    depth: u32,
    segments: Vec<Segment<K, V>>,
    len: usize,
    generation: NonZeroU32,
    /// The generation of the newest published capture; 0 where there is none to build upon.
    base: u32,
    capture: Option<Capture<K, V>>,
    /// Captured, and not known to be published yet.
    in_flight: Option<(Epoch, u32)>,
    /// Keys removed since the base, with the generation of the removal, in order.
    removed: Vec<(K, u32)>,
}

impl<K: Key, V: Data> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            directory: vec![0],
            depth: 0,
            segments: vec![Segment::new(SEGMENT_SLOTS_MIN, 0, 0)],
            len: 0,
            generation: RESTORED.saturating_add(1),
            base: 0,
            capture: None,
            in_flight: None,
            removed: Vec::new(),
        }
    }
}

impl<K: Key, V: Data> Table<K, V> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn segment_of(&self, hash: u32) -> usize {
        self.directory[(u64::from(hash) >> (32 - self.depth)) as usize] as usize
    }

    /// Loads the place of a hash into the cache: worth 1.3x and more where the table is larger than
    /// it.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let segment = &self.segments[self.segment_of(hash as u32)];
        let index = hash as u32 as usize & (segment.slots.len() - 1);
        super::prefetch::read(&segment.slots[index]);
    }

    /// The value of a key.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &K) -> Option<&V> {
        let hash = hash as u32;
        let segment = &self.segments[self.segment_of(hash)];
        let (index, _) = segment.find(hash, key);
        segment.slots[index].as_ref().map(|slot| &slot.value)
    }

    /// The value of a key, to write to.
    #[inline]
    pub(crate) fn get_mut(&mut self, hash: u64, key: &K) -> Option<&mut V> {
        let hash = hash as u32;
        let at = self.segment_of(hash);
        let (index, found) = self.segments[at].find(hash, key);
        found.then(|| self.touch(at, index))
    }

    /// The value of a key, to write to; made by `init` where there is none.
    #[inline(always)]
    pub(crate) fn entry(&mut self, hash: u64, key: K, init: impl FnOnce() -> V) -> &mut V {
        let hash = hash as u32;
        let at = self.segment_of(hash);
        let (index, found) = self.segments[at].find(hash, &key);
        if found {
            return self.touch(at, index);
        }
        let slot = Slot { hash, stamp: self.generation, key, value: init() };
        self.insert(at, index, slot)
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
        let stamp = self.segments[at].slots[index].as_ref().map(|slot| slot.stamp);
        if stamp != Some(self.generation) {
            self.first_write(at, index);
        }
        let slot = self.segments[at].slots[index].as_mut().expect("found just now");
        &mut slot.value
    }

    /// The first write to an entry since the last cut: its old value may still be wanted.
    #[cold]
    #[inline(never)]
    fn first_write(&mut self, at: usize, index: usize) {
        let segment = &mut self.segments[at];
        let slot = segment.slots[index].as_mut().expect("found just now");
        if let Some(capture) = &mut self.capture
            && segment.scanned < capture.generation
            && slot.stamp.get() > capture.base
        {
            capture.saved.push((slot.key.clone(), slot.value.clone()));
        }
        slot.stamp = self.generation;
        segment.newest = self.generation.get();
    }

    #[inline(never)]
    fn insert(&mut self, at: usize, index: usize, slot: Slot<K, V>) -> &mut V {
        let hash = slot.hash;
        self.len += 1;
        if !self.segments[at].is_full() {
            let segment = &mut self.segments[at];
            segment.newest = slot.stamp.get();
            segment.len += 1;
            return &mut segment.slots[index].insert(slot).value;
        }
        self.make_room(hash);
        let at = self.segment_of(hash);
        let (index, _) = self.segments[at].find(hash, &slot.key);
        let segment = &mut self.segments[at];
        segment.newest = segment.newest.max(slot.stamp.get());
        segment.len += 1;
        &mut segment.slots[index].insert(slot).value
    }

    #[cold]
    fn make_room(&mut self, hash: u32) {
        loop {
            let at = self.segment_of(hash);
            let segment = &mut self.segments[at];
            if !segment.is_full() {
                return;
            }
            if segment.slots.len() < SEGMENT_SLOTS || segment.depth >= DEPTH_MAX {
                segment.double();
            } else {
                self.split(at, hash);
            }
        }
    }

    fn split(&mut self, at: usize, hash: u32) {
        if self.segments[at].depth == self.depth {
            self.directory =
                self.directory.iter().flat_map(|&segment| [segment, segment]).collect();
            self.depth += 1;
        }
        let new = self.segments.len();
        let segment = &mut self.segments[at];
        let bit = 1 << (31 - segment.depth);
        segment.depth += 1;
        let mut other = Segment::new(segment.slots.len(), segment.depth, segment.scanned);
        let slots = empty_slots(segment.slots.len());
        let old = mem::replace(&mut segment.slots, slots);
        segment.len = 0;
        for slot in old.into_vec().into_iter().flatten() {
            if slot.hash & bit == 0 { segment.place(slot) } else { other.place(slot) }
        }
        // The directory entries of a segment stand together; the upper half of them moves to the
        // new one.
        let width = 1usize << (self.depth - segment.depth);
        let path = (u64::from(hash) >> (32 - segment.depth)) as usize | 1;
        self.directory[path * width..(path + 1) * width].fill(new as u32);
        self.segments.push(other);
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let short = hash as u32;
        let at = self.segment_of(short);
        let (index, found) = self.segments[at].find(short, key);
        if !found {
            return None;
        }
        let stamp = self.segments[at].slots[index].as_ref().map(|slot| slot.stamp);
        if stamp != Some(self.generation) {
            self.first_write(at, index);
        }
        let slot = self.segments[at].take(index)?;
        self.len -= 1;
        if self.base > 0 || self.in_flight.is_some() || self.capture.is_some() {
            self.removed.push((slot.key, self.generation.get()));
        }
        Some(slot.value)
    }

    /// How many segments there are, for walks that pause: a segment is the unit of a pause.
    pub(crate) fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// The entries of one segment.
    pub(crate) fn segment(&self, index: usize) -> impl Iterator<Item = (&K, &V)> {
        self.segments[index].slots.iter().flatten().map(|slot| (&slot.key, &slot.value))
    }

    /// All entries.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        (0..self.segments.len()).flat_map(|index| self.segment(index))
    }

    /// Forgets all entries, and that they ever were; keeps the memory. The caller sees to it that
    /// no capture wants them any more, and records the removal if one is needed.
    pub(crate) fn clear(&mut self) {
        for segment in &mut self.segments {
            if segment.len > 0 {
                segment.slots.iter_mut().for_each(|slot| *slot = None);
            }
            segment.len = 0;
            segment.newest = 0;
        }
        self.len = 0;
        self.removed.clear();
    }

    /// The entries of one segment with what of their hashes the table goes by.
    pub(crate) fn segment_hashed(&self, index: usize) -> impl Iterator<Item = (u64, &K, &V)> {
        let slots = self.segments[index].slots.iter().flatten();
        slots.map(|slot| (u64::from(slot.hash), &slot.key, &slot.value))
    }

    /// The same, to write to. No capture learns of it: for tables that are never captured.
    pub(crate) fn segment_mut(&mut self, index: usize) -> impl Iterator<Item = (u64, &K, &mut V)> {
        let slots = self.segments[index].slots.iter_mut().flatten();
        slots.map(|slot| (u64::from(slot.hash), &slot.key, &mut slot.value))
    }

    /// Takes all entries out of one segment, and forgets that they ever were; see [`Table::clear`].
    /// The caller reads the iterator to its end.
    pub(crate) fn drain_segment(&mut self, index: usize) -> impl Iterator<Item = (K, V)> {
        let segment = &mut self.segments[index];
        let used = if segment.len == 0 { 0 } else { segment.slots.len() };
        self.len -= mem::take(&mut segment.len);
        segment.newest = 0;
        let slots = segment.slots[..used].iter_mut().filter_map(Option::take);
        slots.map(|slot| (slot.key, slot.value))
    }

    /// Puts in an entry that a snapshot held.
    pub(crate) fn restore(&mut self, hash: u64, key: K, value: V) {
        let written = mem::replace(&mut self.generation, RESTORED);
        self.put(hash, key, value);
        self.generation = written;
        self.base = RESTORED.get();
    }

    /// Takes out an entry that a later snapshot of a chain did not hold any more.
    pub(crate) fn restore_removed(&mut self, hash: u64, key: &K) {
        let short = hash as u32;
        let at = self.segment_of(short);
        let (index, found) = self.segments[at].find(short, key);
        if found && self.segments[at].take(index).is_some() {
            self.len -= 1;
        }
    }

    /// Says that the content equals a published snapshot, so that the next capture may hold changes
    /// only.
    pub(crate) fn restored(&mut self) {
        self.base = RESTORED.get();
    }

    /// Whether a capture may hold changes only.
    pub(crate) fn can_delta(&self) -> bool {
        self.base > 0 && self.removed.len() <= 1024 + 2 * self.len
    }

    /// The cut: what is written from here on belongs to the next epoch.
    pub(crate) fn begin_capture(&mut self, epoch: Epoch, full: bool) {
        if full {
            // Nothing is built upon from here on until this capture, or a later full one, is
            // published.
            self.base = 0;
            self.removed.clear();
        }
        let base = self.base;
        let generation = self.generation.get();
        self.capture = Some(Capture {
            epoch,
            generation,
            base,
            next_segment: 0,
            next_removed: 0,
            saved: Vec::new(),
        });
        self.in_flight = Some((epoch, generation));
        self.generation = self.generation.saturating_add(1);
    }

    /// Whether a scan is under way.
    pub(crate) fn is_capturing(&self) -> bool {
        self.capture.is_some()
    }

    /// Takes about `budget` more slots of the capture; `None` when all is taken.
    pub(crate) fn scan(&mut self, budget: &mut usize) -> Option<TableChunk<K, V>> {
        let capture = self.capture.as_mut()?;
        let mut chunk = TableChunk { entries: mem::take(&mut capture.saved), removed: Vec::new() };
        if capture.base > 0 {
            let from = capture.next_removed;
            let wanted = self.removed[from..].iter().take(*budget);
            let wanted = wanted.take_while(|(_, stamp)| *stamp <= capture.generation);
            chunk.removed.extend(wanted.map(|(key, _)| key.clone()));
            capture.next_removed += chunk.removed.len();
            *budget -= chunk.removed.len();
        }
        while *budget > 0 && capture.next_segment < self.segments.len() {
            let segment = &mut self.segments[capture.next_segment];
            capture.next_segment += 1;
            if segment.scanned >= capture.generation {
                continue;
            }
            segment.scanned = capture.generation;
            if segment.newest <= capture.base {
                continue;
            }
            let range = capture.base + 1..=capture.generation;
            let wanted = segment.slots.iter().flatten();
            let wanted = wanted.filter(|slot| range.contains(&slot.stamp.get()));
            chunk.entries.extend(wanted.map(|slot| (slot.key.clone(), slot.value.clone())));
            *budget = budget.saturating_sub(segment.slots.len());
        }
        if *budget > 0 && capture.next_segment == self.segments.len() {
            self.capture = None;
            return (chunk.entries.len() + chunk.removed.len() > 0).then_some(chunk);
        }
        Some(chunk)
    }

    /// The snapshot was published, and becomes the base of the next; or it was given up, and its
    /// changes are kept for the next.
    pub(crate) fn settled(&mut self, epoch: Epoch, published: bool) {
        if self.capture.as_ref().is_some_and(|capture| capture.epoch == epoch) && !published {
            self.capture = None;
        }
        let Some((captured, generation)) = self.in_flight else { return };
        if captured != epoch {
            return;
        }
        self.in_flight = None;
        if published {
            self.base = generation;
            let kept = self.removed.partition_point(|(_, stamp)| *stamp <= generation);
            self.removed.drain(..kept);
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
