//! [`Blocks`]: fourteen entries each and the heads that find them: what a
//! [`super::segment::Segment`] is made of.
//!
//! A head holds a tag of each entry's hash side by side, so that one comparison says which entries
//! a key can be, and their ages. Heads lie together, apart from the entries: an eighth of the
//! memory of entries of 16 bytes, so that they stay in a nearer cache, and a search fetches one
//! line from afar. Invariant: a slot is initialised exactly where its tag is not 0.

mod head;

use std::mem::{self, MaybeUninit};
use std::ptr;

use head::Head;
pub(super) use head::{LANES, OLD, tag};

type Slots<K, V> = [MaybeUninit<(K, V)>; LANES];

/// A block. A lane is a number below [`LANES`].
pub(super) struct Block<'a, K, V> {
    pub(super) head: &'a Head,
    slots: &'a Slots<K, V>,
}

/// A block, to write to.
pub(super) struct BlockMut<'a, K, V> {
    pub(super) head: &'a mut Head,
    slots: &'a mut Slots<K, V>,
}

/// Where blocks begin, for as long as they live.
pub(super) struct Base<K, V> {
    heads: *mut Head,
    slots: *mut Slots<K, V>,
}

/// What a look at a block's head has found: the lanes that a key with this tag can be in.
pub(super) struct Look<K, V> {
    block: Base<K, V>,
    lanes: u32,
}

/// A row of blocks.
pub(super) struct Blocks<K, V> {
    base: Base<K, V>,
    len: usize,
}

impl<'a, K, V> Block<'a, K, V> {
    /// The lane of a key with this tag.
    #[inline(always)]
    pub(super) fn find(&self, tag: u8, key: &K) -> Option<usize>
    where
        K: PartialEq,
    {
        let mut lanes = self.head.lanes(tag);
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            // SAFETY: a bit below `LANES`, of a lane whose tag equals one that is not 0, so it is
            // initialised.
            if unsafe { self.slots.get_unchecked(lane).assume_init_ref() }.0 == *key {
                return Some(lane);
            }
            lanes &= lanes - 1;
        }
        None
    }

    /// The entry of a lane that is in use.
    #[inline(always)]
    pub(super) fn entry(&self, lane: usize) -> &'a (K, V) {
        assert!(self.head.is_used(lane), "a free lane was read");
        // SAFETY: its tag is not 0, so it is initialised.
        unsafe { self.slots[lane].assume_init_ref() }
    }

    /// The entries.
    pub(super) fn entries(self) -> impl Iterator<Item = &'a (K, V)> {
        self.head.used().map(move |lane| self.entry(lane))
    }
}

impl<'a, K, V> BlockMut<'a, K, V> {
    fn read(&self) -> Block<'_, K, V> {
        Block { head: self.head, slots: self.slots }
    }

    /// The value of a key with this tag, to write to, if it has this age.
    #[inline(always)]
    pub(super) fn fresh(self, tag: u8, age: u8, key: &K) -> Option<&'a mut V>
    where
        K: PartialEq,
    {
        let lane = self.read().find(tag, key)?;
        // SAFETY: `find` returns lanes below `LANES` that are in use, so initialised.
        unsafe {
            (*self.head.ages.get_unchecked(lane) == age)
                .then(|| &mut self.slots.get_unchecked_mut(lane).assume_init_mut().1)
        }
    }

    /// The entry of a lane that is in use.
    #[inline(always)]
    pub(super) fn entry(self, lane: usize) -> &'a mut (K, V) {
        assert!(self.head.is_used(lane), "a free lane was written to");
        // SAFETY: its tag is not 0, so it is initialised.
        unsafe { self.slots[lane].assume_init_mut() }
    }

    /// Whether no key with this tag belongs here.
    #[inline(always)]
    pub(super) fn is_absent(&self, tag: u8) -> bool {
        self.head.lanes(tag) == 0 && !self.head.has_spilled()
    }

    /// Whether a lane is free.
    #[inline(always)]
    pub(super) fn has_room(&self) -> bool {
        self.head.lanes(0) != 0
    }

    /// Puts an entry into a free lane, of which there must be one.
    #[inline(always)]
    pub(super) fn put_in_room(self, tag: u8, age: u8, entry: (K, V)) -> &'a mut (K, V) {
        let lane = self.head.lanes(0).trailing_zeros() as usize;
        self.head.tags[lane] = tag;
        self.head.ages[lane] = age;
        self.slots[lane].write(entry)
    }

    /// Puts an entry into a free lane, if there is one, and says which.
    #[inline]
    pub(super) fn put(self, tag: u8, age: u8, entry: (K, V)) -> Result<usize, (K, V)> {
        let free = self.head.lanes(0);
        if free == 0 {
            return Err(entry);
        }
        let lane = free.trailing_zeros() as usize;
        self.slots[lane].write(entry);
        self.head.tags[lane] = tag;
        self.head.ages[lane] = age;
        Ok(lane)
    }

    /// Takes an entry out.
    pub(super) fn take(self, lane: usize) -> Option<(K, V)> {
        if !self.head.is_used(lane) {
            return None;
        }
        self.head.tags[lane] = 0;
        // SAFETY: its tag was not 0, so it is initialised; now that it is 0, nobody reads it again.
        Some(unsafe { self.slots[lane].assume_init_read() })
    }

    /// The entries.
    pub(super) fn entries(self) -> impl Iterator<Item = &'a mut (K, V)> {
        let used = self.head.tags.iter().zip(self.slots).filter(|(tag, _)| **tag != 0);
        // SAFETY: its tag is not 0, so it is initialised.
        used.map(|(_, slot)| unsafe { slot.assume_init_mut() })
    }

    /// Drops all entries. Those that need no drop are not even read.
    pub(super) fn clear(self) {
        if mem::needs_drop::<(K, V)>() {
            self.drain().for_each(drop);
        } else {
            (self.head.tags, self.head.spilled) = ([0; 16], 0);
        }
    }

    /// Takes all entries out. The caller reads to the end: what it leaves is never dropped.
    pub(super) fn drain(self) -> impl Iterator<Item = (K, V)> + use<'a, K, V> {
        let Self { head, slots } = self;
        head.spilled = 0;
        let tags = mem::take(&mut head.tags);
        let used = (0..LANES).filter(move |lane| tags[*lane] != 0);
        // SAFETY: its tag was not 0, so it is initialised; the new head says that it is not.
        used.map(|lane| unsafe { slots[lane].assume_init_read() })
    }
}

