//! [`Clock`]: where the engine reads processing time. A component, so that tests can set it.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Timestamp;

/// Where the engine reads the time.
pub trait Clock: Send + Sync + 'static {
    /// Processing time.
    fn now(&self) -> Timestamp;

    /// Nanoseconds since some fixed point, never falling: for measuring work.
    fn monotonic_ns(&self) -> u64;
}

/// The machine's clock. Never falls within a process, whatever is done to the system time.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    start_time: Duration,
}

impl SystemClock {
    /// Reads the system time once; from there on only the monotonic clock counts.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn new() -> Self {
        let start_time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_time }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(crate::time::millis(self.start_time + self.start.elapsed()))
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that stands still until it is set.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Sets the time.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }
}
