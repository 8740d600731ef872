//! [`Probe`]: tells a benchmark what tasks spend on their own housekeeping.
//!
//! Installed once per process, told by [`super::Step`] on the engine threads. Invariant: without a
//! probe nothing is measured, and a step costs a test of an empty option per event.

use std::sync::OnceLock;

/// What CPU time was spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The cut of a snapshot in a task that reads from others: all that stands between the last
    /// record before the barrier and the first one behind it.
    Barrier,
    /// A slice of a capture.
    Capture,
    /// From one point at which a task could take input, or gave its thread back, to the next. Holds
    /// whatever was done between them: a batch, timers, a slice of a capture, growth of a table.
    Stretch,
    /// The whole life of an engine thread.
    Thread,
}

/// Takes down what tasks spend on their own housekeeping. Called from the engine threads.
pub trait Probe: Send + Sync + 'static {
    /// The CPU time of the calling thread so far, in nanoseconds.
    fn thread_cpu_ns(&self) -> u64;

    /// So many nanoseconds of CPU time went into this.
    fn spent(&self, work: Work, cpu_ns: u64);
}

static PROBE: OnceLock<Box<dyn Probe>> = OnceLock::new();

/// Installs the probe of this process, for the engines that are deployed from here on. False where
/// there is one already: it stays.
pub fn install(probe: Box<dyn Probe>) -> bool {
    PROBE.set(probe).is_ok()
}

/// What a step measures with: nothing, unless a probe is installed.
#[derive(Clone, Copy)]
pub(super) struct Meter {
    probe: Option<&'static dyn Probe>,
    /// When the stretch began.
    since: u64,
}

impl Meter {
    /// The meter of the calling thread.
    pub(super) fn of_process() -> Self {
        Self::of(PROBE.get().map(AsRef::as_ref))
    }

    fn of(probe: Option<&'static dyn Probe>) -> Self {
        Self { probe, since: 0 }
    }

    /// The CPU time of this thread; 0 where nothing is measured.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        self.probe.map_or(0, Probe::thread_cpu_ns)
    }

    /// Notes what was spent since a reading of [`Meter::now`].
    #[inline]
    pub(super) fn spent(&self, work: Work, since: u64) {
        if let Some(probe) = self.probe {
            probe.spent(work, probe.thread_cpu_ns().saturating_sub(since));
        }
    }

    /// The task has its turn: a stretch begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        self.since = self.now();
    }

    /// A stretch ends, and the next begins.
    #[inline]
    pub(super) fn lap(&mut self) {
        if let Some(probe) = self.probe {
            let now = probe.thread_cpu_ns();
            probe.spent(Work::Stretch, now.saturating_sub(self.since));
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Each reading is 10 ns later than the one before.
    #[derive(Default)]
    struct Ticking {
        now: AtomicU64,
        spent: Mutex<Vec<(Work, u64)>>,
    }

    impl Probe for Ticking {
        fn thread_cpu_ns(&self) -> u64 {
            self.now.fetch_add(10, Ordering::Relaxed)
        }

        fn spent(&self, work: Work, cpu_ns: u64) {
            self.spent.lock().unwrap_or_else(PoisonError::into_inner).push((work, cpu_ns));
        }
    }

    #[test]
    fn stretches_lie_end_to_end_and_other_work_lies_within_them() {
        let probe: &'static Ticking = Box::leak(Box::default());
        let mut meter = Meter::of(Some(probe));
        meter.begin();
        meter.lap();
        let since = meter.now();
        meter.spent(Work::Barrier, since);
        meter.lap();
        let spent = probe.spent.lock().unwrap();
        assert_eq!(*spent, [(Work::Stretch, 10), (Work::Barrier, 10), (Work::Stretch, 30)]);
    }

    #[test]
    fn without_a_probe_no_clock_is_read() {
        let mut meter = Meter::of(None);
        meter.begin();
        meter.lap();
        meter.spent(Work::Capture, meter.now());
        assert_eq!(meter.now(), 0);
    }
}
