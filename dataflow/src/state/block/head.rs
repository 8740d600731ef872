//! [`Head`]: the tags and ages of a block's entries.
//!
//! Read and written by [`super::Block`] and [`super::BlockMut`], which hold the entries. Invariant:
//! a lane is in use exactly where its tag is not 0.

#[cfg(target_arch = "x86_64")]
use std::ptr;

/// Entries of a block. With seven, more searches had to go on to a further block: a third
/// slower at 50 k keys (measured).
pub(in crate::state) const LANES: usize = 14;
const ALL: u32 = (1 << LANES) - 1;
/// An age older than any write that a next capture must hold.
pub(in crate::state) const OLD: u8 = 0;

/// Aligned, so that all tags are loaded at once and a head lies in one cache line.
#[repr(C, align(32))]
pub(in crate::state) struct Head {
    /// 0 where the lane is free; the last two are no lanes, but the bits of those that are kept.
    pub(super) tags: [u8; 16],
    pub(super) ages: [u8; LANES],
    /// Entries that found the block full and went on.
    pub(super) spilled: u16,
}

/// The bits of a hash that tell entries of a block apart: none that place a key in a table, and
/// none of the uppermost, which are alike among all keys of a task. Never 0.
#[inline(always)]
pub(in crate::state) fn tag(hash: u64) -> u8 {
    ((hash >> 32) as u8).max(1)
}

impl Head {
    pub(super) const EMPTY: Self = Self { tags: [0; 16], ages: [OLD; LANES], spilled: 0 };

    /// The lanes with this tag, a bit each; 0 asks for the free ones.
    #[inline(always)]
    pub(super) fn lanes(&self, tag: u8) -> u32 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor's base instructions; the head is aligned and starts with the tags.
        unsafe {
            use std::arch::x86_64::{
                __m128i, _mm_cmpeq_epi8, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi8,
            };
            let tags = _mm_load_si128(ptr::from_ref(self).cast::<__m128i>());
            let equal = _mm_cmpeq_epi8(tags, _mm_set1_epi8(tag as i8));
            _mm_movemask_epi8(equal) as u32 & ALL
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let tags = self.tags[..LANES].iter().enumerate();
            tags.fold(0, |lanes, (lane, at)| lanes | u32::from(*at == tag) << lane)
        }
    }

    #[inline(always)]
    pub(super) fn is_used(&self, lane: usize) -> bool {
        self.tags[lane] != 0
    }

    /// The lanes in use.
    pub(in crate::state) fn used(&self) -> impl Iterator<Item = usize> + use<> {
        let mut lanes = !self.lanes(0) & ALL;
        std::iter::from_fn(move || {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes.wrapping_sub(1);
            (lane < LANES).then_some(lane)
        })
    }

    /// When the entry was last written to, as an age.
    #[inline(always)]
    pub(in crate::state) fn age(&self, lane: usize) -> u8 {
        self.ages[lane]
    }

    /// Sets the age of an entry.
    #[inline(always)]
    pub(in crate::state) fn set_age(&mut self, lane: usize, age: u8) {
        self.ages[lane] = age;
    }

    /// The entry of a lane came in from outside, and stays when others leave, once.
    pub(in crate::state) fn keep(&mut self, lane: usize) {
        self.tags[LANES + lane / 8] |= 1 << (lane % 8);
    }

    /// Whether the entry of a lane is to stay this time.
    pub(in crate::state) fn take_keep(&mut self, lane: usize) -> bool {
        let (byte, bit) = (&mut self.tags[LANES + lane / 8], 1 << (lane % 8));
        let is_kept = *byte & bit != 0;
        *byte &= !bit;
        is_kept
    }

    /// Whether entries that belong here may be in the blocks behind it.
    #[inline(always)]
    pub(in crate::state) fn has_spilled(&self) -> bool {
        self.spilled != 0
    }

    /// An entry that belongs here, or passes on its way, goes to a block behind.
    pub(in crate::state) fn spill(&mut self) {
        self.spilled = self.spilled.saturating_add(1);
    }

    /// Such an entry is gone. A count that has reached its bound stays there.
    pub(in crate::state) fn unspill(&mut self) {
        self.spilled -= u16::from(self.spilled < u16::MAX);
    }
}
