//! [`Mean`]: the arithmetic mean of numbers.

use super::{Aggregate, Number};

/// The arithmetic mean of numbers, an `f64`.
///
/// Integers are summed exactly in 128 bits, floats in `f64`; see [`Number`].
///
/// ```
/// # use millstream_dataflow::operator::aggregate::{Aggregate, Mean};
/// let mut acc = Aggregate::<f64>::zero(&Mean);
/// Mean.add(&mut acc, 1.0);
/// Mean.add(&mut acc, 2.0);
/// assert_eq!(Aggregate::<f64>::result(&Mean, &acc), 1.5);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean;

impl<I: Number> Aggregate<I> for Mean {
    type Acc = (I::Wide, u64);
    type Out = f64;

    fn zero(&self) -> Self::Acc {
        (I::WIDE_ZERO, 0)
    }

    #[inline]
    fn add(&self, (sum, count): &mut Self::Acc, value: I) {
        *sum = I::wide_plus(*sum, value.to_wide());
        *count += 1;
    }

    #[inline]
    fn merge(&self, (sum, count): &mut Self::Acc, other: &Self::Acc) {
        *sum = I::wide_plus(*sum, other.0);
        *count += other.1;
    }

    fn result(&self, (sum, count): &Self::Acc) -> f64 {
        I::mean(*sum, *count)
    }

    fn is_invertible(&self) -> bool {
        I::EXACT
    }

    fn subtract(&self, (sum, count): &mut Self::Acc, other: &Self::Acc) {
        *sum = I::wide_minus(*sum, other.0);
        *count -= other.1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_large_integers_does_not_overflow() {
        let acc = super::super::fold(&Mean, &[u64::MAX; 3], 2);
        let mean = Aggregate::<u64>::result(&Mean, &acc);
        assert!((mean - u64::MAX as f64).abs() < 1.0, "{mean}");
    }
}
