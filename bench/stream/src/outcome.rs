//! What a run brings back: one line of JSON on standard output.
//!
//! A contender starts a [`Stopwatch`] when its job starts and prints the [`Outcome`] when the last
//! output record is counted; the runner of `millstream-bench` reads it. Invariant: times and memory
//! are read in the process that did the work.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cpu::{peak_rss_bytes, process_cpu_seconds};
use crate::tally::Tally;
use crate::workload::Workload;

/// How far a contender's output can be compared with that of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// Count and checksum must be those of the others.
    #[default]
    Exact,
    /// Its windows start elsewhere: only the sum of the values must agree.
    Values,
    /// It computes something slightly different: nothing can be compared.
    None,
}

/// The result of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What ran.
    pub workload: Workload,
    /// Records that went in.
    pub records_in: u64,
    /// Records that came out.
    pub records_out: u64,
    /// [`Tally::checksum_hex`]: JSON numbers lose bits.
    pub checksum: String,
    /// [`Tally::value_sum`].
    pub value_sum: i64,
    /// How far the output can be compared.
    #[serde(default)]
    pub agreement: Agreement,
    /// Wall time from the job's start to its last output, in seconds.
    pub seconds: f64,
    /// User and system time of the whole process over the same span, in seconds.
    pub cpu_seconds: f64,
    /// The most memory that the process has held, in bytes.
    pub peak_rss_bytes: u64,
}

impl Outcome {
    /// Millions of input records per second.
    pub fn rate(&self) -> f64 {
        self.records_in as f64 / self.seconds / 1e6
    }

    /// The line to print.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("an outcome has only string keys")
    }

    /// The same, with a weaker promise about its output.
    #[must_use]
    pub fn agreeing(self, agreement: Agreement) -> Self {
        Self { agreement, ..self }
    }
}

/// Measures one run.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    wall: Instant,
    cpu_seconds: f64,
}

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu_seconds: process_cpu_seconds() }
    }

    /// Wall time so far, in seconds.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub fn seconds(&self) -> f64 {
        self.wall.elapsed().as_secs_f64()
    }

    /// User and system time of the whole process so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        process_cpu_seconds() - self.cpu_seconds
    }

    /// Stops, and puts the result together.
    pub fn stop(self, workload: Workload, records_in: u64, output: Tally) -> Outcome {
        Outcome {
            workload,
            records_in,
            records_out: output.records,
            checksum: output.checksum_hex(),
            value_sum: output.value_sum,
            agreement: Agreement::Exact,
            seconds: self.seconds(),
            cpu_seconds: self.cpu_seconds(),
            peak_rss_bytes: peak_rss_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back() {
        let mut tally = Tally::default();
        tally.add(1, 2, -3);
        let measured = Stopwatch::start().stop(Workload::SumLarge, 7, tally);
        assert!(measured.peak_rss_bytes > 0 && measured.seconds > 0.0);
        // The parser may be off by one in the last digit of a float: not so with these.
        let outcome = Outcome { seconds: 0.5, cpu_seconds: 0.25, ..measured };
        assert_eq!(serde_json::from_str::<Outcome>(&outcome.line()).unwrap(), outcome);
        assert!(outcome.line().contains(r#""workload":"sum-large""#));
    }
}
