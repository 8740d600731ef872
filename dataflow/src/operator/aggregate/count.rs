//! [`Count`]: how many values there are.

use super::Aggregate;

/// How many values there are.
///
/// ```
/// # use millstream_dataflow::operator::aggregate::{Aggregate, Count};
/// let mut acc = Aggregate::<()>::zero(&Count);
/// Count.add(&mut acc, ());
/// assert_eq!(Aggregate::<()>::result(&Count, &acc), 1);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Count;

impl<I> Aggregate<I> for Count {
    type Acc = u64;
    type Out = u64;

    fn zero(&self) -> u64 {
        0
    }

    fn add(&self, acc: &mut u64, _: I) {
        *acc += 1;
    }

    fn merge(&self, acc: &mut u64, other: &u64) {
        *acc += other;
    }

    fn result(&self, acc: &u64) -> u64 {
        *acc
    }

    fn is_invertible(&self) -> bool {
        true
    }

    fn subtract(&self, acc: &mut u64, other: &u64) {
        *acc -= other;
    }
}
