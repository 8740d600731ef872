//! What captures see of a [`Table`].
//!
//! Started and driven by [`crate::snapshot`], through the state that the table is in. Invariant:
//! saved and scanned entries, and those that were outside at the cut, are together the state as it
//! was then.

use std::mem;

use millstream_protocol::id::Epoch;

use super::{Data, Key, RESTORED, Table};
use crate::state::block::LANES;
use crate::state::chunk::{Chunk as _, TableChunk};
use crate::state::segment::{AGES, Segment, age_of};
use crate::state::tier::OutsideChunk;

/// The entries of a slice have at most so many bytes, and those of a segment more.
const SLICE_BYTES: usize = 1 << 20;

/// A capture under way.
pub(super) struct Capture<K, V> {
    epoch: Epoch,
    generation: u32,
    /// Entries stamped later than this are taken.
    base: u32,
    next_segment: usize,
    next_removed: usize,
    saved: Vec<(K, V)>,
    /// What was outside at the cut.
    outside: Option<OutsideChunk>,
}

impl<K: Key, V: Data> Capture<K, V> {
    /// Takes what is wanted of a segment, unless it was taken before. Returns how many slots it
    /// looked at.
    fn take(&self, segment: &mut Segment<K, V>, now: u32, into: &mut Vec<(K, V)>) -> usize {
        if segment.scanned >= self.generation {
            return 0;
        }
        segment.scanned = self.generation;
        let is_stale = now - segment.floor > AGES / 2;
        if segment.newest <= self.base && !is_stale {
            return 0;
        }
        let range = self.base + 1..=self.generation;
        let wanted = segment.stamped(now).filter(|(stamp, _)| range.contains(stamp));
        into.extend(wanted.map(|(_, entry)| entry.clone()));
        if is_stale {
            let old = if self.base == 0 { self.generation } else { self.base };
            segment.forget(now, old, None);
        }
        segment.block_count() * LANES
    }

    /// Keeps an entry that is about to change, and was last written to in the generation `stamp`,
    /// if it is wanted and its segment is not taken yet.
    pub(super) fn keep_old(&mut self, scanned: u32, stamp: u32, entry: &(K, V)) {
        if scanned < self.generation && stamp > self.base {
            self.saved.push(entry.clone());
        }
    }
}

impl<K: Key, V: Data> Table<K, V> {
    /// Says that the content equals a published snapshot, so that the next capture may hold changes
    /// only.
    pub(crate) fn restored(&mut self) {
        self.base = RESTORED;
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
        let (base, generation) = (self.base, self.generation);
        self.forget_ages();
        self.capture = Some(Capture {
            epoch,
            generation,
            base,
            next_segment: 0,
            next_removed: 0,
            saved: self.spare.take(),
            outside: self.freeze_outside(base, generation, full),
        });
        self.in_flight = Some((epoch, generation));
        self.generation += 1;
        self.age = age_of(self.generation);
    }

    /// Sees to it that no age is about to mean a later generation. A scan does so in passing; here
    /// it is left to do where the scans of many captures were broken off.
    pub(super) fn forget_ages(&mut self) {
        let now = self.generation;
        // A full capture takes all, so that they need not be told apart.
        let old = if self.base == 0 { now } else { self.base };
        for segment in &mut self.segments {
            if now - segment.floor + 1 >= AGES {
                segment.forget(now, old, Some(now));
            }
        }
    }

    /// Whether a scan is under way.
    pub(crate) fn is_capturing(&self) -> bool {
        self.capture.is_some()
    }

    /// Takes about `budget` more slots of the capture; `None` when all is taken.
    pub(crate) fn scan(&mut self, budget: &mut usize) -> Option<TableChunk<K, V>> {
        let capture = self.capture.as_mut()?;
        // What is saved from here on gets memory that holds a slice as well: it becomes the next.
        let entries = mem::replace(&mut capture.saved, self.spare.take());
        let spare = self.spare.clone();
        let mut chunk = TableChunk { entries, removed: Vec::new(), outside: None, spare };
        if capture.base > 0 {
            let from = capture.next_removed;
            let wanted = self.removed[from..].iter().take(*budget);
            let wanted = wanted.take_while(|(_, stamp)| *stamp <= capture.generation);
            chunk.removed.extend(wanted.map(|(key, _)| key.clone()));
            capture.next_removed += chunk.removed.len();
            *budget -= chunk.removed.len();
        }
        // Large entries are taken in smaller slices, and small ones get room for all at once:
        // memory that is taken anew may have to be cleared first.
        *budget = (*budget).min((SLICE_BYTES / size_of::<(K, V)>().max(1)).max(1));
        chunk.entries.reserve((*budget).min(self.len));
        while *budget > 0 && capture.next_segment < self.segments.len() {
            let segment = &mut self.segments[capture.next_segment];
            capture.next_segment += 1;
            let looked_at = capture.take(segment, self.generation, &mut chunk.entries);
            *budget = budget.saturating_sub(looked_at);
        }
        if *budget > 0 && capture.next_segment == self.segments.len() {
            if let Some(capture) = self.capture.take() {
                self.spare.put(capture.saved);
                chunk.outside = capture.outside;
            }
            return (!chunk.is_empty()).then_some(chunk);
        }
        Some(chunk)
    }

    /// Takes what the capture wants of a segment before entries leave it.
    pub(super) fn scan_before_leaving(&mut self, at: usize) {
        if let Some(capture) = &mut self.capture {
            let mut saved = mem::take(&mut capture.saved);
            capture.take(&mut self.segments[at], self.generation, &mut saved);
            capture.saved = saved;
        }
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
            self.forget_changed(generation);
        }
    }
}
