//! [`Sum`]: the sum of numbers.

use super::{Aggregate, Number};

/// The sum of numbers: `u64` for unsigned ones, `i64` for signed ones, `f64` for floats.
///
/// An integer sum wraps around at 64 bits. A float sum depends on the order of its values in its
/// last digits, and a sliding window adds it up anew rather than subtract from it.
///
/// ```
/// # use millstream_dataflow::operator::aggregate::{Aggregate, Sum};
/// let mut acc = Aggregate::<u32>::zero(&Sum);
/// Sum.add(&mut acc, u32::MAX);
/// Sum.add(&mut acc, 1u32);
/// assert_eq!(Aggregate::<u32>::result(&Sum, &acc), 1 << 32);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum;

impl<I: Number> Aggregate<I> for Sum {
    type Acc = I::Sum;
    type Out = I::Sum;

    fn zero(&self) -> I::Sum {
        I::ZERO
    }

    #[inline]
    fn add(&self, acc: &mut I::Sum, value: I) {
        *acc = I::plus(*acc, value.to_sum());
    }

    #[inline]
    fn merge(&self, acc: &mut I::Sum, other: &I::Sum) {
        *acc = I::plus(*acc, *other);
    }

    fn result(&self, acc: &I::Sum) -> I::Sum {
        *acc
    }

    fn is_invertible(&self) -> bool {
        I::EXACT
    }

    fn subtract(&self, acc: &mut I::Sum, other: &I::Sum) {
        *acc = I::minus(*acc, *other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_sums_are_taken_back() {
        assert!(Aggregate::<u8>::is_invertible(&Sum));
        assert!(!Aggregate::<f32>::is_invertible(&Sum));
        let mut acc = super::super::fold(&Sum, &[i64::MAX, 5], 1);
        Aggregate::<i64>::subtract(&Sum, &mut acc, &i64::MAX);
        assert_eq!(acc, 5, "a sum that wrapped around comes back");
    }
}
