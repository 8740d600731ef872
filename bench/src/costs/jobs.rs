//! Cases that run a job as a user would, and watch it.
//!
//! Called by [`super::case`], run by [`crate::ours`]. Invariant: the whole job with its coordinator
//! and a store on disk, except where snapshots have no part in the figure.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use millstream_bench_stream::{Part, Stopwatch, THREADS};
use millstream_dataflow::operator::aggregate::Sum;
use millstream_dataflow::window::Tumbling;
use millstream_dataflow::{Job, Result, Timestamp, Watermarks};

use super::Figures;
use super::meter::Meter;
use crate::ours::ends::{Ends, Synthetic, TallySink};
use crate::ours::programs::{add, add_window, ms, sums};
use crate::ours::run::{Whole, engine_alone, own_ends, whole_job};
use crate::verdict::median;

/// More records than any run with a time limit takes.
const NO_END: u64 = 1 << 50;

/// What the cases with 5 M keys take, with a snapshot on its way.
const LARGE_MIB: usize = 1536;
/// A page that the system clears when it is first written to.
const PAGE_BYTES: usize = 2 << 20;

/// Takes so much memory, writes to it and gives it back to the allocator, which keeps it: a machine
/// that is itself a guest may have to find each page first, which takes milliseconds and is nothing
/// that a task does. Returns the longest that one page took.
fn back_memory(mib: usize) -> f64 {
    let mut longest = Duration::ZERO;
    let pages: Vec<Vec<u8>> = (0..mib << 20)
        .step_by(PAGE_BYTES)
        .map(|_| {
            let watch = Stopwatch::start();
            let page = vec![1; PAGE_BYTES];
            longest = longest.max(Duration::from_secs_f64(watch.seconds()));
            page
        })
        .collect();
    std::hint::black_box(&pages);
    longest.as_secs_f64() * 1e3
}

/// A running sum at full load, for a time.
pub(super) struct Running {
    pub(super) keys: u64,
    pub(super) seconds: f64,
    pub(super) interval: Duration,
    pub(super) epochs_min: u64,
    /// Whether its memory is to be there before it begins.
    pub(super) is_large: bool,
}

pub(super) fn running(case: &Running) -> anyhow::Result<Figures> {
    let fresh_page_ms = if case.is_large { back_memory(LARGE_MIB) } else { 0.0 };
    let meter = Meter::install()?;
    let watch = Stopwatch::start();
    let ends = Ends::new(watch);
    let args = args(&[("keys", case.keys.to_string()), ("seconds", case.seconds.to_string())]);
    let epochs = whole_job(Whole { build: sum_for, args, ..Whole::every(case.interval) }, &ends)?;
    let mut figures = meter.figures(watch.cpu_seconds())?;
    let (emitted, counted) = (ends.emitted(), ends.counted());
    ensure!(counted.tally.records == emitted, "{emitted} in, {} out", counted.tally.records);
    let least = case.epochs_min;
    ensure!(epochs >= least, "only {epochs} snapshots, {least} are needed");
    figures.insert("epochs".into(), epochs as f64);
    figures.insert("fresh_page_ms_max".into(), fresh_page_ms);
    figures.insert("rate".into(), emitted as f64 / counted.last_seconds / 1e6);
    Ok(figures)
}

fn sum_for(job: &mut Job) -> Result<()> {
    let ends = own_ends()?;
    let (keys, seconds) = (job.args().parse("keys")?, job.args().parse("seconds")?);
    let until = Some((seconds, ends.clone()));
    let source =
        job.source("synthetic", Synthetic { records: NO_END, keys, parts: THREADS, until });
    sums(&source).sink("out", TallySink::new(&ends, add));
    Ok(())
}

/// A sum per key and tumbling window.
pub(super) struct Firing {
    pub(super) keys: u64,
    pub(super) records: u64,
    pub(super) window_ms: i64,
    pub(super) interval: Duration,
}

pub(super) fn firing(case: &Firing) -> anyhow::Result<Figures> {
    let fresh_page_ms = back_memory(LARGE_MIB);
    let meter = Meter::install()?;
    let watch = Stopwatch::start();
    let ends = Ends::new(watch);
    let args = args(&[
        ("keys", case.keys.to_string()),
        ("records", case.records.to_string()),
        ("window", case.window_ms.to_string()),
    ]);
    whole_job(Whole { build: windows_of, args, ..Whole::every(case.interval) }, &ends)?;
    let mut figures = meter.figures(watch.cpu_seconds())?;
    let counted = ends.counted();
    let values: i64 = Part::new(0, 1, case.records, case.keys).map(|r| r.value).sum();
    let summed = counted.tally.value_sum;
    figures.insert("fresh_page_ms_max".into(), fresh_page_ms);
    ensure!(summed == values, "the windows' sums add up to {summed}, the values to {values}");
    figures.insert("rate".into(), case.records as f64 / counted.last_seconds / 1e6);
    Ok(figures)
}

fn windows_of(job: &mut Job) -> Result<()> {
    let ends = own_ends()?;
    let (keys, records) = (job.args().parse("keys")?, job.args().parse("records")?);
    let window = Tumbling::of(ms(job.args().parse("window")?));
    let source = job.source("synthetic", Synthetic { records, keys, parts: THREADS, until: None });
    let timed = source.event_time(|r| Timestamp(r.at), Watermarks::ascending());
    let sums = timed.key_by(|r| r.key).window(window).aggregate("sums", |r| r.value, Sum);
    sums.sink("out", TallySink::new(&ends, add_window));
    Ok(())
}

/// The running sum over 100 k keys and so many records, on the engine alone: the median rate of so
/// many runs, for short ones vary.
pub(super) fn records(records: u64, runs: usize) -> anyhow::Result<Figures> {
    let rates: Vec<f64> = (0..runs).map(|_| sum_of(records)).collect::<anyhow::Result<_>>()?;
    let rate = median(rates.into_iter()).context("no run was asked for")?;
    Ok(Figures::from([("rate".into(), rate)]))
}

fn sum_of(records: u64) -> anyhow::Result<f64> {
    let watch = Stopwatch::start();
    let ends = Ends::new(watch);
    engine_alone(|job| {
        let keys = 100_000;
        let source = Synthetic { records, keys, parts: THREADS, until: None };
        let source = job.source("synthetic", source);
        sums(&source).sink("out", TallySink::new(&ends, add));
    })?;
    rate_of(records, &ends)
}

/// Million records per second, if every record has come out.
pub(super) fn rate_of(records: u64, ends: &Ends) -> anyhow::Result<f64> {
    let counted = ends.counted();
    ensure!(counted.tally.records == records, "{records} in, {} out", counted.tally.records);
    Ok(records as f64 / counted.last_seconds / 1e6)
}

fn args(args: &[(&str, String)]) -> BTreeMap<String, String> {
    args.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}
