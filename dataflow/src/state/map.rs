//! [`MapTable`]: a map of its own for each key, in order, captured entry by entry. [`MapState`] is it as a
//! [`State`].
//!
//! Written by operators (process functions, joins) and by [`super::list`] and [`super::timers`], which are built
//! upon it; scanned by a capture.
//!
//! Each key has a cell, found through a [`Table`] that is never captured itself; cells stand in blocks and do
//! not move, so that a scan is a walk with a cursor: cell, and place within it. Each entry carries the
//! generation of its last write and that of its first. Invariant, as in [`super::table`]: saved and scanned
//! entries together are the state as it was at the cut. An entry that came and went between two captures leaves
//! no trace in either.

use std::mem;
use std::ops::{Bound, RangeBounds, RangeFull};

use millstream_protocol::id::Epoch;
use millstream_protocol::key_hash::key_hash;

use super::ordered::Ordered;
use super::{Buckets, Chunk, Entry, State, Table};
use crate::data::{Data, Key};
use crate::error::Result;

/// Cells per block. Blocks that nobody wrote to are passed over whole; and memory grows by a block at a time.
const BLOCK_CELLS: usize = 256;
/// The stamp of entries that a restore brought: older than every write of this run.
const RESTORED: u32 = 1;

/// An entry with the generations of its first and its last write.
struct Held<B> {
    born: u32,
    stamp: u32,
    value: B,
}

struct Cell<K, A, B> {
    hash: u64,
    key: K,
    newest: u32,
    entries: Ordered<A, Held<B>>,
}

struct Block<K, A, B> {
    newest: u32,
    cells: Vec<Option<Cell<K, A, B>>>,
}

/// Where a key's cell stands, for as long as the key has entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

struct Capture<K, A, B> {
    epoch: Epoch,
    generation: u32,
    /// Entries stamped later than this are taken.
    base: u32,
    /// The cell to be taken next, and the last entry in it that is.
    next_slot: u32,
    after: Option<A>,
    next_removed: usize,
    saved: Vec<(K, A, B)>,
}

impl<K, A: Ord, B> Capture<K, A, B> {
    fn has_taken(&self, slot: Slot, at: &A) -> bool {
        slot.0 < self.next_slot
            || slot.0 == self.next_slot && self.after.as_ref().is_some_and(|after| at <= after)
    }
}

impl<K: Key, A: Data + Ord, B: Data> Capture<K, A, B> {
    /// Keeps the value of an entry that is about to change, if the scan still wants it.
    fn keep_old(&mut self, slot: Slot, key: &K, at: &A, held: &Held<B>) {
        let wanted = held.stamp > self.base && held.stamp <= self.generation;
        if wanted && !self.has_taken(slot, at) {
            self.saved.push((key.clone(), at.clone(), held.value.clone()));
        }
    }
}

/// A map of its own for each key, whose entries can be captured while they are written to.
pub(crate) struct MapTable<K, A, B> {
    index: Table<K, u32>,
    blocks: Vec<Block<K, A, B>>,
    free: Vec<u32>,
    len: usize,
    generation: u32,
    /// The generation of the newest published capture; 0 where there is none to build upon.
    base: u32,
    capture: Option<Capture<K, A, B>>,
    /// Captured, and not known to be published yet.
    in_flight: Option<(Epoch, u32)>,
    /// Entries removed since the base, with the generation of the removal, in order.
    removed: Vec<(K, A, u32)>,
}

impl<K: Key, A: Data + Ord, B: Data> Default for MapTable<K, A, B> {
    fn default() -> Self {
        Self {
            index: Table::default(),
            blocks: Vec::new(),
            free: Vec::new(),
            len: 0,
            generation: RESTORED + 1,
            base: 0,
            capture: None,
            in_flight: None,
            removed: Vec::new(),
        }
    }
}

impl<K: Key, A: Data + Ord, B: Data> MapTable<K, A, B> {
    /// How many entries there are, over all keys.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Loads the place of a key hash into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The place of a key, if it has entries.
    #[inline]
    pub(crate) fn slot(&self, hash: u64, key: &K) -> Option<Slot> {
        self.index.get(hash, key).map(|slot| Slot(*slot))
    }

