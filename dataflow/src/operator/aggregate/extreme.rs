//! [`Min`] and [`Max`]: the smallest and the largest value.

use std::cmp::Ordering;

use super::Aggregate;
use crate::data::Data;

/// The smallest value. A NaN counts only where there is nothing else.
///
/// ```
/// # use millstream_dataflow::operator::aggregate::{Aggregate, Min};
/// let mut acc = Min.zero();
/// [3, 1, 2].map(|n| Min.add(&mut acc, n));
/// assert_eq!(Min.result(&acc), 1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Min;

/// The largest value. A NaN counts only where there is nothing else.
///
/// ```
/// # use millstream_dataflow::operator::aggregate::{Aggregate, Max};
/// let mut acc = Max.zero();
/// [3, 1, 2].map(|n| Max.add(&mut acc, n));
/// assert_eq!(Max.result(&acc), 3);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Max;

/// How a value compares to another, where what equals not even itself (NaN) is `last`.
pub(super) fn compare<I: PartialOrd>(a: &I, b: &I, last: Ordering) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| {
        match (a.partial_cmp(a).is_none(), b.partial_cmp(b).is_none()) {
            (true, false) => last,
            (false, true) => last.reverse(),
            _ => Ordering::Equal,
        }
    })
}

macro_rules! extreme {
    ($name:ident, $wanted:expr) => {
        impl<I: Data + PartialOrd> Aggregate<I> for $name {
            type Acc = Option<I>;
            type Out = I;

            fn zero(&self) -> Option<I> {
                None
            }

            #[inline]
            fn add(&self, acc: &mut Option<I>, value: I) {
                match acc {
                    Some(best) if compare(&value, best, $wanted.reverse()) != $wanted => {}
                    _ => *acc = Some(value),
                }
            }

            fn merge(&self, acc: &mut Option<I>, other: &Option<I>) {
                if let Some(other) = other {
                    self.add(acc, other.clone());
                }
            }

            fn result(&self, acc: &Option<I>) -> I {
                acc.clone().expect("asked only of accumulators that hold a value")
            }
        }
    };
}

extreme!(Min, Ordering::Less);
extreme!(Max, Ordering::Greater);

#[cfg(test)]
mod tests {
    use super::super::fold;
    use super::*;

    #[test]
    fn a_nan_counts_only_where_there_is_nothing_else() {
        for split in 0..4 {
            let values = [f64::NAN, 2.0, f64::NAN, 1.0];
            assert_eq!(fold(&Min, &values, split), Some(1.0));
            assert_eq!(fold(&Max, &values, split), Some(2.0));
        }
        assert!(fold(&Max, &[f64::NAN], 1).unwrap().is_nan());
    }
}