impl<K, V> Clone for Base<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Base<K, V> {}

// SAFETY: it is of use only to who may touch the blocks, see `at` and `at_mut`.
unsafe impl<K: Send, V: Send> Send for Base<K, V> {}

impl<K, V> Base<K, V> {
    /// # Safety
    /// The blocks live as long as the result, there are more than `at` of them, and nobody writes
    /// to this one meanwhile.
    #[inline(always)]
    pub(super) unsafe fn at<'a>(self, at: usize) -> Block<'a, K, V> {
        // SAFETY: the caller's promise.
        unsafe { Block { head: &*self.heads.add(at), slots: &*self.slots.add(at) } }
    }

    /// # Safety
    /// As for [`Self::at`], and nobody reads it either.
    #[inline(always)]
    pub(super) unsafe fn at_mut<'a>(self, at: usize) -> BlockMut<'a, K, V> {
        // SAFETY: the caller's promise.
        unsafe { BlockMut { head: &mut *self.heads.add(at), slots: &mut *self.slots.add(at) } }
    }

    /// # Safety
    /// As for [`Self::at`], while it looks.
    #[inline(always)]
    pub(super) unsafe fn look(self, at: usize, tag: u8) -> Look<K, V> {
        // SAFETY: the caller's promise.
        unsafe {
            let block = Self { heads: self.heads.add(at), slots: self.slots.add(at) };
            Look { block, lanes: (*block.heads).lanes(tag) }
        }
    }

    /// Loads the head of a block into the cache.
    #[inline(always)]
    pub(super) fn prefetch(self, at: usize) {
        super::prefetch::read(self.heads.wrapping_add(at));
    }
}

impl<K, V> Clone for Look<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Look<K, V> {}

impl<K, V> Look<K, V> {
    /// Nothing was looked at, and nothing found.
    pub(super) const NONE: Self =
        Self { block: Base { heads: ptr::null_mut(), slots: ptr::null_mut() }, lanes: 0 };

    /// Loads the slot into the cache, most likely.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        let slots = self.block.slots.cast::<(K, V)>();
        super::prefetch::read(slots.wrapping_add(self.lanes.trailing_zeros() as usize));
    }

    /// The value of a key with the tag that was looked for, to write to, if it has this age.
    ///
    /// # Safety
    /// The block still lives, no entry has been taken out of it since the look, and nobody uses it
    /// for as long as the result lives.
    #[inline(always)]
    pub(super) unsafe fn fresh<'a>(self, age: u8, key: &K) -> Option<&'a mut V>
    where
        K: PartialEq + 'a,
        V: 'a,
    {
        let mut lanes = self.lanes;
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            // SAFETY: the caller's promise; the lane is below `LANES` and was in use, so it is
            // initialised.
            unsafe {
                let entry = (*self.block.slots).get_unchecked_mut(lane).assume_init_mut();
                if entry.0 == *key {
                    let is_fresh = *(*self.block.heads).ages.get_unchecked(lane) == age;
                    return is_fresh.then_some(&mut entry.1);
                }
            }
            lanes &= lanes - 1;
        }
        None
    }
}