    fn cell(&self, slot: Slot) -> &Cell<K, A, B> {
        let at = slot.0 as usize;
        let cell = self.blocks[at / BLOCK_CELLS].cells[at % BLOCK_CELLS].as_ref();
        cell.expect("a slot is used only while its key has entries")
    }

    /// The key at a place, and its hash.
    pub(crate) fn key_at(&self, slot: Slot) -> (u64, &K) {
        let cell = self.cell(slot);
        (cell.hash, &cell.key)
    }

    /// An entry of a key.
    #[inline]
    pub(crate) fn get(&self, hash: u64, key: &K, at: &A) -> Option<&B> {
        let slot = self.slot(hash, key)?;
        self.cell(slot).entries.get(at).map(|held| &held.value)
    }

    /// How many entries a key has.
    pub(crate) fn count(&self, hash: u64, key: &K) -> usize {
        self.slot(hash, key).map_or(0, |slot| self.cell(slot).entries.len())
    }

    /// The entries of a key in a range, in order.
    pub(crate) fn range(
        &self,
        hash: u64,
        key: &K,
        range: impl RangeBounds<A>,
    ) -> impl DoubleEndedIterator<Item = (&A, &B)> {
        let cell = self.slot(hash, key).map(|slot| self.cell(slot));
        let entries = cell.map(|cell| cell.entries.range(&range));
        entries.into_iter().flatten().map(|(at, held)| (at, &held.value))
    }

    /// All entries of a key, in order.
    pub(crate) fn entries(&self, hash: u64, key: &K) -> impl DoubleEndedIterator<Item = (&A, &B)> {
        self.range(hash, key, RangeFull)
    }

    /// How many places there may be: for walks that pause. See [`MapTable::entries_at`].
    pub(crate) fn slots(&self) -> u32 {
        self.blocks
            .last()
            .map_or(0, |last| ((self.blocks.len() - 1) * BLOCK_CELLS + last.cells.len()) as u32)
    }

    /// The entries at the n-th place, and the slot it is; `None` where no key stands there.
    pub(crate) fn entries_at(
        &self,
        place: u32,
    ) -> Option<(Slot, impl DoubleEndedIterator<Item = (&A, &B)>)> {
        let at = place as usize;
        let cell = self.blocks.get(at / BLOCK_CELLS)?.cells.get(at % BLOCK_CELLS)?.as_ref()?;
        let entries = cell.entries.range(&RangeFull).map(|(at, held)| (at, &held.value));
        Some((Slot(place), entries))
    }

    /// Walks over all entries from a place and an entry there on, as far as the budget goes; moves the place.
    /// Whether there are more.
    pub(crate) fn walk(
        &self,
        (place, after): &mut (u32, Option<A>),
        budget: &mut usize,
        mut each: impl FnMut((u64, &K), &A, &B),
    ) -> bool {
        while *budget > 0 && *place < self.slots() {
            *budget -= 1;
            let at = *place as usize;
            let from = after.take().map_or(Bound::Unbounded, Bound::Excluded);
            if let Some(cell) = &self.blocks[at / BLOCK_CELLS].cells[at % BLOCK_CELLS] {
                let mut entries = cell.entries.range(&(from, Bound::Unbounded));
                while let Some((at, held)) = entries.next() {
                    each((cell.hash, &cell.key), at, &held.value);
                    *budget = budget.saturating_sub(1);
                    if *budget == 0 {
                        *after = Some(at.clone());
                        return true;
                    }
                }
            }
            *place += 1;
        }
        *place < self.slots()
    }

    /// An entry of a key, to write to.
    pub(crate) fn get_mut(&mut self, hash: u64, key: &K, at: &A) -> Option<&mut B> {
        let slot = self.slot(hash, key)?;
        let generation = self.generation;
        let block = &mut self.blocks[slot.0 as usize / BLOCK_CELLS];
        let cell = block.cells[slot.0 as usize % BLOCK_CELLS].as_mut()?;
        let held = cell.entries.get_mut(at)?;
        if held.stamp != generation {
            if let Some(capture) = &mut self.capture {
                capture.keep_old(slot, &cell.key, at, held);
            }
            held.stamp = generation;
            cell.newest = generation;
            block.newest = generation;
        }
        Some(&mut held.value)
    }

