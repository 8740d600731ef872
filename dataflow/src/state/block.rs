//! [`Block`]: fourteen entries and the head that finds them, the smallest piece of a
//! [`super::segment::Segment`].
//!
//! The head holds a tag of each entry's hash side by side, so that one comparison says which
//! entries a key can be, and their ages; entries of 16 bytes and the head fill four cache lines,
//! with nothing stored per entry but two bytes. Invariant: a slot is initialised exactly where its
//! tag is not 0.

use std::mem::{self, MaybeUninit};

/// Entries of a block. With seven, more searches had to go on to a further block: a third
/// slower at 50 k keys (measured).
pub(super) const LANES: usize = 14;
const ALL: u32 = (1 << LANES) - 1;
/// An age older than any write that a next capture must hold.
pub(super) const OLD: u8 = 0;

/// Aligned, so that all tags are loaded at once.
#[repr(C, align(16))]
struct Head {
    /// 0 where the lane is free; the last two are no lanes.
    tags: [u8; 16],
    ages: [u8; LANES],
    /// Entries that found the block full and went on.
    spilled: u16,
}

/// See the module. A lane is a number below [`LANES`].
#[repr(C)]
pub(super) struct Block<K, V> {
    head: Head,
    slots: [MaybeUninit<(K, V)>; LANES],
}

impl<K, V> Default for Block<K, V> {
    fn default() -> Self {
        let head = Head { tags: [0; 16], ages: [OLD; LANES], spilled: 0 };
        Self { head, slots: [const { MaybeUninit::uninit() }; LANES] }
    }
}

/// The bits of a hash that tell entries of a block apart: none that place a key in a table, and
/// none of the uppermost, which are alike among all keys of a task. Never 0.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u8 {
    ((hash >> 32) as u8).max(1)
}

impl<K, V> Block<K, V> {
    /// The lanes with this tag, a bit each; 0 asks for the free ones.
    #[inline(always)]
    fn lanes(&self, tag: u8) -> u32 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor's base instructions; the head is aligned and starts with the tags.
        unsafe {
            use std::arch::x86_64::{
                __m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi8,
            };
            let tags = _mm_load_si128(std::ptr::from_ref(&self.head).cast::<__m128i>());
            let equal = _mm_cmpeq_epi8(tags, _mm_set1_epi8(tag as i8));
            _mm_movemask_epi8(equal) as u32 & ALL
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let tags = self.head.tags[..LANES].iter().enumerate();
            tags.fold(0, |lanes, (lane, at)| lanes | u32::from(*at == tag) << lane)
        }
    }

    /// The lane of a key with this tag.
    #[inline(always)]
    pub(super) fn find(&self, tag: u8, key: &K) -> Option<usize>
    where
        K: PartialEq,
    {
        let mut lanes = self.lanes(tag);
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

    /// The value of a key with this tag, to write to, if it has this age.
    #[inline(always)]
    pub(super) fn fresh(&mut self, tag: u8, age: u8, key: &K) -> Option<&mut V>
    where
        K: PartialEq,
    {
        let lane = self.find(tag, key)?;
        // SAFETY: `find` returns lanes below `LANES` that are in use, so initialised.
        unsafe {
            (*self.head.ages.get_unchecked(lane) == age)
                .then(|| &mut self.slots.get_unchecked_mut(lane).assume_init_mut().1)
        }
    }

    /// Loads the head into the cache.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        super::prefetch::read(&self.head);
    }

    /// Loads the slot of a tag into the cache, most likely.
    #[inline(always)]
    pub(super) fn prefetch_slot(&self, tag: u8) {
        let lane = self.lanes(tag).trailing_zeros() as usize;
        super::prefetch::read_at(self.slots.as_ptr().wrapping_add(lane));
    }

    #[inline(always)]
    fn is_used(&self, lane: usize) -> bool {
        self.head.tags[lane] != 0
    }

    /// When the entry was last written to, as an age.
    #[inline(always)]
    pub(super) fn age(&self, lane: usize) -> u8 {
        self.head.ages[lane]
    }

    /// Sets the age of an entry.
    #[inline(always)]
    pub(super) fn set_age(&mut self, lane: usize, age: u8) {
        self.head.ages[lane] = age;
    }

    /// Whether entries that belong here may be in the blocks behind it.
    #[inline(always)]
    pub(super) fn has_spilled(&self) -> bool {
        self.head.spilled != 0
    }

    /// An entry that belongs here, or passes on its way, goes to a block behind.
    pub(super) fn spill(&mut self) {
        self.head.spilled = self.head.spilled.saturating_add(1);
    }

    /// Such an entry is gone. A count that has reached its bound stays there.
    pub(super) fn unspill(&mut self) {
        self.head.spilled -= u16::from(self.head.spilled < u16::MAX);
    }

    /// The entry of a lane that is in use.
    #[inline(always)]
    pub(super) fn entry(&self, lane: usize) -> &(K, V) {
        assert!(self.is_used(lane), "a free lane was read");
        // SAFETY: its tag is not 0, so it is initialised.
        unsafe { self.slots[lane].assume_init_ref() }
    }

    /// The same, to write to.
    #[inline(always)]
    pub(super) fn entry_mut(&mut self, lane: usize) -> &mut (K, V) {
        assert!(self.is_used(lane), "a free lane was written to");
        // SAFETY: its tag is not 0, so it is initialised.
        unsafe { self.slots[lane].assume_init_mut() }
    }

    /// Puts an entry into a free lane, if there is one, and says which.
    #[inline]
    pub(super) fn put(&mut self, tag: u8, age: u8, entry: (K, V)) -> Result<usize, (K, V)> {
        let free = self.lanes(0);
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
    pub(super) fn take(&mut self, lane: usize) -> Option<(K, V)> {
        if !self.is_used(lane) {
            return None;
        }
        self.head.tags[lane] = 0;
        // SAFETY: its tag was not 0, so it is initialised; now that it is 0, nobody reads it again.
        Some(unsafe { self.slots[lane].assume_init_read() })
    }

    /// The lanes in use.
    pub(super) fn used(&self) -> impl Iterator<Item = usize> + use<K, V> {
        let mut lanes = !self.lanes(0) & ALL;
        std::iter::from_fn(move || {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes.wrapping_sub(1);
            (lane < LANES).then_some(lane)
        })
    }

    /// The entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = &(K, V)> {
        self.used().map(|lane| self.entry(lane))
    }

    /// The entries, to write to.
    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut (K, V)> {
        let Self { head, slots } = self;
        let used = head.tags.iter().zip(slots).filter(|(tag, _)| **tag != 0);
        // SAFETY: its tag is not 0, so it is initialised.
        used.map(|(_, slot)| unsafe { slot.assume_init_mut() })
    }

    /// Takes all entries out. The caller reads to the end: what it leaves is never dropped.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (K, V)> {
        let Self { head, slots } = self;
        head.spilled = 0;
        let tags = mem::take(&mut head.tags);
        let used = (0..LANES).filter(move |lane| tags[*lane] != 0);
        // SAFETY: its tag was not 0, so it is initialised; the new head says that it is not.
        used.map(|lane| unsafe { slots[lane].assume_init_read() })
    }
}

