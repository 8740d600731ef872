//! [`Meter`]: adds up what the engine's tasks spend on their own housekeeping.
//!
//! Told by the engine threads, read by [`super::jobs`] when the job has ended. Invariant: one per
//! process, so a process runs one case.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::ensure;
use millstream_bench_stream::cpu::thread_cpu_ns;
use millstream_dataflow::probe::{Probe, Work, install};

use super::Figures;
use crate::verdict::median;

/// Stretches longer than this are counted: the target for one.
const LONG_NS: u64 = 1_000_000;

/// What tasks have spent, in nanoseconds of their threads' CPU time.
#[derive(Debug, Default)]
pub(super) struct Meter {
    barriers_ns: Mutex<Vec<u64>>,
    capture_ns: AtomicU64,
    capture_ns_max: AtomicU64,
    threads_ns: AtomicU64,
    stretch_ns_max: AtomicU64,
    stretches_long: AtomicU64,
}

struct Installed(Arc<Meter>);

impl Probe for Installed {
    fn thread_cpu_ns(&self) -> u64 {
        thread_cpu_ns()
    }

    fn spent(&self, work: Work, cpu_ns: u64) {
        self.0.spent(work, cpu_ns);
    }
}

impl Meter {
    /// The meter of this process.
    pub(super) fn install() -> anyhow::Result<Arc<Self>> {
        let meter = Arc::new(Self::default());
        ensure!(install(Box::new(Installed(meter.clone()))), "a process runs one case");
        Ok(meter)
    }

    fn spent(&self, work: Work, cpu_ns: u64) {
        match work {
            Work::Barrier => {
                self.barriers_ns.lock().unwrap_or_else(PoisonError::into_inner).push(cpu_ns);
            }
            Work::Capture => {
                self.capture_ns.fetch_add(cpu_ns, Ordering::Relaxed);
                self.capture_ns_max.fetch_max(cpu_ns, Ordering::Relaxed);
            }
            Work::Thread => {
                self.threads_ns.fetch_add(cpu_ns, Ordering::Relaxed);
            }
            Work::Stretch => {
                if cpu_ns > LONG_NS {
                    self.stretches_long.fetch_add(1, Ordering::Relaxed);
                }
                if cpu_ns > self.stretch_ns_max.load(Ordering::Relaxed) {
                    self.stretch_ns_max.fetch_max(cpu_ns, Ordering::Relaxed);
                }
            }
        }
    }

    /// What it has seen of a run for which the whole process has spent so much.
    ///
    /// Everything that is not on an engine thread counts as a cost of snapshots: the encoder, the
    /// writes, and the little that the coordinator does.
    ///
    /// # Errors
    /// Where the engine told nothing: then nothing that follows from it would be true.
    pub(super) fn figures(&self, process_cpu_seconds: f64) -> anyhow::Result<Figures> {
        let (threads, stretch) = (&self.threads_ns, &self.stretch_ns_max);
        let told = |ns: &AtomicU64| ns.load(Ordering::Relaxed) > 0;
        ensure!(told(threads) && told(stretch), "the engine told the probe nothing");
        let seconds = |ns: u64| ns as f64 / 1e9;
        let barriers = self.barriers_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let on_threads = self.capture_ns.load(Ordering::Relaxed) + barriers.iter().sum::<u64>();
        let beside = process_cpu_seconds - seconds(self.threads_ns.load(Ordering::Relaxed));
        let share = (beside + seconds(on_threads)) / process_cpu_seconds;
        let ms = |ns: u64| ns as f64 / 1e6;
        let mut figures = vec![
            ("cpu_seconds", process_cpu_seconds),
            ("snapshot_cpu_percent", share * 100.0),
            (
                "engine_thread_snapshot_cpu_percent",
                seconds(on_threads) / process_cpu_seconds * 100.0,
            ),
            ("stretch_ms_max", ms(self.stretch_ns_max.load(Ordering::Relaxed))),
            ("capture_ms_max", ms(self.capture_ns_max.load(Ordering::Relaxed))),
            ("stretches_over_1_ms", self.stretches_long.load(Ordering::Relaxed) as f64),
        ];
        if let Some(median) = median(barriers.iter().map(|ns| ms(*ns))) {
            let longest = barriers.iter().copied().max().unwrap_or(0);
            figures.extend([("barrier_ms_median", median), ("barrier_ms_max", ms(longest))]);
        }
        Ok(figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_on_an_engine_thread_counts_as_snapshots() {
        let meter = Meter::default();
        assert!(meter.figures(1.0).is_err());
        let ms = 1_000_000;
        meter.spent(Work::Thread, 700 * ms);
        meter.spent(Work::Thread, 200 * ms);
        meter.spent(Work::Capture, 30 * ms);
        for barrier in [5, 1, 4] {
            meter.spent(Work::Barrier, barrier * ms);
        }
        for stretch in [ms / 2, 7 * ms, 2 * ms] {
            meter.spent(Work::Stretch, stretch);
        }
        let figures = meter.figures(1.0).unwrap();
        let near = |name: &str, value: f64| assert!((figures[name] - value).abs() < 1e-9, "{name}");
        near("snapshot_cpu_percent", 14.0);
        near("engine_thread_snapshot_cpu_percent", 4.0);
        near("barrier_ms_median", 4.0);
        near("barrier_ms_max", 5.0);
        near("stretch_ms_max", 7.0);
        near("capture_ms_max", 30.0);
        near("stretches_over_1_ms", 2.0);
    }
}
