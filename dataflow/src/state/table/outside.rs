//! What a [`Table`] has outside of memory: how entries go out, and come in again.
//!
//! Written to and read from a [`Tier`]. Only ways that have found no entry in memory, or no room,
//! lead here. Entries leave a full segment where the table may not grow: those that have not been
//! written to for the longest. Invariant: an entry is in memory or outside, never in both.
//!
//! The operators' calls that lead here return no results. A failure of the disk goes to the run
//! loop as an unwinding, which it knows from a panic: nothing behind it runs, as in [`crate::task`]
//! for every error.

use std::mem;
use std::panic::resume_unwind;

use super::{Data, Key, RESTORED, Table};
use crate::error::{Error, Result};
use crate::state::block::{LANES, OLD};
use crate::state::segment::{AGES, age_of, hash_again, stamp_of};
use crate::state::tier::{GROUP_BYTES, OutsideChunk, Tier, Wanted, Writes, split_stamp};

/// The part of a segment's entries that leave together: fewer cost more passes over it, more leave
/// more of it unused.
const LEAVE_PART: usize = 4;
/// Entries of a table whose size is looked at in one go.
const SAMPLE: usize = 8;
/// Looks for too large a table are this many calls apart.
const LOOK_EVERY: u32 = 16;
/// What an entry takes on the heap, as far as can be told: a little for each allocation, and its
/// bytes in postcard twice, because that writes small numbers shorter, and vectors have room to
/// grow.
const HEAP_BYTES: usize = 32;
const HEAP_FACTOR: usize = 2;

/// What of a table is outside.
pub(super) struct Outside {
    tier: Tier,
    /// In front of each key.
    prefix: Vec<u8>,
    /// How many entries.
    count: usize,
    /// How many of them stand in the index of changes, and how many did at the last cut.
    changed: usize,
    changed_at_cut: usize,
    /// Bytes of memory that are accounted for.
    held: usize,
    /// Bytes that an entry takes on the heap, estimated.
    heap_each: usize,
    /// Segments that entries have left since the generation was last raised for it.
    left: usize,
    /// The segment that is looked at next.
    turn: usize,
    calls: u32,
}

impl Outside {
    fn account_for(&mut self, bytes: usize) {
        if bytes > self.held {
            self.tier.account.take(bytes - self.held);
        } else {
            self.tier.account.give_back(self.held - bytes);
        }
        self.held = bytes;
    }

    fn apply(&self, writes: &Writes) {
        or_unwind(self.tier.below.apply(writes));
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.account_for(0);
    }
}

/// Ends what the task does now, with this error.
fn or_unwind<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error: Error| resume_unwind(Box::new(error)))
}

impl<K: Key, V: Data> Table<K, V> {
    /// Bounds the memory of the table, which is empty: entries that find no room go to this tier.
    pub(crate) fn bound(&mut self, tier: Tier, prefix: Vec<u8>) {
        let outside = Outside {
            tier,
            prefix,
            count: 0,
            changed: 0,
            changed_at_cut: 0,
            held: 0,
            heap_each: 0,
            left: 0,
            turn: 0,
            calls: 0,
        };
        self.outside = Some(Box::new(outside));
        self.reckon();
    }

    /// Whether it has a tier.
    #[cfg(test)]
    pub(crate) fn is_bounded(&self) -> bool {
        self.outside.is_some()
    }

    /// Brings the account up to date.
    fn reckon(&mut self) {
        let blocks: usize = self.segments.iter().map(|segment| segment.blocks.bytes()).sum();
        let in_memory = self.in_memory();
        if let Some(outside) = &mut self.outside {
            outside.account_for(blocks + in_memory * outside.heap_each);
        }
    }

    /// How many entries are in memory.
    fn in_memory(&self) -> usize {
        self.len - self.outside.as_ref().map_or(0, |outside| outside.count)
    }

    /// Whether a segment may get as many blocks more as it has.
    pub(super) fn may_grow(&mut self, at: usize) -> bool {
        self.look_at_sizes(at);
        self.reckon();
        let blocks = &self.segments[at].blocks;
        let Some(outside) = &mut self.outside else { return true };
        let bytes = blocks.bytes() + blocks.len() * LANES / 2 * outside.heap_each;
        let may = outside.tier.account.try_take(bytes);
        outside.held += if may { bytes } else { 0 };
        may
    }

