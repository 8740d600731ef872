//! [`MapState`]: a map of its own for each key, in order, captured entry by entry.
//!
//! Written by process functions, and by [`super::list`] and [`super::timers`], which are built upon
//! it; [`capture`] says what a capture sees of it.
//!
//! Each key has a cell, found through a [`Table`] that is never captured itself; cells stand in
//! blocks and do not move, so that a scan is a walk with a cursor: cell, and place within it. Each
//! entry carries the generation of its last write and that of its first. Invariant, as in
//! [`super::table`]: saved and scanned entries together are the state as it was at the cut. An
//! entry that came and went between two captures leaves no trace in either.

mod capture;

use std::mem;
use std::ops::{Bound, RangeBounds, RangeFull};

use capture::Capture;
use millstream_protocol::id::Epoch;

use super::Table;
use super::ordered::Ordered;
use crate::data::{Data, Key};

/// Cells per block. Blocks that nobody wrote to are passed over whole; and memory grows by a block
/// at a time.
const BLOCK_CELLS: usize = 256;

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

/// A map of its own for each key, whose entries can be captured while they are written to.
pub(crate) struct MapState<K, A, B> {
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

impl<K: Key, A: Data + Ord, B: Data> Default for MapState<K, A, B> {
    fn default() -> Self {
        Self {
            index: Table::default(),
            blocks: Vec::new(),
            free: Vec::new(),
            len: 0,
            generation: capture::FIRST,
            base: 0,
            capture: None,
            in_flight: None,
            removed: Vec::new(),
        }
    }
}

impl<K: Key, A: Data + Ord, B: Data> MapState<K, A, B> {
    /// Loads the place of a key hash into the cache.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The place of a key, if it has entries.
    #[inline]
    pub(crate) fn slot(&self, hash: u64, key: &K) -> Option<Slot> {
        self.index.peek(hash, key).map(|slot| Slot(*slot))
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

    /// How many places there may be: for walks that pause. See [`MapState::entries_at`].
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

    /// Walks over all entries from a place and an entry there on, as far as the budget goes; moves
    /// the place. Whether there are more.
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
                let entries = cell.entries.range(&(from, Bound::Unbounded));
                for (at, held) in entries {
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
        let held = Held { born: self.generation, stamp: self.generation, value };
        self.insert_new(hash, key, at, held);
        None
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
        let held = Held { born: self.generation, stamp: self.generation, value };
        self.insert_new(hash, key, at, held);
    }

    fn insert_new(&mut self, hash: u64, key: &K, at: A, held: Held<B>) {
        let slot = self.slot(hash, key).unwrap_or_else(|| self.new_cell(hash, key));
        self.len += 1;
        let block = &mut self.blocks[slot.0 as usize / BLOCK_CELLS];
        block.newest = block.newest.max(held.stamp);
        let cell = block.cells[slot.0 as usize % BLOCK_CELLS].as_mut();
        let cell = cell.expect("the cell of a key that is in the index");
        cell.newest = cell.newest.max(held.stamp);
        cell.entries.insert_new(at, held);
    }

    fn new_cell(&mut self, hash: u64, key: &K) -> Slot {
        let cell = Cell { hash, key: key.clone(), newest: 0, entries: Ordered::new() };
        let slot = if let Some(slot) = self.free.pop() {
            self.blocks[slot as usize / BLOCK_CELLS].cells[slot as usize % BLOCK_CELLS] =
                Some(cell);
            slot
        } else {
            let slot = self.slots();
            if (slot as usize).is_multiple_of(BLOCK_CELLS) {
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

#[cfg(test)]
mod tests;
