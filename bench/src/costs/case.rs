//! The cases: what one child process runs and measures.
//!
//! Started by [`super::runner`] and by the tests. Invariant: a case fails rather than report
//! figures of a run that lost records or took fewer snapshots than it should have.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;

use super::deltas::Deltas;
use super::jobs::{Firing, Running};
use super::latency::Latency;
use super::{Figures, channels, deltas, jobs, latency, recovery, round_trip};

/// How much of it: all, a part that shows that it works, or what a test can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// As the targets say.
    Full,
    /// Some seconds for all lines together.
    Quick,
    /// A few hundred milliseconds each.
    Tiny,
}

impl Size {
    pub(super) fn of<T>(self, full: T, quick: T, tiny: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Tiny => tiny,
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        self.of("full", "quick", "tiny")
    }
}

/// One run in a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// Running sum, 100 k keys, at full load, snapshots every second.
    Sum100k,
    /// The same without snapshots.
    Sum100kBare,
    /// Running sum, 1 M keys, at full load, snapshots every second.
    Sum1m,
    /// The same without snapshots.
    Sum1mBare,
    /// Running sum, 5 M keys, snapshots every second: its tables grow the whole time.
    Sum5m,
    /// Windows of 10 s over 5 M keys, snapshots every second: 4 M results per window.
    Windows5m,
    /// Running sum over 10 M records, 100 k keys, five times.
    Records10m,
    /// The same over 100 M.
    Records100m,
    /// Snapshots of 100 k keys, 10 k of them changed.
    Delta100k,
    /// Snapshots of 1 M keys, 10 k of them changed.
    Delta1m,
    /// Snapshots of 1 M keys, all of them changed.
    DeltaAll1m,
    /// Keyed sum, 2 source and 2 keyed tasks.
    Tasks2,
    /// The same with 16 of each.
    Tasks16,
    /// The same with 64 of each.
    Tasks64,
    /// 64 source and 64 keyed tasks, all channels full.
    Full64,
    /// A job in two processes, of which one dies.
    Recovery,
    /// A job in one process that goes on in two, and in one again.
    Rescale,
    /// Records at a fixed rate from one process to another.
    Latency,
    /// Messages to another process and back, over gRPC alone.
    RoundTrip,
}

impl Case {
    /// Every case.
    pub const ALL: [Self; 19] = [
        Self::Sum100k,
        Self::Sum100kBare,
        Self::Sum1m,
        Self::Sum1mBare,
        Self::Sum5m,
        Self::Windows5m,
        Self::Records10m,
        Self::Records100m,
        Self::Delta100k,
        Self::Delta1m,
        Self::DeltaAll1m,
        Self::Tasks2,
        Self::Tasks16,
        Self::Tasks64,
        Self::Full64,
        Self::Recovery,
        Self::Rescale,
        Self::Latency,
        Self::RoundTrip,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum100k => "sum-100k",
            Self::Sum100kBare => "sum-100k-bare",
            Self::Sum1m => "sum-1m",
            Self::Sum1mBare => "sum-1m-bare",
            Self::Sum5m => "sum-5m",
            Self::Windows5m => "windows-5m",
            Self::Records10m => "records-10m",
            Self::Records100m => "records-100m",
            Self::Delta100k => "delta-100k",
            Self::Delta1m => "delta-1m",
            Self::DeltaAll1m => "delta-all-1m",
            Self::Tasks2 => "tasks-2",
            Self::Tasks16 => "tasks-16",
            Self::Tasks64 => "tasks-64",
            Self::Full64 => "full-64",
            Self::Recovery => "recovery",
            Self::Rescale => "rescale",
            Self::Latency => "latency",
            Self::RoundTrip => "round-trip",
        }
    }

    /// Runs it in this process, which must run nothing else.
    ///
    /// # Errors
    /// Where the job fails, loses records, or takes too few snapshots.
    pub fn run(self, size: Size) -> anyhow::Result<Figures> {
        match self {
            Self::Sum100k => running(100_000, true, size),
            Self::Sum100kBare => running(100_000, false, size),
            Self::Sum1m => running(1_000_000, true, size),
            Self::Sum1mBare => running(1_000_000, false, size),
            Self::Sum5m => jobs::running(&Running {
                keys: size.of(5_000_000, 5_000_000, 64_000),
                seconds: size.of(10.0, 3.0, 0.5),
                interval: interval(size),
                epochs_min: 1,
                is_large: true,
            }),
            Self::Windows5m => jobs::firing(&Firing {
                keys: size.of(5_000_000, 5_000_000, 64_000),
                records: size.of(120_000_000, 36_000_000, 400_000),
                window_ms: size.of(10_000, 10_000, 100),
                interval: interval(size),
            }),
            Self::Records10m => jobs::records(size.of(10_000_000, 2_000_000, 100_000), 5),
            Self::Records100m => jobs::records(size.of(100_000_000, 20_000_000, 400_000), 1),
            Self::Delta100k => delta(100_000, 10_000, size),
            Self::Delta1m => delta(1_000_000, 10_000, size),
            Self::DeltaAll1m => delta(1_000_000, 1_000_000, size),
            Self::Tasks2 => channels::rate(2, tasks_records(size)),
            Self::Tasks16 => channels::rate(16, tasks_records(size)),
            Self::Tasks64 => channels::rate(64, tasks_records(size)),
            Self::Full64 => channels::full(64, size.of(80_000_000, 40_000_000, 400_000)),
            Self::Recovery => recovery::recovery(large_keys(size)),
            Self::Rescale => recovery::rescale(large_keys(size)),
            Self::Latency => latency::run(&Latency {
                rate: size.of(100_000, 100_000, 10_000),
                seconds: size.of(10.0, 3.0, 0.3),
                warm_seconds: size.of(2.0, 1.0, 0.1),
            }),
            Self::RoundTrip => round_trip::run(size.of(50_000, 10_000, 200)),
        }
    }
}

fn interval(size: Size) -> Duration {
    size.of(Duration::from_secs(1), Duration::from_secs(1), Duration::from_millis(100))
}

/// A kilobyte each.
fn large_keys(size: Size) -> u64 {
    size.of(100_000, 100_000, 3000)
}

fn tasks_records(size: Size) -> u64 {
    size.of(60_000_000, 10_000_000, 400_000)
}

fn running(keys: u64, snapshots: bool, size: Size) -> anyhow::Result<Figures> {
    let hour = Duration::from_hours(1);
    jobs::running(&Running {
        keys: size.of(keys, keys, keys / 25),
        // Snapshots that take their time may skip a second: ten epochs need a little more than ten.
        seconds: if snapshots { size.of(13.0, 3.2, 0.6) } else { size.of(4.0, 1.0, 0.2) },
        interval: if snapshots { interval(size) } else { hour },
        epochs_min: if snapshots { size.of(10, 2, 1) } else { 0 },
        is_large: false,
    })
}

fn delta(keys: u64, changed: u64, size: Size) -> anyhow::Result<Figures> {
    let divisor = size.of(1, 1, 100);
    let (keys, changed) = (keys / divisor, changed / divisor);
    deltas::run(&Deltas { keys, changed, epochs: size.of(10, 6, 4) })
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match Self::ALL.into_iter().find(|case| case.name() == name) {
            Some(case) => Ok(case),
            None => bail!("case '{name}' is unknown"),
        }
    }
}
