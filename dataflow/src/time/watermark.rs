//! Watermarks: how a source judges, split by split, that no earlier record will come.
//!
//! A watermark `w` says "no record with a time smaller than `w` will come". One [`SplitClock`]
//! follows each split inside the source; the source's watermark is the smallest over the splits
//! that are not idle.

use std::time::Duration;

use super::{Timestamp, millis};
use crate::error::Result;

/// How watermarks follow the event times of a split.
#[derive(Clone, Copy, Debug)]
pub struct Watermarks {
    pub(crate) bound_ms: i64,
    pub(crate) idle_after: Duration,
}

/// How long a split may be empty before it stops holding back the others. Flink leaves it off, and
/// jobs stall on an empty partition; half a minute is longer than the pauses of a broker that is
/// alive.
const IDLE_AFTER: Duration = Duration::from_secs(30);

impl Watermarks {
    /// Records may be out of order by at most `bound`: the watermark is the largest time seen less
    /// `bound`.
    pub fn bounded(bound: Duration) -> Self {
        Self { bound_ms: millis(bound), idle_after: IDLE_AFTER }
    }

    /// Times never fall within a split.
    pub fn ascending() -> Self {
        Self::bounded(Duration::ZERO)
    }

    /// A split that has had nothing to read for this long no longer holds the watermark back.
    #[must_use]
    pub fn idle_after(self, timeout: Duration) -> Self {
        Self { idle_after: timeout, ..self }
    }
}

/// A record whose event time cannot be read.
pub(crate) struct BadTime {
    /// Its place in the batch.
    pub(crate) index: usize,
    pub(crate) error: String,
}

/// Why a record cannot have this event time; none where it can.
fn bad(index: usize, time: Timestamp) -> Option<BadTime> {
    // The engine takes the one for "no event time", the other for "the stream has ended".
    let error = match time {
        Timestamp::MIN => "the function returned Timestamp::MIN, which stands for no event time",
        Timestamp::MAX => "the function returned Timestamp::MAX, which stands for the end",
        _ => return None,
    };
    Some(BadTime { index, error: error.to_owned() })
}

/// Reads the event times of a batch: one virtual call for all its records.
pub(crate) trait EventTime<T>: Send {
    /// Appends a time for each record, whatever it is for those that are returned as bad.
    fn times(&self, records: &[T], into: &mut Vec<Timestamp>) -> Vec<BadTime>;
    fn clone_box(&self) -> Box<dyn EventTime<T>>;
}

impl<T, F: Fn(&T) -> Timestamp + Clone + Send + 'static> EventTime<T> for F {
    fn times(&self, records: &[T], into: &mut Vec<Timestamp>) -> Vec<BadTime> {
        let start = into.len();
        into.extend(records.iter().map(self));
        let times = &into[start..];
        // One pass that does not stop early, as neither of the two happens: they are neighbours
        // where numbers wrap around.
        let none = |time: &Timestamp| time.0.wrapping_sub(i64::MAX) as u64 <= 1;
        if !times.iter().fold(false, |any, time| any | none(time)) {
            return Vec::new();
        }
        times.iter().enumerate().filter_map(|(index, time)| bad(index, *time)).collect()
    }

    fn clone_box(&self) -> Box<dyn EventTime<T>> {
        Box::new(self.clone())
    }
}

/// A function that may fail.
#[derive(Clone)]
pub(crate) struct TryTime<F>(pub(crate) F);

impl<T, F: Fn(&T) -> Result<Timestamp> + Clone + Send + 'static> EventTime<T> for TryTime<F> {
    fn times(&self, records: &[T], into: &mut Vec<Timestamp>) -> Vec<BadTime> {
        let mut found = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let time = match (self.0)(record) {
                Ok(time) => {
                    found.extend(bad(index, time));
                    time
                }
                Err(error) => {
                    found.push(BadTime { index, error: error.to_string() });
                    Timestamp::MIN
                }
            };
            into.push(time);
        }
        found
    }

    fn clone_box(&self) -> Box<dyn EventTime<T>> {
        Box::new(self.clone())
    }
}

/// The largest time seen of one split, and the watermark it stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitClock {
    largest: Timestamp,
    restored: Timestamp,
}

impl SplitClock {
    pub(crate) fn new(restored: Timestamp) -> Self {
        Self { largest: Timestamp::MIN, restored }
    }

    pub(crate) fn observe(&mut self, times: &[Timestamp]) {
        if let Some(&largest) = times.iter().max() {
            self.largest = self.largest.max(largest);
        }
    }

    /// The watermark of the split. A restored one never goes back.
    pub(crate) fn watermark(&self, bound_ms: i64) -> Timestamp {
        let live = match self.largest {
            Timestamp::MIN => Timestamp::MIN,
            largest => largest.saturating_add(-bound_ms),
        };
        live.max(self.restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_that_the_engine_keeps_to_itself_are_bad() {
        let records = [1, i64::MAX, 2, i64::MIN];
        let mut times = Vec::new();
        let plain = (|n: &i64| Timestamp(*n)).times(&records, &mut times);
        let tried = TryTime(|n: &i64| Ok(Timestamp(*n))).times(&records, &mut times);
        for bad in [plain, tried] {
            assert_eq!(bad.iter().map(|bad| bad.index).collect::<Vec<_>>(), [1, 3]);
            assert!(bad[0].error.contains("Timestamp::MAX"), "{}", bad[0].error);
            assert!(bad[1].error.contains("Timestamp::MIN"), "{}", bad[1].error);
        }
        assert_eq!(times.len(), 8, "a time for each record, whatever it is");
    }

    #[test]
    fn the_watermark_trails_the_largest_time_and_never_falls_behind_the_restored_one() {
        let mut clock = SplitClock::new(Timestamp(50));
        assert_eq!(clock.watermark(10), Timestamp(50));
        clock.observe(&[Timestamp(40), Timestamp(55)]);
        assert_eq!(clock.watermark(10), Timestamp(50));
        clock.observe(&[Timestamp(90), Timestamp(70)]);
        assert_eq!(clock.watermark(10), Timestamp(80));
    }
}
