//! [`Segment`]: a stretch of slots of a [`super::Table`], probed linearly.

use std::mem;
use std::num::NonZeroU32;

use crate::data::Key;

/// An entry in its place.
pub(super) struct Slot<K, V> {
    pub(super) hash: u32,
    pub(super) stamp: NonZeroU32,
    pub(super) key: K,
    pub(super) value: V,
}

/// A stretch of slots that grows alone.
pub(super) struct Segment<K, V> {
    pub(super) slots: Box<[Option<Slot<K, V>>]>,
    pub(super) len: usize,
    pub(super) depth: u32,
    /// The newest stamp in it: a scan passes over segments that nobody wrote to.
    pub(super) newest: u32,
    /// The generation up to which a scan has taken it.
    pub(super) scanned: u32,
}

pub(super) fn empty_slots<K, V>(count: usize) -> Box<[Option<Slot<K, V>>]> {
    (0..count).map(|_| None).collect()
}

impl<K: Key, V> Segment<K, V> {
    pub(super) fn new(slots: usize, depth: u32, scanned: u32) -> Self {
        Self { slots: empty_slots(slots), len: 0, depth, newest: 0, scanned }
    }

    /// The slot that holds the key, or the free one where it belongs.
    #[inline(always)]
    pub(super) fn find(&self, hash: u32, key: &K) -> (usize, bool) {
        let mask = self.slots.len() - 1;
        let mut index = hash as usize & mask;
        loop {
            // SAFETY: the number of slots is a power of two, so a masked index is below it.
            match unsafe { self.slots.get_unchecked(index) } {
                None => return (index, false),
                Some(slot) if slot.hash == hash && slot.key == *key => return (index, true),
                Some(_) => index = (index + 1) & mask,
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len >= self.slots.len() / 4 * 3
    }

    pub(super) fn place(&mut self, slot: Slot<K, V>) {
        let mask = self.slots.len() - 1;
        let mut index = slot.hash as usize & mask;
        while self.slots[index].is_some() {
            index = (index + 1) & mask;
        }
        self.newest = self.newest.max(slot.stamp.get());
        self.slots[index] = Some(slot);
        self.len += 1;
    }

    pub(super) fn double(&mut self) {
        let slots = empty_slots(self.slots.len() * 2);
        let old = mem::replace(&mut self.slots, slots);
        self.len = 0;
        for slot in old.into_vec().into_iter().flatten() {
            self.place(slot);
        }
    }

    /// Takes the entry out and closes the gap, so that later probes need no grave marker.
    pub(super) fn take(&mut self, index: usize) -> Option<Slot<K, V>> {
        let taken = self.slots[index].take()?;
        self.len -= 1;
        let mask = self.slots.len() - 1;
        let (mut gap, mut next) = (index, (index + 1) & mask);
        while let Some(slot) = &self.slots[next] {
            let home = slot.hash as usize & mask;
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(gap) & mask) {
                self.slots.swap(gap, next);
                gap = next;
            }
            next = (next + 1) & mask;
        }
        Some(taken)
    }
}
