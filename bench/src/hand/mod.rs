//! The hand-written loops: what a good engineer writes for one workload, without a framework.
//!
//! Two threads, each with its half of the stream. Keyed ones hand records over through
//! [`exchange`], in batches of the engine's size and by the engine's hash, so that the difference
//! to ours is the framework. Invariant: no virtual call, no allocation per batch once the buffers
//! go round.

mod chain;
mod exchange;
mod hop;
mod kafka;
pub mod pair;
mod shuffle;
pub mod shuffle_grpc;
mod sum;
mod sum_rocks;
mod tumbling;

use millstream_bench_stream::{Outcome, Stopwatch, Workload};

/// Runs a workload over its first `records` records; `None` where there is no hand loop.
///
/// # Errors
/// Where what it runs against fails.
pub fn run(workload: Workload, records: u64) -> anyhow::Result<Option<Outcome>> {
    let keys = workload.keys();
    let watch = Stopwatch::start();
    let output = match workload {
        Workload::Chain => chain::run(records, keys),
        Workload::Shuffle => shuffle::run(records, keys),
        Workload::ShuffleGrpc => return shuffle_grpc::run(records).map(Some),
        Workload::Sum | Workload::SumLarge => sum::run(records, keys),
        Workload::Tumbling => tumbling::run(records, keys),
        Workload::Hop => hop::run(records, keys),
        Workload::SumRocks => sum_rocks::run(records, keys)?,
        Workload::Q5 | Workload::Q7 | Workload::Q8 => return Ok(None),
        Workload::Kafka => return kafka::run(records).map(Some),
    };
    Ok(Some(watch.stop(workload, records, output)))
}

#[cfg(test)]
mod tests;
