//! The loop that writes to a [`Table`] once per record of a batch: where keyed operators spend
//! their time.
//!
//! Two things make it fast. The block of a record is asked for while those before it are at work,
//! so that cache misses overlap. And an entry that was written to since the last cut is found by
//! one comparison of tag and age together; all else (a new key, the first write after a cut, an
//! entry that spilled into a further block) takes the long way.

use super::{Data, Key, Table};
use crate::state::block::{Base, Block, BlockMut, LANES, tag};
use crate::state::segment::{SEGMENT_BLOCKS, home};

/// Records whose blocks are asked for ahead of their use.
const HEADS_AHEAD: usize = 24;
/// Records whose heads have come by now and tell where the entry is, if the table is large: that
/// the processor itself cannot look so far ahead costs half the rate there.
const SLOTS_AHEAD: usize = 12;
/// From this size on a table is large.
const LARGE_BYTES: usize = 4 << 20;

impl<K: Key, V: Data> Table<K, V> {
    /// Where the blocks of the segment of a hash begin, and which of them the search starts in.
    #[inline(always)]
    fn place(&self, hash: u64) -> (Base<K, V>, usize) {
        // SAFETY: there are as many as places in the directory, a power of two, one more than the
        // mask says.
        let base = unsafe { *self.bases.get_unchecked(hash as usize & self.directory_mask) };
        (base, home(hash, self.mask))
    }

    /// The block where the search for a hash starts.
    #[inline(always)]
    fn home(&self, hash: u64) -> Block<'_, K, V> {
        let (base, at) = self.place(hash);
        // SAFETY: `bases` follows the segments wherever they get other blocks; `mask` is below the
        // number of blocks of each; they are borrowed through `self`.
        unsafe { base.at(at) }
    }

    #[inline(always)]
    fn home_mut(&mut self, hash: u64) -> BlockMut<'_, K, V> {
        let (base, at) = self.place(hash);
        // SAFETY: as above.
        unsafe { base.at_mut(at) }
    }

    /// Loads the head of the block of a hash into the cache.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        let (base, at) = self.place(hash);
        base.prefetch(at);
    }

    /// Whether it is larger than the caches near a core.
    #[inline]
    fn is_large(&self) -> bool {
        self.segments.len() > LARGE_BYTES / (SEGMENT_BLOCKS * LANES * size_of::<(K, V)>())
    }

    /// The value of a key, to write to; made by `init` where there is none.
    #[inline(always)]
    pub(crate) fn entry(&mut self, hash: u64, key: K, init: impl FnOnce() -> V) -> &mut V {
        // A pointer, because the borrow checker does not see that the long way has no use for what
        // the short one did not find.
        let age = self.age;
        let fresh = self.home_mut(hash).fresh(tag(hash), age, &key).map(std::ptr::from_mut);
        match fresh {
            // SAFETY: it points into the table, which is borrowed for as long as the result.
            Some(value) => unsafe { &mut *value },
            None => &mut self.entry_slow(hash, &key, init).0.1,
        }
    }

    /// Calls `each` with every key in turn (given with their hashes) and its value, which `init`
    /// makes where there is none, the item, and whether the value is new.
    #[inline(always)]
    pub(crate) fn update_all<T>(
        &mut self,
        (hashes, keys): (&[u64], &[K]),
        items: impl IntoIterator<Item = T>,
        init: impl Fn(&T) -> V,
        mut each: impl FnMut(&K, &mut V, T, bool),
    ) {
        let is_large = self.is_large();
        for hash in hashes.iter().take(HEADS_AHEAD) {
            self.prefetch(*hash);
        }
        for (index, ((hash, key), item)) in hashes.iter().zip(keys).zip(items).enumerate() {
            if let Some(ahead) = hashes.get(index + HEADS_AHEAD) {
                self.prefetch(*ahead);
            }
            if is_large && let Some(ahead) = hashes.get(index + SLOTS_AHEAD) {
                self.home(*ahead).prefetch_slot(tag(*ahead));
            }
            let age = self.age;
            if let Some(value) = self.home_mut(*hash).fresh(tag(*hash), age, key) {
                each(key, value, item, false);
            } else {
                let (entry, is_new) = self.entry_slow(*hash, key, || init(&item));
                each(key, &mut entry.1, item, is_new);
            }
        }
    }

    /// The entry of a key, to write to, made by `init` where there is none; and whether it was.
    #[inline(never)]
    fn entry_slow(&mut self, hash: u64, key: &K, init: impl FnOnce() -> V) -> (&mut (K, V), bool) {
        let at = self.segment_of(hash);
        if let Some(index) = self.segments[at].find(hash, key) {
            self.note_write(at, index);
            return (self.segments[at].entry_mut(index), false);
        }
        let (at, index) = self.insert(at, hash, (key.clone(), init()));
        (self.segments[at].entry_mut(index), true)
    }
}
