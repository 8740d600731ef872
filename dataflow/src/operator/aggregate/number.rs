//! [`Number`]: what can be summed, and whether a sum of it can be taken back.

use crate::data::Data;

/// A number that sums and means are made of. Implemented for the integers up to 64 bits and the
/// floats.
///
/// Integers are exact: `u64` or `i64` holds their sum (which wraps around beyond it), `i128` the
/// sum behind a mean. Floats are summed in `f64`; subtracting from such a sum would leave its
/// rounding behind for ever, so float sums are never taken back.
pub trait Number: Copy + 'static {
    /// The type of a sum.
    type Sum: Data + Copy;
    /// The type of the sum behind a mean.
    type Wide: Data + Copy;
    /// Whether a sum can be taken back without a trace.
    const EXACT: bool;

    /// The sum of nothing.
    const ZERO: Self::Sum;
    /// The same, behind a mean.
    const WIDE_ZERO: Self::Wide;

    /// This number as a sum.
    fn to_sum(self) -> Self::Sum;
    /// Both together.
    fn plus(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    /// The first without the second.
    fn minus(a: Self::Sum, b: Self::Sum) -> Self::Sum;

    /// This number as the sum behind a mean.
    fn to_wide(self) -> Self::Wide;
    /// Both together.
    fn wide_plus(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// The first without the second.
    fn wide_minus(a: Self::Wide, b: Self::Wide) -> Self::Wide;
    /// The mean of so many numbers.
    fn mean(sum: Self::Wide, count: u64) -> f64;
}

macro_rules! integer {
    ($sum:ty: $($number:ty),*) => {$(
        impl Number for $number {
            type Sum = $sum;
            type Wide = i128;
            const EXACT: bool = true;
            const ZERO: $sum = 0;
            const WIDE_ZERO: i128 = 0;

            #[inline]
            fn to_sum(self) -> $sum {
                <$sum>::from(self)
            }

            #[inline]
            fn plus(a: $sum, b: $sum) -> $sum {
                a.wrapping_add(b)
            }

            #[inline]
            fn minus(a: $sum, b: $sum) -> $sum {
                a.wrapping_sub(b)
            }

            #[inline]
            fn to_wide(self) -> i128 {
                i128::from(self)
            }

            #[inline]
            fn wide_plus(a: i128, b: i128) -> i128 {
                a.wrapping_add(b)
            }

            #[inline]
            fn wide_minus(a: i128, b: i128) -> i128 {
                a.wrapping_sub(b)
            }

            #[inline]
            fn mean(sum: i128, count: u64) -> f64 {
                sum as f64 / count as f64
            }
        }
    )*};
}

macro_rules! float {
    ($($number:ty),*) => {$(
        impl Number for $number {
            type Sum = f64;
            type Wide = f64;
            const EXACT: bool = false;
            const ZERO: f64 = 0.0;
            const WIDE_ZERO: f64 = 0.0;

            #[inline]
            fn to_sum(self) -> f64 {
                f64::from(self)
            }

            #[inline]
            fn plus(a: f64, b: f64) -> f64 {
                a + b
            }

            #[inline]
            fn minus(a: f64, b: f64) -> f64 {
                a - b
            }

            #[inline]
            fn to_wide(self) -> f64 {
                f64::from(self)
            }

            #[inline]
            fn wide_plus(a: f64, b: f64) -> f64 {
                a + b
            }

            #[inline]
            fn wide_minus(a: f64, b: f64) -> f64 {
                a - b
            }

            #[inline]
            fn mean(sum: f64, count: u64) -> f64 {
                sum / count as f64
            }
        }
    )*};
}

integer!(u64: u8, u16, u32, u64);
integer!(i64: i8, i16, i32, i64);
float!(f32, f64);
