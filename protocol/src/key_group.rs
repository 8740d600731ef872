//! Which key group a key hash belongs to, and which task owns a group.
//!
//! The router, keyed state, restore and the manifest all use these functions and no others: two
//! functions that map a key to a task would one day disagree.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::id::{KeyGroup, TaskIndex};

/// How many key groups a job has. Fixed for the life of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyGroups(pub NonZeroU16);

impl Default for KeyGroups {
    /// 720 divides evenly by every parallelism up to 6, and by 8, 9, 10, 12, 15, 16.
    fn default() -> Self {
        Self(NonZeroU16::new(720).expect("720 is not zero"))
    }
}

impl KeyGroups {
    /// The number of groups.
    pub fn count(self) -> u32 {
        u32::from(self.0.get())
    }

    /// The group of a key hash: its upper 32 bits, scaled to the number of groups.
    #[inline]
    pub fn of_hash(self, hash: u64) -> KeyGroup {
        KeyGroup((((hash >> 32) * u64::from(self.0.get())) >> 32) as u16)
    }

    /// The groups that task `task` of `parallelism` owns: `[ceil(i*G/p), ceil((i+1)*G/p))`.
    pub fn of_task(self, task: TaskIndex, parallelism: u32) -> KeyGroupRange {
        let first = |i: u32| {
            let (i, g, p) = (u64::from(i), u64::from(self.count()), u64::from(parallelism));
            ((i * g).div_ceil(p)) as u16
        };
        KeyGroupRange { start: KeyGroup(first(task.0)), end: KeyGroup(first(task.0 + 1)) }
    }

    /// The task of `parallelism` that owns a group; the inverse of [`KeyGroups::of_task`].
    #[inline]
    pub fn task_of(self, group: KeyGroup, parallelism: u32) -> TaskIndex {
        let (k, g, p) = (u64::from(group.0), u64::from(self.count()), u64::from(parallelism));
        TaskIndex((k * p / g) as u32)
    }

    /// All groups.
    pub fn all(self) -> KeyGroupRange {
        KeyGroupRange { start: KeyGroup(0), end: KeyGroup(self.0.get()) }
    }
}

/// A half-open range of key groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// The first group in the range.
    pub start: KeyGroup,
    /// The first group behind the range.
    pub end: KeyGroup,
}

impl KeyGroupRange {
    /// Whether the group lies in the range.
    #[inline]
    pub fn contains(self, group: KeyGroup) -> bool {
        self.start <= group && group < self.end
    }

    /// The groups in both ranges, if there are any.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let both = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (both.start < both.end).then_some(both)
    }

    /// What is left of this range without `other`: nothing, one piece, or two.
    pub fn subtract(self, other: Self) -> Vec<Self> {
        let before = Self { start: self.start, end: self.end.min(other.start) };
        let after = Self { start: self.start.max(other.end), end: self.end };
        [before, after].into_iter().filter(|r| r.start < r.end).collect()
    }

    /// How many groups the range holds.
    pub fn len(self) -> usize {
        usize::from(self.end.0.saturating_sub(self.start.0))
    }

    /// Whether the range holds no group.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_group_has_one_owner_and_it_says_so(g in 1u16..2000, p in 1u32..2000) {
            let groups = KeyGroups(NonZeroU16::new(g).unwrap());
            let p = p.min(u32::from(g));
            let mut next = 0;
            for task in (0..p).map(TaskIndex) {
                let range = groups.of_task(task, p);
                prop_assert_eq!(range.start.0, next);
                prop_assert!(!range.is_empty());
                for k in range.start.0..range.end.0 {
                    prop_assert_eq!(groups.task_of(KeyGroup(k), p), task);
                }
                next = range.end.0;
            }
            prop_assert_eq!(next, g);
        }

        #[test]
        fn subtract_and_intersect_split_a_range(
            a in 0u16..50, b in 0u16..50, c in 0u16..50, d in 0u16..50
        ) {
            let range = |x: u16, y: u16| {
                KeyGroupRange { start: KeyGroup(x.min(y)), end: KeyGroup(x.max(y)) }
            };
            let (one, two) = (range(a, b), range(c, d));
            for k in (0..50).map(KeyGroup) {
                let left = one.subtract(two).iter().any(|r| r.contains(k));
                prop_assert_eq!(left, one.contains(k) && !two.contains(k));
                let both = one.intersect(two).is_some_and(|r| r.contains(k));
                prop_assert_eq!(both, one.contains(k) && two.contains(k));
            }
        }
    }

    #[test]
    fn a_hash_is_scaled_by_its_upper_half() {
        let groups = KeyGroups::default();
        assert_eq!(groups.of_hash(0), KeyGroup(0));
        assert_eq!(groups.of_hash(u64::MAX), KeyGroup(719));
        assert_eq!(groups.of_hash(u64::MAX >> 1), KeyGroup(359));
    }
}
