//! [`Ordered`]: the entries of one key in order. A vector while they are few, a tree beyond.
//!
//! Used by [`super::map`]. Most keys of a job hold a handful of entries, for which a tree's first
//! node alone would be several times larger than what it holds.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, RangeBounds};
use std::{mem, slice};

/// Entries up to which a vector is kept: moving half of these costs less than a tree's first node.
const FEW_MAX: usize = 32;
/// Entries below which a tree becomes a vector again: well under [`FEW_MAX`], so that no size
/// swings between.
const MANY_MIN: usize = FEW_MAX / 4;

/// An ordered map of one key's entries.
pub(super) enum Ordered<A, E> {
    Few(Vec<(A, E)>),
    Many(BTreeMap<A, E>),
}

impl<A: Ord + Clone, E> Ordered<A, E> {
    pub(super) fn new() -> Self {
        Self::Few(Vec::new())
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(entries) => entries.len(),
            Self::Many(entries) => entries.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn get(&self, at: &A) -> Option<&E> {
        match self {
            Self::Few(few) => find(few, at).ok().map(|index| &few[index].1),
            Self::Many(many) => many.get(at),
        }
    }

    pub(super) fn get_mut(&mut self, at: &A) -> Option<&mut E> {
        match self {
            Self::Few(few) => find(few, at).ok().map(|index| &mut few[index].1),
            Self::Many(many) => many.get_mut(at),
        }
    }

    /// The last entry in order.
    pub(super) fn last(&self) -> Option<(&A, &E)> {
        match self {
            Self::Few(few) => few.last().map(|(at, entry)| (at, entry)),
            Self::Many(many) => many.last_key_value(),
        }
    }

    /// Puts in an entry that is not there yet.
    pub(super) fn insert_new(&mut self, at: A, entry: E) -> &mut E {
        if let Self::Few(few) = self
            && few.len() >= FEW_MAX
        {
            *self = Self::Many(mem::take(few).into_iter().collect());
        }
        match self {
            Self::Few(few) => {
                let place = find(few, &at).unwrap_or_else(|place| place);
                few.insert(place, (at, entry));
                &mut few[place].1
            }
            Self::Many(many) => many.entry(at).or_insert(entry),
        }
    }

    pub(super) fn remove(&mut self, at: &A) -> Option<E> {
        match self {
            Self::Few(few) => find(few, at).ok().map(|index| few.remove(index).1),
            Self::Many(many) => {
                let removed = many.remove(at);
                self.shrink();
                removed
            }
        }
    }

    /// Takes out all entries in a range, in order.
    pub(super) fn remove_range(&mut self, range: &impl RangeBounds<A>) -> Vec<(A, E)> {
        if is_void(range) {
            return Vec::new();
        }
        match self {
            Self::Few(few) => {
                let (start, end) = places(few, range);
                few.drain(start..end).collect()
            }
            Self::Many(many) => {
                let wanted = many.range((range.start_bound(), range.end_bound()));
                let wanted: Vec<A> = wanted.map(|(at, _)| at.clone()).collect();
                let taken = wanted.into_iter().filter_map(|at| many.remove_entry(&at)).collect();
                self.shrink();
                taken
            }
        }
    }

    fn shrink(&mut self) {
        if let Self::Many(many) = self
            && many.len() < MANY_MIN
        {
            *self = Self::Few(mem::take(many).into_iter().collect());
        }
    }

    /// The entries in a range, in order.
    pub(super) fn range(&self, range: &impl RangeBounds<A>) -> Iter<'_, A, E> {
        if is_void(range) {
            return Iter::Few([].iter());
        }
        match self {
            Self::Few(few) => {
                let (start, end) = places(few, range);
                Iter::Few(few[start..end].iter())
            }
            Self::Many(many) => Iter::Many(many.range((range.start_bound(), range.end_bound()))),
        }
    }
}

fn find<A: Ord, E>(few: &[(A, E)], at: &A) -> Result<usize, usize> {
    few.binary_search_by(|(other, _)| other.cmp(at))
}

fn places<A: Ord, E>(few: &[(A, E)], range: &impl RangeBounds<A>) -> (usize, usize) {
    let start = match range.start_bound() {
        Bound::Unbounded => 0,
        Bound::Included(from) => few.partition_point(|(at, _)| at < from),
        Bound::Excluded(from) => few.partition_point(|(at, _)| at <= from),
    };
    let end = match range.end_bound() {
        Bound::Unbounded => few.len(),
        Bound::Included(to) => few.partition_point(|(at, _)| at <= to),
        Bound::Excluded(to) => few.partition_point(|(at, _)| at < to),
    };
    (start, end)
}

/// Whether nothing can lie in a range: trees panic at those that run backward.
fn is_void<A: Ord>(range: &impl RangeBounds<A>) -> bool {
    match (range.start_bound(), range.end_bound()) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}

/// Entries in order.
pub(super) enum Iter<'a, A, E> {
    Few(slice::Iter<'a, (A, E)>),
    Many(btree_map::Range<'a, A, E>),
}

impl<'a, A, E> Iterator for Iter<'a, A, E> {
    type Item = (&'a A, &'a E);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next().map(|(at, entry)| (at, entry)),
            Self::Many(many) => many.next(),
        }
    }
}

impl<A, E> DoubleEndedIterator for Iter<'_, A, E> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Few(few) => few.next_back().map(|(at, entry)| (at, entry)),
            Self::Many(many) => many.next_back(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_an_ordered_map_at_every_size(
            ops in prop::collection::vec((0u8..5, 0u16..200, 0u16..200), 1..600)
        ) {
            let (mut ordered, mut model) = (Ordered::new(), BTreeMap::new());
            for (op, a, b) in ops {
                match op {
                    0..=2 => {
                        let before = model.insert(a, b);
                        if let Some(entry) = ordered.get_mut(&a) {
                            prop_assert_eq!(before, Some(mem::replace(entry, b)));
                        } else {
                            ordered.insert_new(a, b);
                            prop_assert_eq!(before, None);
                        }
                    }
                    3 => prop_assert_eq!(ordered.remove(&a), model.remove(&a)),
                    _ => {
                        let taken = ordered.remove_range(&(a..b.min(a + 20)));
                        let range = a..b.min(a + 20).max(a);
                        let wanted: Vec<_> = model.extract_if(range, |_, _| true).collect();
                        prop_assert_eq!(taken, wanted);
                    }
                }
                let (low, high) = (a.min(b), a.max(b));
                let range: Vec<_> = ordered.range(&(low..=high)).map(|(a, b)| (*a, *b)).collect();
                let wanted: Vec<_> = model.range(low..=high).map(|(a, b)| (*a, *b)).collect();
                prop_assert_eq!(range, wanted);
                prop_assert_eq!(ordered.range(&(high..low)).count(), 0);
                prop_assert_eq!(ordered.len(), model.len());
                prop_assert_eq!(ordered.last(), model.last_key_value());
            }
        }
    }
}