    /// Sets an entry of a key; returns what was there.
    pub(crate) fn insert(&mut self, hash: u64, key: &K, at: A, value: B) -> Option<B> {
        if let Some(old) = self.get_mut(hash, key, &at) {
            return Some(mem::replace(old, value));
        }
        self.insert_new(hash, key, at, value, self.generation);
        None
    }

    /// An entry of a key, to write to; made by `init` where there is none.
    pub(crate) fn entry(&mut self, hash: u64, key: &K, at: A, init: impl FnOnce() -> B) -> &mut B {
        if self.get(hash, key, &at).is_none() {
            return self.insert_new(hash, key, at, init(), self.generation);
        }
        self.get_mut(hash, key, &at).expect("found just now")
    }

    /// Adds an entry behind all others of its key; `place` is told the last of them.
    pub(crate) fn push(
        &mut self,
        hash: u64,
        key: &K,
        place: impl FnOnce(Option<&A>) -> A,
        value: B,
    ) {
        let slot = self.slot(hash, key);
        let last = slot.and_then(|slot| self.cell(slot).entries.last()).map(|(at, _)| at);
        let at = place(last);
        self.insert_new(hash, key, at, value, self.generation);
    }

    fn insert_new(&mut self, hash: u64, key: &K, at: A, value: B, stamp: u32) -> &mut B {
        let slot = self.slot(hash, key).unwrap_or_else(|| self.new_cell(hash, key));
        self.len += 1;
        let block = &mut self.blocks[slot.0 as usize / BLOCK_CELLS];
        block.newest = block.newest.max(stamp);
        let cell = block.cells[slot.0 as usize % BLOCK_CELLS].as_mut();
        let cell = cell.expect("the cell of a key that is in the index");
        cell.newest = cell.newest.max(stamp);
        &mut cell.entries.insert_new(at, Held { born: stamp, stamp, value }).value
    }

    fn new_cell(&mut self, hash: u64, key: &K) -> Slot {
        let cell = Cell { hash, key: key.clone(), newest: 0, entries: Ordered::new() };
        let slot = if let Some(slot) = self.free.pop() {
            self.blocks[slot as usize / BLOCK_CELLS].cells[slot as usize % BLOCK_CELLS] =
                Some(cell);
            slot
        } else {
            let slot = self.slots();
            if slot as usize % BLOCK_CELLS == 0 {
                self.blocks.push(Block { newest: 0, cells: Vec::with_capacity(BLOCK_CELLS) });
            }
            let block = self.blocks.last_mut().expect("one with room was pushed if there was none");
            block.cells.push(Some(cell));
            slot
        };
        self.index.put(hash, key.clone(), slot);
        Slot(slot)
    }

    /// Takes an entry of a key out.
    pub(crate) fn remove(&mut self, hash: u64, key: &K, at: &A) -> Option<B> {
        let slot = self.slot(hash, key)?;
        let block = &mut self.blocks[slot.0 as usize / BLOCK_CELLS];
        let cell = block.cells[slot.0 as usize % BLOCK_CELLS].as_mut()?;
        let held = cell.entries.remove(at)?;
        let is_empty = cell.entries.is_empty();
        let value = self.bury(slot, key, at.clone(), held);
        if is_empty {
            self.free_cell(slot, hash, key);
        }
        Some(value)
    }

    /// Takes the entries of a key in a range out, in order.
    pub(crate) fn remove_range(
        &mut self,
        hash: u64,
        key: &K,
        range: impl RangeBounds<A>,
        mut each: impl FnMut(B),
    ) {
        let Some(slot) = self.slot(hash, key) else { return };
        let block = &mut self.blocks[slot.0 as usize / BLOCK_CELLS];
        let cell = block.cells[slot.0 as usize % BLOCK_CELLS].as_mut();
        let cell = cell.expect("the cell of a key that is in the index");
        let taken = cell.entries.remove_range(&range);
        let is_empty = cell.entries.is_empty();
        for (at, held) in taken {
            each(self.bury(slot, key, at, held));
        }
        if is_empty {
            self.free_cell(slot, hash, key);
        }
    }

