//! Aggregates: what a window, or a running total, makes of its values.
//!
//! Used by [`crate::window`]; an aggregate lives in a file of its own. Invariant: an aggregate is
//! a description without state, all state is in its accumulator, which snapshots keep.

mod count;
mod distinct;
mod extreme;
mod mean;
mod number;
mod sum;
mod top;
mod tuple;

pub use count::Count;
pub use distinct::DistinctCount;
pub use extreme::{Max, Min};
pub use mean::Mean;
pub use number::Number;
pub use sum::Sum;
pub use top::TopN;

use crate::data::Data;

/// Turns many values into one, a value at a time.
///
/// A user's own aggregate, the range of values:
///
/// ```
/// # use millstream_dataflow::operator::aggregate::Aggregate;
/// #[derive(Clone)]
/// struct Span;
/// impl Aggregate<i64> for Span {
///     type Acc = (i64, i64);
///     type Out = i64;
///     fn zero(&self) -> Self::Acc { (i64::MAX, i64::MIN) }
///     fn add(&self, a: &mut Self::Acc, n: i64) { *a = (a.0.min(n), a.1.max(n)) }
///     fn merge(&self, a: &mut Self::Acc, b: &Self::Acc) { *a = (a.0.min(b.0), a.1.max(b.1)) }
///     fn result(&self, a: &Self::Acc) -> i64 { a.1 - a.0 }
/// }
/// ```
///
/// # Assumptions
/// The order of values and the way in which they are merged change nothing, but for the rounding
/// of floats.
pub trait Aggregate<I>: Clone + Send + 'static {
    /// What is kept while values come in.
    type Acc: Data;
    /// What comes out.
    type Out: Data;

    /// The accumulator of no values.
    fn zero(&self) -> Self::Acc;

    /// Takes a value in.
    fn add(&self, acc: &mut Self::Acc, value: I);

    /// Takes in what another accumulator holds.
    fn merge(&self, acc: &mut Self::Acc, other: &Self::Acc);

    /// What comes out. Asked only of accumulators that hold at least one value.
    fn result(&self, acc: &Self::Acc) -> Self::Out;

    /// Whether [`Aggregate::subtract`] takes out exactly what [`Aggregate::merge`] took in. A
    /// sliding window costs less then.
    fn is_invertible(&self) -> bool {
        false
    }

    /// Takes out what another accumulator holds, and what was merged before. Called only where
    /// [`Aggregate::is_invertible`] says so.
    fn subtract(&self, acc: &mut Self::Acc, other: &Self::Acc) {
        let _ = (acc, other);
    }
}

/// Folds values in two shares and merges them; for the tests of aggregates.
#[cfg(test)]
fn fold<I: Clone, A: Aggregate<I>>(aggregate: &A, values: &[I], split: usize) -> A::Acc {
    let share = |values: &[I]| {
        let mut acc = aggregate.zero();
        for value in values {
            aggregate.add(&mut acc, value.clone());
        }
        acc
    };
    let (left, right) = values.split_at(split.min(values.len()));
    let mut acc = share(left);
    aggregate.merge(&mut acc, &share(right));
    acc
}