impl<K, V> Drop for Block<K, V> {
    fn drop(&mut self) {
        if mem::needs_drop::<(K, V)>() {
            self.drain().for_each(drop);
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
        let mut block = Block::default();
        for key in 0..LANES {
            block.put(tag((key as u64) << 33), 3, (key, Rc::clone(&counted))).unwrap();
        }
        assert!(block.put(tag(0), 3, (9, Rc::clone(&counted))).is_err());
        assert_eq!(Rc::strong_count(&counted), LANES + 1);
        drop(block.take(2));
        assert!(block.take(2).is_none());
        assert_eq!(Rc::strong_count(&counted), LANES);
        let left: Vec<_> = (0..LANES).filter(|key| *key != 2).collect();
        assert_eq!(block.entries().map(|entry| entry.0).collect::<Vec<_>>(), left);
        drop(block);
        assert_eq!(Rc::strong_count(&counted), 1);
    }

    #[test]
    fn the_head_knows_tags_ages_and_spills_apart() {
        let mut block = Block::default();
        let (one, other) = (tag(0xff << 32), tag(7 << 32));
        block.put(one, 255, (1, ())).unwrap();
        block.put(other, OLD, (2, ())).unwrap();
        block.put(other, 1, (3, ())).unwrap();
        block.spill();
        let found = |block: &Block<_, _>, key| (block.find(one, &key), block.find(other, &key));
        assert_eq!(found(&block, 1), (Some(0), None));
        assert_eq!(found(&block, 3), (None, Some(2)));
        assert!(block.fresh(other, 1, &3).is_some());
        assert!(block.fresh(other, 1, &2).is_none());
        block.set_age(0, OLD);
        assert_eq!((block.age(0), block.age(1), block.age(2)), (OLD, OLD, 1));
        assert_eq!((found(&block, 1), block.has_spilled()), ((Some(0), None), true));
        block.unspill();
        assert!(!block.has_spilled());
        assert_ne!(tag(0), 0);
    }
}