    /// Takes all entries of a key out.
    pub(crate) fn remove_all(&mut self, hash: u64, key: &K) {
        self.remove_range(hash, key, RangeFull, drop);
    }

    /// What a capture needs to know of an entry that was taken out.
    fn bury(&mut self, slot: Slot, key: &K, at: A, held: Held<B>) -> B {
        self.len -= 1;
        if let Some(capture) = &mut self.capture {
            capture.keep_old(slot, key, &at, &held);
        }
        // An entry that no capture has seen needs no removal in the next.
        let seen = self.in_flight.map_or(self.base, |(_, generation)| generation.max(self.base));
        if held.born <= seen {
            self.removed.push((key.clone(), at, self.generation));
        }
        held.value
    }

    fn free_cell(&mut self, slot: Slot, hash: u64, key: &K) {
        self.blocks[slot.0 as usize / BLOCK_CELLS].cells[slot.0 as usize % BLOCK_CELLS] = None;
        self.index.remove(hash, key);
        self.free.push(slot.0);
    }
}

// What captures and restores need, in the terms of `State`.
impl<K: Key, A: Data + Ord, B: Data> MapTable<K, A, B> {
    /// Puts in an entry that a snapshot held.
    pub(crate) fn restore(&mut self, hash: u64, key: &K, at: A, value: B) {
        if let Some(old) = self.get_mut(hash, key, &at) {
            *old = value;
        } else {
            self.insert_new(hash, key, at, value, RESTORED);
        }
    }

    /// Takes out an entry that a later snapshot of a chain did not hold any more.
    pub(crate) fn restore_removed(&mut self, hash: u64, key: &K, at: &A) {
        self.remove(hash, key, at);
    }

    /// Says that the content equals a published snapshot, so that the next capture may hold changes only.
    pub(crate) fn restored(&mut self) {
        // What the chain rewrote bears a later stamp than what it brought: the base takes in both.
        self.base = self.generation;
        self.generation += 1;
        self.removed.clear();
    }

    /// Whether a capture may hold changes only.
    pub(crate) fn can_delta(&self) -> bool {
        self.base > 0 && self.removed.len() <= 1024 + 2 * self.len
    }

    /// The cut: what is written from here on belongs to the next epoch.
    pub(crate) fn begin_capture(&mut self, epoch: Epoch, full: bool) {
        if full {
            // Nothing is built upon from here on until this capture, or a later full one, is published.
            self.base = 0;
            self.removed.clear();
        }
        self.capture = Some(Capture {
            epoch,
            generation: self.generation,
            base: self.base,
            next_slot: 0,
            after: None,
            next_removed: 0,
            saved: Vec::new(),
        });
        self.in_flight = Some((epoch, self.generation));
        self.generation += 1;
    }

    /// Whether a scan is under way.
    #[cfg(test)]
    pub(crate) fn is_capturing(&self) -> bool {
        self.capture.is_some()
    }

    /// Takes about `budget` more entries of the capture; `None` when all is taken.
    pub(crate) fn scan(&mut self, budget: &mut usize) -> Option<MapChunk<K, A, B>> {
        let slots = self.slots();
        let capture = self.capture.as_mut()?;
        let mut chunk = MapChunk { entries: mem::take(&mut capture.saved), removed: Vec::new() };
        if capture.base > 0 {
            let wanted = self.removed[capture.next_removed..].iter().take(*budget);
            let wanted = wanted.take_while(|(_, _, stamp)| *stamp <= capture.generation);
            chunk.removed.extend(wanted.map(|(key, at, _)| (key.clone(), at.clone())));
            capture.next_removed += chunk.removed.len();
            *budget -= chunk.removed.len();
        }
        while *budget > 0 && capture.next_slot < slots {
            *budget -= 1;
            let at = capture.next_slot as usize;
            let block = &self.blocks[at / BLOCK_CELLS];
            if block.newest <= capture.base {
                capture.after = None;
                capture.next_slot = (((at / BLOCK_CELLS) + 1) * BLOCK_CELLS) as u32;
                continue;
            }
            match &block.cells[at % BLOCK_CELLS] {
                Some(cell) if cell.newest > capture.base => take(cell, capture, &mut chunk, budget),
                _ => {
                    // The cell may have been emptied while the scan stood within it.
                    capture.after = None;
                    capture.next_slot += 1;
                }
            }
        }
        if *budget > 0 && capture.next_slot >= slots {
            self.capture = None;
            return (chunk.len() > 0).then_some(chunk);
        }
        Some(chunk)
    }

