//! How long a failed job waits before it starts again.
//!
//! Received from: the spec's `restart`. Handed to: the restarting state. Invariant: the delay never
//! exceeds `maxBackoff`, and two jobs that fail together do not come back together.

use std::time::Duration;

use millstream_protocol::job::RestartSpec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The delay before each restart: by half longer than the one before.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    spec: RestartSpec,
    seed: u64,
    restarts: u64,
    next: Duration,
}

/// A delay is shortened by up to this share of itself, in percent.
const JITTER_PERCENT: u64 = 25;

impl Backoff {
    pub(crate) fn new(spec: RestartSpec, seed: u64) -> Self {
        Self { spec, seed, restarts: 0, next: spec.initial_backoff.0 }
    }

    /// Keeps to these bounds from now on.
    pub(crate) fn limit(&mut self, spec: RestartSpec) {
        if spec != self.spec {
            *self = Self { restarts: self.restarts, ..Self::new(spec, self.seed) };
        }
    }

    /// The delay before the next start, after a run that was healthy for `healthy`.
    pub(crate) fn delay(&mut self, healthy: Duration) -> Duration {
        if healthy >= self.spec.reset_after.0 {
            self.next = self.spec.initial_backoff.0;
        }
        self.restarts += 1;
        let full = self.next.min(self.spec.max_backoff.0);
        self.next = (full + full / 2).min(self.spec.max_backoff.0);
        let shorter = xxh3_64_with_seed(&self.restarts.to_le_bytes(), self.seed);
        let percent = 100 - (shorter % (JITTER_PERCENT + 1)) as u32;
        full * percent / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn delays_grow_to_a_bound_and_begin_anew_after_a_healthy_time() {
        let mut backoff = Backoff::new(RestartSpec::default(), 7);
        let delays: Vec<_> = (0..20).map(|_| backoff.delay(Duration::ZERO)).collect();
        for (i, delay) in delays.iter().enumerate() {
            let full = Duration::from_secs_f64(1.5_f64.powi(i as i32).min(60.0));
            let slack = Duration::from_micros(1);
            assert!(*delay <= full + slack && *delay + slack >= full * 3 / 4, "{i}: {delay:?}");
        }
        assert!(backoff.delay(HOUR) <= Duration::from_secs(1));
    }

    #[test]
    fn two_seeds_spread() {
        let delay = |seed| Backoff::new(RestartSpec::default(), seed).delay(Duration::ZERO);
        let delays: std::collections::BTreeSet<_> = (0..20).map(delay).collect();
        assert!(delays.len() > 5, "{delays:?}");
    }
}
