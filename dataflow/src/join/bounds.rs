//! [`Bounds`]: how far the times of two records may lie apart, and what follows from it. Pure.

use std::time::Duration;

use crate::time::{Timestamp, millis};

/// A time before or after a record's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// So long before it.
    Before(Duration),
    /// So long after it.
    After(Duration),
}

impl Offset {
    pub(super) fn millis(self) -> i64 {
        match self {
            Self::Before(duration) => -millis(duration),
            Self::After(duration) => millis(duration),
        }
    }
}

/// Two records match when `lower <= right - left <= upper`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) lower: i64,
    pub(super) upper: i64,
}

impl Bounds {
    /// The first and the last time on the right that match a time on the left.
    #[inline]
    pub(super) fn rights_of(self, left: Timestamp) -> (Timestamp, Timestamp) {
        (left.saturating_add(self.lower), left.saturating_add(self.upper))
    }

    /// The first and the last time on the left that match a time on the right.
    #[inline]
    pub(super) fn lefts_of(self, right: Timestamp) -> (Timestamp, Timestamp) {
        (minus(right, self.upper), minus(right, self.lower))
    }

    /// Records of the left side before this match nothing that is not earlier than the watermark.
    pub(super) fn lefts_over(self, watermark: Timestamp) -> Timestamp {
        over(watermark, minus(watermark, self.upper))
    }

    /// The same of the right side.
    pub(super) fn rights_over(self, watermark: Timestamp) -> Timestamp {
        over(watermark, watermark.saturating_add(self.lower))
    }
}

fn minus(time: Timestamp, millis: i64) -> Timestamp {
    Timestamp(time.0.saturating_sub(millis))
}

/// The ends of time are no times to reckon from: nothing is over at MIN, and everything at MAX.
fn over(watermark: Timestamp, time: Timestamp) -> Timestamp {
    match watermark {
        Timestamp::MIN | Timestamp::MAX => watermark,
        _ => time,
    }
}