impl<K, V> Blocks<K, V> {
    /// So many blocks without entries.
    pub(super) fn empty(len: usize) -> Self {
        let heads: Box<[Head]> = (0..len).map(|_| Head::EMPTY).collect();
        let slots = Box::<[Slots<K, V>]>::new_uninit_slice(len);
        let base = Base { heads: Box::into_raw(heads).cast(), slots: Box::into_raw(slots).cast() };
        Self { base, len }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The memory they take, without what their entries have elsewhere.
    pub(super) fn bytes(&self) -> usize {
        self.len * (size_of::<Head>() + size_of::<Slots<K, V>>())
    }

    pub(super) fn base(&self) -> Base<K, V> {
        self.base
    }

    #[inline(always)]
    pub(super) fn at(&self, at: usize) -> Block<'_, K, V> {
        assert!(at < self.len, "there is no such block");
        // SAFETY: there is such a block, and it is borrowed through `self`.
        unsafe { self.base.at(at) }
    }

    #[inline(always)]
    pub(super) fn at_mut(&mut self, at: usize) -> BlockMut<'_, K, V> {
        assert!(at < self.len, "there is no such block");
        // SAFETY: as above.
        unsafe { self.base.at_mut(at) }
    }

    /// All blocks.
    pub(super) fn iter(&self) -> impl Iterator<Item = Block<'_, K, V>> {
        (0..self.len).map(|at| self.at(at))
    }

    /// All blocks, to write to.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = BlockMut<'_, K, V>> {
        let (base, len) = (self.base, self.len);
        // SAFETY: there are as many; each is handed out once, for as long as `self` is borrowed.
        (0..len).map(move |at| unsafe { base.at_mut(at) })
    }
}

impl<K, V> Drop for Blocks<K, V> {
    fn drop(&mut self) {
        if mem::needs_drop::<(K, V)>() {
            self.iter_mut().flat_map(BlockMut::drain).for_each(drop);
        }
        let heads = ptr::slice_from_raw_parts_mut(self.base.heads, self.len);
        let slots = self.base.slots.cast::<MaybeUninit<Slots<K, V>>>();
        let slots = ptr::slice_from_raw_parts_mut(slots, self.len);
        // SAFETY: both were boxes of this length, see `empty`, and nobody uses them after this.
        unsafe {
            drop(Box::from_raw(heads));
            drop(Box::from_raw(slots));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn each_entry_is_dropped_once_wherever_it_ends() {
        let counted = Rc::new(());
        let mut blocks = Blocks::empty(2);
        for key in 0..LANES {
            let entry = (key, Rc::clone(&counted));
            blocks.at_mut(1).put(tag((key as u64) << 33), 3, entry).unwrap();
        }
        assert!(blocks.at_mut(1).put(tag(0), 3, (9, Rc::clone(&counted))).is_err());
        assert_eq!(Rc::strong_count(&counted), LANES + 1);
        drop(blocks.at_mut(1).take(2));
        assert!(blocks.at_mut(1).take(2).is_none());
        assert_eq!(Rc::strong_count(&counted), LANES);
        let left: Vec<_> = (0..LANES).filter(|key| *key != 2).collect();
        let entries = blocks.iter().flat_map(Block::entries);
        assert_eq!(entries.map(|entry| entry.0).collect::<Vec<_>>(), left);
        drop(blocks);
        assert_eq!(Rc::strong_count(&counted), 1);
    }

    #[test]
    fn the_head_knows_tags_ages_and_spills_apart() {
        let mut blocks = Blocks::empty(1);
        let (one, other) = (tag(0xff << 32), tag(7 << 32));
        blocks.at_mut(0).put(one, 255, (1, ())).unwrap();
        blocks.at_mut(0).put(other, OLD, (2, ())).unwrap();
        blocks.at_mut(0).put(other, 1, (3, ())).unwrap();
        blocks.at_mut(0).head.spill();
        let found = |blocks: &Blocks<_, _>, key| {
            (blocks.at(0).find(one, &key), blocks.at(0).find(other, &key))
        };
        assert_eq!(found(&blocks, 1), (Some(0), None));
        assert_eq!(found(&blocks, 3), (None, Some(2)));
        assert!(blocks.at_mut(0).fresh(other, 1, &3).is_some());
        assert!(blocks.at_mut(0).fresh(other, 1, &2).is_none());
        let head = blocks.at_mut(0).head;
        head.set_age(0, OLD);
        assert_eq!((head.age(0), head.age(1), head.age(2)), (OLD, OLD, 1));
        assert!(head.has_spilled());
        head.unspill();
        assert!(!head.has_spilled());
        assert_eq!(found(&blocks, 1), (Some(0), None));
        assert_ne!(tag(0), 0);
    }
}