    /// Learns from some entries of a segment how much memory one takes.
    fn look_at_sizes(&mut self, at: usize) {
        if !mem::needs_drop::<(K, V)>() {
            return;
        }
        let Some(outside) = &mut self.outside else { return };
        let (mut bytes, mut seen) = (Vec::new(), 0);
        for entry in self.segments[at].entries().take(SAMPLE) {
            bytes = or_unwind(postcard::to_extend(entry, bytes).map_err(Error::from));
            seen += 1;
        }
        if let Some(each) = bytes.len().checked_div(seen) {
            let each = HEAP_BYTES + HEAP_FACTOR * each;
            // Half of what was thought before: one entry of another size says little.
            let before = outside.heap_each;
            outside.heap_each = if before == 0 { each } else { before.midpoint(each) };
        }
    }

    /// To be called now and then: values that grow where they are ask nobody for room. Moves
    /// entries out while the table is too large.
    pub(crate) fn shrink(&mut self) {
        let Some(outside) = &mut self.outside else { return };
        outside.calls = outside.calls.wrapping_add(1);
        if !mem::needs_drop::<(K, V)>() || !outside.calls.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let segments = self.segments.len();
        for _ in 0..segments {
            let Some(outside) = &mut self.outside else { return };
            let at = outside.turn % segments;
            outside.turn = at + 1;
            self.look_at_sizes(at);
            self.reckon();
            if !self.outside.as_ref().is_some_and(|outside| outside.tier.account.is_over()) {
                return;
            }
            self.move_out(at);
            self.reckon();
        }
    }

    /// The newest generation that no next capture needs to tell from those before.
    fn settled_generation(&self) -> u32 {
        match (self.base, self.in_flight) {
            (0, Some((_, generation))) => generation,
            // The next capture is a full one.
            (0, None) => self.generation,
            (base, _) => base,
        }
    }

    /// Moves a part of the entries of a segment out: those written to the longest ago, but not
    /// those that came in since the last time.
    #[cold]
    #[inline(never)]
    pub(super) fn move_out(&mut self, at: usize) {
        self.scan_before_leaving(at);
        let settled = self.settled_generation();
        let leaving = self.segments[at].oldest(self.generation, LEAVE_PART, self.grown);
        let Some(outside) = &mut self.outside else { return };
        let segment = &mut self.segments[at];
        let mut writes = Writes::default();
        let mut value = Vec::new();
        for index in leaving {
            let stamp = stamp_of(segment.age(index), self.generation);
            let hash = hash_again(&segment.entry(index).0);
            let Some(entry) = segment.take(hash, index) else { continue };
            let key = or_unwind(outside.tier.key(&outside.prefix, hash, &entry.0));
            value.clear();
            value.extend(stamp.to_le_bytes());
            value = or_unwind(postcard::to_extend(&entry.1, value).map_err(Error::from));
            writes.put(outside.tier.family, &key, &value);
            if stamp > settled {
                let group_key = &key[outside.prefix.len()..];
                let place = outside.tier.changed_key(&outside.prefix, stamp, group_key);
                writes.put(outside.tier.changed, &place, &[]);
                outside.changed += 1;
            }
            outside.count += 1;
        }
        segment.has_outside = true;
        // Where entries stood before says nothing any more.
        self.grown = self.grown.wrapping_add(1);
        outside.apply(&writes);
        outside.left += 1;
        if outside.left >= self.segments.len() {
            outside.left = 0;
            self.raise_generation();
        }
    }

    /// Entries that are not written to from here on are older than those that are. Left out while a
    /// capture has still to tell generations apart.
    fn raise_generation(&mut self) {
        if self.capture.is_some() || self.in_flight.is_some() || self.generation == RESTORED {
            return;
        }
        self.forget_ages();
        self.generation += 1;
        self.age = age_of(self.generation);
    }

