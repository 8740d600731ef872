//! [`DistinctCount`]: how many different values there are.

use std::collections::HashSet;

use super::Aggregate;
use crate::data::Key;

/// How many different values there are, exactly. It keeps each of them.
///
/// ```
/// # use millstream_dataflow::operator::aggregate::{Aggregate, DistinctCount};
/// let mut acc = DistinctCount.zero();
/// ["a", "b", "a"].map(|s| DistinctCount.add(&mut acc, s.to_owned()));
/// assert_eq!(DistinctCount.result(&acc), 2);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct DistinctCount;

impl<I: Key> Aggregate<I> for DistinctCount {
    type Acc = HashSet<I>;
    type Out = u64;

    fn zero(&self) -> HashSet<I> {
        HashSet::new()
    }

    fn add(&self, acc: &mut HashSet<I>, value: I) {
        acc.insert(value);
    }

    fn merge(&self, acc: &mut HashSet<I>, other: &HashSet<I>) {
        for value in other {
            if !acc.contains(value) {
                acc.insert(value.clone());
            }
        }
    }

    fn result(&self, acc: &HashSet<I>) -> u64 {
        acc.len() as u64
    }
}