    /// The snapshot was published, and becomes the base of the next; or it was given up, and its changes are
    /// kept for the next.
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
            let kept = self.removed.partition_point(|(_, _, stamp)| *stamp <= generation);
            self.removed.drain(..kept);
        }
    }
}

/// Takes the wanted entries of one cell, as far as the budget goes; sets the cursor.
fn take<K: Key, A: Data + Ord, B: Data>(
    cell: &Cell<K, A, B>,
    capture: &mut Capture<K, A, B>,
    chunk: &mut MapChunk<K, A, B>,
    budget: &mut usize,
) {
    let after = capture.after.take();
    let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut rest = cell.entries.range(&(from.cloned(), Bound::Unbounded));
    let mut last = None;
    for (at, held) in rest.by_ref().take(*budget) {
        *budget -= 1;
        last = Some(at);
        if held.stamp > capture.base && held.stamp <= capture.generation {
            chunk.entries.push((cell.key.clone(), at.clone(), held.value.clone()));
        }
    }
    if rest.next().is_some() {
        capture.after = last.cloned().or(after);
    } else {
        capture.next_slot += 1;
    }
}

/// Captured entries of a [`MapTable`].
pub(crate) struct MapChunk<K, A, B> {
    pub(crate) entries: Vec<(K, A, B)>,
    pub(crate) removed: Vec<(K, A)>,
}

impl<K: Key, A: Data, B: Data> Chunk for MapChunk<K, A, B> {
    fn encode(self: Box<Self>, into: &mut Buckets) -> Result<()> {
        for removed in &self.removed {
            into.remove(&removed.0, removed)?;
        }
        for entry in &self.entries {
            into.put(&entry.0, entry)?;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.entries.len() + self.removed.len()
    }
}

/// A map for each key, as a [`State`].
pub(crate) struct MapState<K, A, B>(MapTable<K, A, B>);

impl<K: Key, A: Data + Ord, B: Data> Default for MapState<K, A, B> {
    fn default() -> Self {
        Self(MapTable::default())
    }
}

impl<K: Key, A: Data + Ord, B: Data> std::ops::Deref for MapState<K, A, B> {
    type Target = MapTable<K, A, B>;

    fn deref(&self) -> &MapTable<K, A, B> {
        &self.0
    }
}

impl<K: Key, A: Data + Ord, B: Data> std::ops::DerefMut for MapState<K, A, B> {
    fn deref_mut(&mut self) -> &mut MapTable<K, A, B> {
        &mut self.0
    }
}

impl<K: Key, A: Data + Ord, B: Data> State for MapState<K, A, B> {
    fn can_delta(&self) -> bool {
        self.0.can_delta()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn begin(&mut self, epoch: Epoch, full: bool) {
        self.0.begin_capture(epoch, full);
    }

    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>> {
        self.0.scan(budget).map(|chunk| Box::new(chunk) as _)
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        self.0.settled(epoch, published);
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<()> {
        if entry.removed {
            let (key, at): (K, A) = postcard::from_bytes(entry.body)?;
            self.0.restore_removed(key_hash(&key)?, &key, &at);
        } else {
            let (key, at, value): (K, A, B) = postcard::from_bytes(entry.body)?;
            self.0.restore(key_hash(&key)?, &key, at, value);
        }
        Ok(())
    }

    fn restored(&mut self) {
        self.0.restored();
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
