//! [`TopN`]: the largest few values.

use std::cmp::Ordering;

use super::Aggregate;
use super::extreme::compare;
use crate::data::Data;

/// The `n` largest values, largest first; fewer where there are fewer.
///
/// Equal values all count. A NaN counts as the smallest.
///
/// ```
/// # use millstream_dataflow::operator::aggregate::{Aggregate, TopN};
/// let top = TopN(2);
/// let mut acc = top.zero();
/// [3, 9, 1, 5].map(|n| top.add(&mut acc, n));
/// assert_eq!(top.result(&acc), [9, 5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TopN(pub usize);

impl<I: Data + PartialOrd> Aggregate<I> for TopN {
    type Acc = Vec<I>;
    type Out = Vec<I>;

    fn zero(&self) -> Vec<I> {
        Vec::new()
    }

    fn add(&self, acc: &mut Vec<I>, value: I) {
        let larger = |other: &I| compare(other, &value, Ordering::Less) != Ordering::Less;
        let place = acc.partition_point(larger);
        if place < self.0 {
            acc.truncate(self.0 - 1);
            acc.insert(place, value);
        }
    }

    fn merge(&self, acc: &mut Vec<I>, other: &Vec<I>) {
        for value in other {
            self.add(acc, value.clone());
        }
    }

    fn result(&self, acc: &Vec<I>) -> Vec<I> {
        acc.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fold;
    use super::*;

    proptest! {
        #[test]
        fn they_are_the_first_of_the_sorted(
            values in prop::collection::vec(0i32..20, 0..30), n in 0usize..8, split in 0usize..30
        ) {
            let mut sorted = values.clone();
            sorted.sort_unstable_by(|a, b| b.cmp(a));
            sorted.truncate(n);
            prop_assert_eq!(fold(&TopN(n), &values, split), sorted);
        }
    }
}
