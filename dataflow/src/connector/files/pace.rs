//! [`Pace`]: keeps the records of one task to a rate.

use crate::time::Timestamp;

/// How much of the past is made up for after a pause, in milliseconds: the rate holds over each
/// second.
const BURST_MS: i64 = 1000;

/// Keeps the records of one task to a rate.
#[derive(Debug)]
pub(super) struct Pace {
    records_per_ms: f64,
    since: Option<Timestamp>,
    /// Records since then.
    made: f64,
}

impl Pace {
    pub(super) fn new(records_per_second: f64) -> Self {
        Self { records_per_ms: records_per_second / 1000.0, since: None, made: 0.0 }
    }

    /// Goes on at another rate.
    pub(super) fn set_rate(&mut self, records_per_second: f64) {
        let rate = records_per_second / 1000.0;
        if rate.total_cmp(&self.records_per_ms).is_ne() {
            *self = Self::new(records_per_second);
        }
    }

    /// How many records are due by now.
    pub(super) fn due(&mut self, now: Timestamp) -> usize {
        let since = *self.since.get_or_insert(now);
        let owed = (now.0.saturating_sub(since.0)) as f64 * self.records_per_ms - self.made;
        if owed > BURST_MS as f64 * self.records_per_ms {
            self.since = Some(now.saturating_add(-BURST_MS));
            self.made = 0.0;
        }
        owed.clamp(0.0, BURST_MS as f64 * self.records_per_ms) as usize
    }

    /// So many records went out.
    pub(super) fn made(&mut self, records: usize) {
        self.made += records as f64;
    }

    /// When the next record is due.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let since = self.since.unwrap_or(now);
        let at = ((self.made + 1.0) / self.records_per_ms).ceil();
        since.saturating_add(at as i64).max(now.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_at_the_rate_and_a_pause_is_not_made_up_for() {
        let mut pace = Pace::new(10.0);
        assert_eq!(pace.due(Timestamp(5000)), 0);
        assert_eq!(pace.next(Timestamp(5000)), Timestamp(5100));
        assert_eq!(pace.due(Timestamp(5100)), 1);
        pace.made(1);
        assert_eq!(pace.due(Timestamp(5150)), 0);
        assert_eq!(pace.due(Timestamp(5300)), 2);
        pace.made(2);
        assert_eq!(pace.due(Timestamp(90_000)), 10);
        pace.made(10);
        assert_eq!(pace.due(Timestamp(90_000)), 0);
        assert_eq!(pace.next(Timestamp(90_000)), Timestamp(90_100));
    }
}
