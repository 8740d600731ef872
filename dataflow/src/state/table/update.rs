//! The loop that writes to a [`Table`] once per record of a batch: where keyed operators spend
//! their time.
//!
//! Two things make it fast. The head of a record's block is asked for, then looked at, which tells
//! the slot to ask for, and both while records before it are at work: so cache misses overlap, and
//! no branch that was guessed wrong on the way stops them. And the common case, an entry that was
//! written to since the last cut, costs little more than that; all else (a new key, the first write
//! after a cut, an entry that spilled into a further block) takes the long way.

use super::{Data, Key, Table};
use crate::state::block::{Base, BlockMut, Look, tag};
use crate::state::segment::home;

/// Records whose heads are asked for ahead of the look at them.
const HEADS_AHEAD: usize = 24;
/// Records that are looked for ahead of their use: their heads have come by now, and the processor
/// itself cannot look so far ahead.
const LOOKS_AHEAD: usize = 12;
/// Looks that are kept: more than [`LOOKS_AHEAD`], a power of two.
const LOOKS: usize = 16;

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
    fn home_mut(&mut self, hash: u64) -> BlockMut<'_, K, V> {
        let (base, at) = self.place(hash);
        // SAFETY: `bases` follows the segments wherever they get other blocks; `mask` is below the
        // number of blocks of each; they are borrowed through `self`.
        unsafe { base.at_mut(at) }
    }

    /// Loads the head of the block of a hash into the cache.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        let (base, at) = self.place(hash);
        base.prefetch(at);
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

    /// Calls `each` with every key in turn (`hashes` are theirs) and its value, which `init` makes
    /// where there is none, the item, and whether the value is new.
    #[inline(always)]
    pub(crate) fn update_all<'a, T>(
        &mut self,
        hashes: &[u64],
        items: impl IntoIterator<Item = (&'a K, T)>,
        init: impl Fn(&T) -> V,
        mut each: impl FnMut(&K, &mut V, T, bool),
    ) {
        if !self.crowded.is_empty() {
            self.split_one();
        }
        self.defers = true;
        let age = self.age;
        let mut looks = [Look::NONE; LOOKS];
        // What a look found stays good until a segment grows or entries leave: what is added it
        // does not know, and the long way does.
        let mut grown = self.grown;
        hashes.iter().take(HEADS_AHEAD).for_each(|hash| self.prefetch(*hash));
        for (look, hash) in looks.iter_mut().zip(hashes).take(LOOKS_AHEAD) {
            *look = self.look(*hash);
        }
        for (index, (hash, (key, item))) in hashes.iter().zip(items).enumerate() {
            if let Some(ahead) = hashes.get(index + HEADS_AHEAD) {
                self.prefetch(*ahead);
            }
            if let Some(ahead) = hashes.get(index + LOOKS_AHEAD) {
                looks[(index + LOOKS_AHEAD) % LOOKS] = self.look(*ahead);
            }
            if grown != self.grown {
                grown = self.grown;
                for (at, hash) in hashes.iter().enumerate().skip(index).take(LOOKS_AHEAD + 1) {
                    looks[at % LOOKS] = self.look(*hash);
                }
            }
            // SAFETY: the segments are as they were when it was made, see `grown`; they are
            // borrowed through `self`, and no other reference into them lives.
            if let Some(value) = unsafe { looks[index % LOOKS].fresh(age, key) } {
                each(key, value, item, false);
            } else {
                let (entry, is_new) = self.entry_slow(*hash, key, || init(&item));
                each(key, &mut entry.1, item, is_new);
            }
        }
        self.defers = false;
    }

    /// Looks for a hash where its search starts, and asks for the slot of what it found.
    #[inline(always)]
    fn look(&self, hash: u64) -> Look<K, V> {
        let (base, at) = self.place(hash);
        // SAFETY: as for `home_mut`.
        let look = unsafe { base.look(at, tag(hash)) };
        look.prefetch();
        look
    }

    /// The entry of a key, to write to, made by `init` where there is none; and whether it was.
    #[inline(never)]
    fn entry_slow(&mut self, hash: u64, key: &K, init: impl FnOnce() -> V) -> (&mut (K, V), bool) {
        let at = self.segment_of(hash);
        let age = self.age;
        let (base, home) = self.place(hash);
        let segment = &mut self.segments[at];
        // SAFETY: as for `home_mut`: the block is of this segment, which is borrowed.
        let block = unsafe { base.at_mut(home) };
        // Nearly all that come here: the first record of a key.
        if !segment.is_full()
            && !segment.has_outside
            && block.is_absent(tag(hash))
            && block.has_room()
        {
            self.len += 1;
            segment.len += 1;
            segment.newest = segment.newest.max(self.generation);
            return (block.put_in_room(tag(hash), age, (key.clone(), init())), true);
        }
        if let Some((at, index)) = self.locate(hash, key) {
            self.note_write(at, index);
            return (self.segments[at].entry_mut(index), false);
        }
        let at = self.segment_of(hash);
        let (at, index) = self.insert(at, hash, (key.clone(), init()));
        (self.segments[at].entry_mut(index), true)
    }
}
