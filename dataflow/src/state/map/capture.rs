//! What captures and restores see of a [`MapState`].
//!
//! A scan walks over the cells with a cursor; a write to an entry behind the cursor first saves the
//! old value here.

use std::mem;
use std::ops::Bound;

use millstream_protocol::id::Epoch;
use millstream_protocol::key_hash::key_hash;

use super::{BLOCK_CELLS, Cell, Held, MapState, Slot};
use crate::data::{Data, Key};
use crate::error::Result;
use crate::state::{Buckets, Chunk, Entry, State};

/// The stamp of entries that a restore brought: older than every write of this run.
const RESTORED: u32 = 1;
/// The generation that a state begins with.
pub(super) const FIRST: u32 = RESTORED + 1;

/// A capture under way.
pub(super) struct Capture<K, A, B> {
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

impl<K: Key, A: Data + Ord, B: Data> Capture<K, A, B> {
    fn has_taken(&self, slot: Slot, at: &A) -> bool {
        slot.0 < self.next_slot
            || slot.0 == self.next_slot && self.after.as_ref().is_some_and(|after| at <= after)
    }

    /// Keeps the value of an entry that is about to change, if the scan still wants it.
    pub(super) fn keep_old(&mut self, slot: Slot, key: &K, at: &A, held: &Held<B>) {
        let wanted = held.stamp > self.base && held.stamp <= self.generation;
        if wanted && !self.has_taken(slot, at) {
            self.saved.push((key.clone(), at.clone(), held.value.clone()));
        }
    }

    /// Takes the wanted entries of the next cell, as far as the budget goes.
    fn take(&mut self, cell: &Cell<K, A, B>, chunk: &mut MapChunk<K, A, B>, budget: &mut usize) {
        let after = self.after.take();
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = cell.entries.range(&(from.cloned(), Bound::Unbounded));
        let mut last = None;
        for (at, held) in rest.by_ref().take(*budget) {
            *budget -= 1;
            last = Some(at);
            if held.stamp > self.base && held.stamp <= self.generation {
                chunk.entries.push((cell.key.clone(), at.clone(), held.value.clone()));
            }
        }
        if rest.next().is_some() {
            self.after = last.cloned().or(after);
        } else {
            self.next_slot += 1;
        }
    }

    /// Passes over cells.
    fn skip_to(&mut self, slot: usize) {
        // A cell may have been emptied while the scan stood within it.
        self.after = None;
        self.next_slot = slot as u32;
    }
}

impl<K: Key, A: Data + Ord, B: Data> MapState<K, A, B> {
    /// Takes about `budget` more entries of the capture; `None` when all is taken.
    pub(in crate::state) fn scan_entries(
        &mut self,
        budget: &mut usize,
    ) -> Option<MapChunk<K, A, B>> {
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
                capture.skip_to((at / BLOCK_CELLS + 1) * BLOCK_CELLS);
                continue;
            }
            match &block.cells[at % BLOCK_CELLS] {
                Some(cell) if cell.newest > capture.base => {
                    capture.take(cell, &mut chunk, budget);
                }
                _ => capture.skip_to(at + 1),
            }
        }
        if *budget > 0 && capture.next_slot >= slots {
            self.capture = None;
            return (!chunk.is_empty()).then_some(chunk);
        }
        Some(chunk)
    }
}

impl<K: Key, A: Data + Ord, B: Data> State for MapState<K, A, B> {
    fn can_delta(&self) -> bool {
        self.base > 0 && self.removed.len() <= 1024 + 2 * self.len
    }

    fn len(&self) -> usize {
        self.len
    }

    fn begin(&mut self, epoch: Epoch, full: bool) {
        if full {
            // Nothing is built upon until this capture, or a later full one, is published.
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

    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>> {
        self.scan_entries(budget).map(|chunk| Box::new(chunk) as _)
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
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

    fn restore(&mut self, entry: Entry<'_>) -> Result<()> {
        if entry.removed {
            let (key, at): (K, A) = postcard::from_bytes(entry.body)?;
            self.remove(key_hash(&key)?, &key, &at);
            return Ok(());
        }
        let (key, at, value): (K, A, B) = postcard::from_bytes(entry.body)?;
        let hash = key_hash(&key)?;
        match self.get_mut(hash, &key, &at) {
            Some(old) => *old = value,
            None => {
                self.insert_new(hash, &key, at, Held { born: RESTORED, stamp: RESTORED, value });
            }
        }
        Ok(())
    }

    fn restored(&mut self) {
        // What a chain of parts rewrote has a later stamp than what it brought: the base takes in
        // both.
        self.base = self.generation;
        self.generation += 1;
        self.removed.clear();
    }
}

/// Captured entries of a [`MapState`].
pub(in crate::state) struct MapChunk<K, A, B> {
    pub(in crate::state) entries: Vec<(K, A, B)>,
    pub(in crate::state) removed: Vec<(K, A)>,
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
