//! What each of two processes has measured of a run, and what that makes together.
//!
//! Written by [`crate::ours`] to a file per worker, by the second process of [`crate::hand`] to its
//! standard output. Invariant: times are readings of the clock that both processes share.

use anyhow::Context;
use millstream_bench_stream::cpu::{peak_rss_bytes, process_cpu_seconds};
use millstream_bench_stream::{Agreement, Outcome, Tally, Workload};
use serde::{Deserialize, Serialize};

/// What one process has measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Half {
    /// What came out here.
    pub tally: Tally,
    /// When it was about to make its first record.
    pub began_ns: u64,
    /// When the last output was counted here.
    pub ended_ns: u64,
    /// CPU time of the process so far, its start included.
    pub cpu_seconds: f64,
    /// The most memory that the process has held.
    pub peak_rss_bytes: u64,
}

impl Half {
    /// That of this process, which is done.
    pub fn of(tally: Tally, began_ns: u64, ended_ns: u64) -> Self {
        let (cpu_seconds, peak_rss_bytes) = (process_cpu_seconds(), peak_rss_bytes());
        Self { tally, began_ns, ended_ns, cpu_seconds, peak_rss_bytes }
    }
}

/// From the first record made anywhere to the last output counted anywhere.
///
/// # Errors
/// Where there is no half.
pub fn whole(workload: Workload, records: u64, halves: &[Half]) -> anyhow::Result<Outcome> {
    let began = halves.iter().map(|half| half.began_ns).min().context("no process measured")?;
    let ended = halves.iter().map(|half| half.ended_ns).max().unwrap_or(began);
    let mut tally = Tally::default();
    for half in halves {
        tally.merge(half.tally);
    }
    Ok(Outcome {
        workload,
        records_in: records,
        records_out: tally.records,
        checksum: tally.checksum_hex(),
        value_sum: tally.value_sum,
        agreement: Agreement::Exact,
        seconds: ended.saturating_sub(began) as f64 / 1e9,
        cpu_seconds: halves.iter().map(|half| half.cpu_seconds).sum(),
        peak_rss_bytes: halves.iter().map(|half| half.peak_rss_bytes).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_begins_with_the_first_and_ends_with_the_last() {
        let half = |key, began_ns, ended_ns| {
            let mut tally = Tally::default();
            tally.add(key, 1, 5);
            Half { tally, began_ns, ended_ns, cpu_seconds: 1.0, peak_rss_bytes: 7 }
        };
        let halves = [half(1, 2_000_000_000, 9_000_000_000), half(2, 3_000_000_000, 4_000_000_000)];
        let whole = whole(Workload::ShuffleGrpc, 2, &halves).unwrap();
        assert_eq!((whole.records_out, whole.value_sum, whole.peak_rss_bytes), (2, 10, 14));
        assert!((whole.seconds - 7.0).abs() < 1e-9 && (whole.cpu_seconds - 2.0).abs() < 1e-9);
        assert!(super::whole(Workload::ShuffleGrpc, 2, &[]).is_err());
    }
}
