//! [`Histogram`]: many durations in little memory.
//!
//! Filled by the sinks of [`super::latency`] and by [`super::round_trip`]. Invariant: its size does
//! not depend on how many durations there were, and what it says of one is at most 1.6 % above it.

use serde::{Deserialize, Serialize};

/// Each power of two is divided into so many steps: 2 to this power.
const STEP_BITS: u32 = 6;
const STEPS: u64 = 1 << STEP_BITS;
/// From here on all durations are one: over an hour.
const BITS_MAX: u32 = 42;
const BUCKETS: usize = ((BITS_MAX - STEP_BITS + 1) as usize) << STEP_BITS;

/// How often each duration came, in nanoseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    /// All of them.
    pub(crate) count: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], count: 0, max_ns: 0 }
    }
}

impl Histogram {
    /// Takes a duration in.
    #[inline]
    pub(crate) fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// Takes in what another has.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.count += other.count;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What this share of the durations does not exceed, in milliseconds; 0 where there are none.
    pub(crate) fn ms(&self, share: f64) -> f64 {
        let rank = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank.max(1)
        });
        reached.map_or(0.0, |bucket| highest(bucket).min(self.max_ns) as f64 / 1e6)
    }

    /// The longest, in milliseconds.
    pub(crate) fn max_ms(&self) -> f64 {
        self.max_ns as f64 / 1e6
    }
}

#[inline]
fn bucket(ns: u64) -> usize {
    // Below, each nanosecond has its own.
    let power = (ns | (STEPS - 1)).ilog2() + 1 - STEP_BITS;
    let step = ns >> (power - u32::from(power > 0)) & (STEPS - 1);
    ((u64::from(power) << STEP_BITS | step) as usize).min(BUCKETS - 1)
}

/// The longest duration of a bucket.
fn highest(bucket: usize) -> u64 {
    let (power, step) = (bucket as u64 >> STEP_BITS, bucket as u64 & (STEPS - 1));
    match power {
        0 => step,
        _ => ((STEPS + step + 1) << (power - 1)) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_said_almost_as_it_was() {
        let mut ns = 0u64;
        while ns < 1 << BITS_MAX {
            let said = highest(bucket(ns));
            assert!(said >= ns && said - ns <= ns / STEPS, "{ns} is said to be {said}");
            ns += 1 + ns / 50;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn shares_are_counted_from_the_shortest() {
        let mut histogram = Histogram::default();
        assert!(histogram.ms(0.99) < 1e-12);
        for ms in 1..=1000 {
            histogram.add(ms * 1_000_000);
        }
        let mut other = Histogram::default();
        other.add(5_000_000_000);
        histogram.merge(&other);
        for (share, ms) in [(0.5, 501.0), (0.99, 991.0), (0.999, 1000.0), (1.0, 5000.0)] {
            let said = histogram.ms(share);
            assert!((ms..=ms * 1.02).contains(&said), "{share}: {said} for {ms}");
        }
        assert!((histogram.max_ms() - 5000.0).abs() < 1e-9 && histogram.count == 1001);
    }
}
