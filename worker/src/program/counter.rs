//! `counter`: counts numbers by their last digits; the smallest job with state.

use millstream_dataflow::connector::discard::Discard;
use millstream_dataflow::connector::generator::Generator;
use millstream_dataflow::{Error, Job, Result};

/// Counts numbers by their remainder.
pub(super) fn counter(job: &mut Job) -> Result<()> {
    let keys: u64 = job.args().parse_or("keys", 1000)?;
    if keys == 0 {
        return Err(Error::invalid("spec.program.args.keys: is 0: write 1 or more"));
    }
    let records: u64 = job.args().parse_or("records", u64::MAX)?;
    let rate: f64 = job.args().parse_or("recordsPerSecond", 100_000.0)?;
    // As the generator refuses it, but here the argument has a name.
    if !rate.is_finite() || rate < 1e-6 {
        return Err(Error::invalid(format!(
            "spec.program.args.recordsPerSecond: is {rate:?}: write a number of at least 0.000001"
        )));
    }
    let numbers = Generator::new(|n| n).splits(4).records(records).records_per_second(rate);
    job.source("numbers", numbers)
        .key_by(move |n| n % keys)
        .scan("counts", 0u64, move |count, n| {
            *count += 1;
            (n % keys, *count)
        })
        .sink("out", Discard::new());
    Ok(())
}