    /// Brings an entry in that is not in memory, if it is outside; says where it is then.
    #[cold]
    #[inline(never)]
    pub(super) fn bring_in(&mut self, hash: u64, key: &K) -> Option<(usize, usize)> {
        let settled = self.settled_generation();
        let outside = self.outside.as_mut()?;
        if outside.count == 0 {
            return None;
        }
        let tier = &outside.tier;
        let place = or_unwind(tier.key(&outside.prefix, hash, key));
        let mut found = None;
        or_unwind(tier.below.get(tier.family, &place, &mut |stored| {
            found = Some(
                split_stamp(stored)
                    .and_then(|(stamp, value)| Ok((stamp, postcard::from_bytes::<V>(value)?))),
            );
        }));
        let (stamp, value) = or_unwind(found?.map_err(as_corrupt));
        let mut writes = Writes::default();
        writes.remove(tier.family, &place);
        if stamp > settled {
            let group_key = &place[outside.prefix.len()..];
            writes.remove(tier.changed, &tier.changed_key(&outside.prefix, stamp, group_key));
            outside.changed = outside.changed.saturating_sub(1);
        }
        outside.apply(&writes);
        outside.count -= 1;
        let at = self.segment_of(hash);
        let at = if self.segments[at].is_full() { self.make_room(hash) } else { at };
        let is_told_apart = stamp > settled && self.generation - stamp + 1 < AGES;
        let age = match stamp <= settled {
            true => OLD,
            false if is_told_apart => age_of(stamp),
            // As if it had been written to just now: it is captured once more than it need be.
            false => self.age,
        };
        let segment = &mut self.segments[at];
        segment.newest = segment.newest.max(stamp_of(age, self.generation));
        if age != OLD {
            segment.floor = segment.floor.min(stamp_of(age, self.generation));
        }
        let index = segment.insert(hash, age, (key.clone(), value));
        segment.keep_for_now(index);
        Some((at, index))
    }

    /// What is outside at the cut, for a capture of this generation.
    pub(super) fn freeze_outside(
        &mut self,
        base: u32,
        generation: u32,
        full: bool,
    ) -> Option<OutsideChunk> {
        if full && self.outside.as_ref().is_some_and(|outside| outside.changed > 0) {
            self.remove_from_index(generation);
        }
        let outside = self.outside.as_mut()?;
        if full {
            outside.changed = 0;
        }
        outside.changed_at_cut = outside.changed;
        let entries = if full { outside.count } else { outside.changed };
        (outside.count > 0).then(|| OutsideChunk {
            tier: outside.tier.clone(),
            prefix: outside.prefix.clone(),
            frozen: outside.tier.below.clone().freeze(),
            wanted: if full { Wanted::All } else { Wanted::Written(base, generation) },
            entries,
        })
    }

    /// No later capture needs to know what was changed in this generation, that of the last cut,
    /// and before.
    pub(super) fn forget_changed(&mut self, generation: u32) {
        let Some(outside) = &mut self.outside else { return };
        let gone = mem::take(&mut outside.changed_at_cut);
        outside.changed = outside.changed.saturating_sub(gone);
        if gone > 0 {
            self.remove_from_index(generation);
        }
    }

    fn remove_from_index(&self, last: u32) {
        let Some(outside) = &self.outside else { return };
        let place = |generation| outside.tier.changed_key(&outside.prefix, generation, &[]);
        let mut writes = Writes::default();
        writes.remove_range(outside.tier.changed, &place(0), &place(last + 1));
        outside.apply(&writes);
    }

    /// Walks over what is outside from a place on, as far as the budget goes, and moves the place.
    /// Whether there is more. Entries that come in or go out meanwhile may be passed over.
    pub(crate) fn walk_outside(
        &self,
        from: &mut Vec<u8>,
        budget: &mut usize,
        mut each: impl FnMut(&K, &V),
    ) -> Result<bool> {
        let Some(outside) = self.outside.as_ref().filter(|outside| outside.count > 0) else {
            return Ok(false);
        };
        let tier = &outside.tier;
        let (first, to) = tier.bounds(&outside.prefix);
        let start = if from.is_empty() { first } else { mem::take(from) };
        let key_at = outside.prefix.len() + GROUP_BYTES;
        let mut more = false;
        tier.below.clone().freeze().walk(tier.family, &start, &to, &mut |key, stored| {
            if *budget == 0 {
                from.extend_from_slice(key);
                more = true;
                return Ok(false);
            }
            *budget -= 1;
            let (_, value) = split_stamp(stored)?;
            let key = key.get(key_at..).unwrap_or_default();
            let (key, value) = (postcard::from_bytes(key)?, postcard::from_bytes(value)?);
            each(&key, &value);
            Ok(true)
        })?;
        Ok(more)
    }
}

fn as_corrupt(error: Error) -> Error {
    // The files are scratch: a restart from the snapshot writes new ones.
    error.with_kind(crate::error::Kind::Unavailable).context("local state cannot be read back")
}
