//! What every contender of the benchmark shares, so that all of them do the same work.
//!
//! [`record`] makes the synthetic stream, [`workload`] says what is asked of it, [`tally`] counts
//! and checksums what comes out, [`cpu`] and [`clock`] read what the kernel counts, and
//! [`outcome`] is the one line of JSON that a contender prints. Ours, the hand-written loops and
//! the peers in `bench/peers` receive from here; the runner of `millstream-bench` reads the lines.
//! Invariant: nothing in here knows any engine.

#![deny(missing_docs)]

pub mod clock;
pub mod cpu;
pub mod outcome;
pub mod record;
pub mod tally;
pub mod workload;

pub use outcome::{Agreement, Outcome, Stopwatch};
pub use record::{Part, Rec};
pub use tally::Tally;
pub use workload::Workload;

/// Records per batch, for every contender that lets us choose.
pub const BATCH_RECORDS: usize = 1024;

/// Threads, source parts and keyed tasks of a run.
pub const THREADS: usize = 2;
