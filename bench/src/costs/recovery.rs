//! How long a job in processes is without output: when a worker dies, and when their number
//! changes while it runs.
//!
//! Called by [`super::case`], run by [`crate::processes`]; [`super::witness`] is the job's sink.
//! Invariant: the time runs until every worker has put out a record again, and only where the state
//! that was restored is as large as it is said to be.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use millstream_bench_stream::clock::monotonic_ns;
use millstream_worker::clock::{Clock as _, SystemClock};
use millstream_worker::connector::generator::Generator;
use millstream_worker::{Job, Result, Timestamp};

use super::Figures;
use super::witness::{Output, Witness, outputs};
use crate::processes::{JOB, JobRun, Spec};

/// What is kept of a key: how many records it had, and a kilobyte.
type Kept = (u64, [[u8; 32]; 32]);
/// Bytes of that, at the least.
const KEPT_BYTES: u64 = 1024;

/// What a worker says that has seen its part of the keys.
const FULL: &str = "all keys are there";

/// A kilobyte for each key; says when all keys are there.
pub(crate) fn large_state(job: &mut Job) -> Result<()> {
    let (keys, rate): (u64, f64) = (job.args().parse("keys")?, job.args().parse("rate")?);
    let folder = job.args().get("folder")?.into();
    let records = Generator::new(|n| n).splits(2).records_per_second(rate);
    // Of each deployment, on each worker.
    let all: &'static Once = Box::leak(Box::new(Once::new()));
    let left: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(keys / 3)));
    let keyed = job.source("records", records).key_by(move |n| n % keys);
    let sums = keyed.scan("sums", Kept::default(), move |kept: &mut Kept, n| {
        if kept.0 == 0 && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            all.call_once(|| eprintln!("{FULL}"));
        }
        kept.0 += 1;
        fill(&mut kept.1, n);
        kept.0
    });
    sums.sink("out", Witness::new(folder));
    Ok(())
}

/// Bytes that no compression makes fewer.
fn fill(rows: &mut [[u8; 32]; 32], n: u64) {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for part in rows.iter_mut().flat_map(|row| row.chunks_exact_mut(8)) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        part.copy_from_slice(&x.to_le_bytes());
    }
}

fn prepare(folder: &Path, keys: u64) -> anyhow::Result<()> {
    let args = [
        ("keys", keys.to_string()),
        ("rate", "200000".to_owned()),
        ("folder", folder.display().to_string()),
    ];
    Spec { program: "large-state", args: &args, interval: "500ms" }.write(folder)
}

/// Kills one of two workers, with a kilobyte of state for so many keys.
pub(super) fn recovery(keys: u64) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    prepare(folder.path(), keys)?;
    let mut job = JobRun::start(folder.path(), 2)?;
    // Of the keys, each of the two has half; a third of all is said by both.
    job.wait_for(FULL, 2)?;
    snapshot(&mut job, folder.path(), keys)?;
    let (killed, killed_at) = (monotonic_ns(), SystemClock::new().now());
    job.kill_worker(1)?;
    let all = begin_after(&mut job, folder.path(), killed, 2)?.all_ns;
    let said = job.wait_for(RUNS_AGAIN, 1)?;
    job.stop()?;
    let parts = Parts::told(&said, killed_at).with_context(|| format!("it says {said:?}"))?;
    let whole = seconds(killed, all);
    let Parts { found, workers, state, start } = parts;
    Ok(Figures::from([
        ("recovery_s".to_owned(), whole),
        ("found_s".to_owned(), found),
        ("workers_s".to_owned(), workers),
        ("state_s".to_owned(), state),
        ("start_s".to_owned(), start),
        ("output_s".to_owned(), whole - found - workers - state - start),
        ("state_mb".to_owned(), (keys * KEPT_BYTES) as f64 / 1e6),
    ]))
}

/// What a job says of a restart that is over.
const RUNS_AGAIN: &str = "runs again";

/// What a restart took, in seconds, one part behind the other.
struct Parts {
    /// Until the job said that it restarts,
    found: f64,
    /// until all workers were there,
    workers: f64,
    /// until they had their state,
    state: f64,
    /// and until their tasks were started.
    start: f64,
}

impl Parts {
    /// Out of the lines that a job says.
    fn told(said: &str, killed_at: Timestamp) -> Option<Self> {
        let found = said.lines().find(|line| line.contains(" restarts (attempt "))?;
        let found: Timestamp = found.split_whitespace().next()?.parse().ok()?;
        let again = said.lines().find(|line| line.contains(RUNS_AGAIN))?;
        let before = |text: &str| {
            let word = again.split_once(text)?.0.rsplit(' ').next()?;
            duration(word)
        };
        Some(Self {
            found: (found.millis() - killed_at.millis()).max(0) as f64 / 1e3,
            workers: before(" until all workers were there")?,
            state: before(" until they had their state")?,
            start: before(" until they ran")?,
        })
    }
}

/// Seconds of a duration as a job says it.
fn duration(word: &str) -> Option<f64> {
    match word.strip_suffix("ms") {
        Some(millis) => Some(millis.parse::<f64>().ok()? / 1e3),
        None => word.strip_suffix('s')?.parse().ok(),
    }
}

/// Lets a job with so much state go on with two workers instead of one, and with one again.
pub(super) fn rescale(keys: u64) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    prepare(folder.path(), keys)?;
    let mut job = JobRun::start(folder.path(), 1)?;
    job.wait_for(FULL, 1)?;
    let more = scaled(&mut job, folder.path(), keys, 2)?;
    let fewer = scaled(&mut job, folder.path(), keys, 1)?;
    job.stop()?;
    Ok(Figures::from([
        ("more_s".to_owned(), more.silent),
        ("more_first_s".to_owned(), more.first),
        ("more_asked_s".to_owned(), more.asked),
        ("more_stood_s".to_owned(), more.stood),
        ("more_took_s".to_owned(), more.took),
        ("fewer_s".to_owned(), fewer.silent),
        ("fewer_stood_s".to_owned(), fewer.stood),
        ("state_mb".to_owned(), (keys * KEPT_BYTES) as f64 / 1e6),
    ]))
}

/// What one change of the number of workers took, in seconds.
struct Scaled {
    /// From the last output before to the first of every worker behind,
    silent: f64,
    /// and to the first of any.
    first: f64,
    /// From the command to the last output before.
    asked: f64,
    /// What the command says: how long the job stood still, and how long all of it took.
    stood: f64,
    took: f64,
}

fn scaled(job: &mut JobRun<'_>, folder: &Path, keys: u64, workers: u32) -> anyhow::Result<Scaled> {
    snapshot(job, folder, keys)?;
    let asked = monotonic_ns();
    let said = job.scale(workers)?;
    let behind = begin_after(job, folder, asked, workers as usize)?;
    let before = outputs(folder)?.into_iter().filter(|output| output.first_ns < asked);
    let last = before.map(|output| output.last_ns).max().context("there was no output before")?;
    let (took, stood) = told(&said).with_context(|| format!("it says {said:?}"))?;
    Ok(Scaled {
        silent: seconds(last, behind.all_ns),
        first: seconds(last, behind.any_ns),
        asked: seconds(asked, last),
        stood,
        took,
    })
}

/// The two durations of the command's answer: what it took, and what of it the job stood still.
fn told(said: &str) -> Option<(f64, f64)> {
    let behind = |text: &str| {
        let (_, rest) = said.split_once(text)?;
        duration(rest.split([',', ' ', '\n']).next()?)
    };
    Some((behind("it took ")?, behind("stood still for ")?))
}

fn seconds(from_ns: u64, to_ns: u64) -> f64 {
    to_ns.saturating_sub(from_ns) as f64 / 1e9
}

/// When sinks that were opened later began to put out records.
struct Begun {
    any_ns: u64,
    all_ns: u64,
}

/// Waits until so many sinks have begun behind that time.
fn begin_after(
    job: &mut JobRun<'_>,
    folder: &Path,
    then_ns: u64,
    sinks: usize,
) -> anyhow::Result<Begun> {
    job.wait_until(|| {
        let behind = |output: &Output| output.first_ns > then_ns;
        let outputs = outputs(folder)?.into_iter().filter(behind);
        let first: Vec<u64> = outputs.map(|output| output.first_ns).collect();
        let (any, all) = (first.iter().min(), first.iter().max());
        let begun = any.zip(all).filter(|_| first.len() >= sinks);
        Ok(begun.map(|(any, all)| Begun { any_ns: *any, all_ns: *all }))
    })
}

/// Waits until a snapshot that was begun from here on is there, of all keys.
fn snapshot(job: &mut JobRun<'_>, folder: &Path, keys: u64) -> anyhow::Result<()> {
    // Twice: the first may have been begun before.
    for _ in 0..2 {
        let before = newest(folder)?;
        job.wait_until(|| Ok((newest(folder)? != before).then_some(())))?;
    }
    let bytes = size_of_files(&folder.join("store/default").join(JOB).join("parts"))?;
    ensure!(bytes >= keys * KEPT_BYTES, "the state has {bytes} bytes only");
    Ok(())
}

/// The name of the newest entry of the log.
fn newest(folder: &Path) -> anyhow::Result<Option<OsString>> {
    let log = fs::read_dir(folder.join("store/default").join(JOB).join("log"))?;
    Ok(log.flatten().map(|entry| entry.file_name()).max())
}

fn size_of_files(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { size_of_files(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_says_is_read() {
        let said = "runs on 2 workers: it took 1.3s, and stood still for 870ms\n";
        let (took, stood) = told(said).unwrap();
        assert!((took - 1.3).abs() < 1e-9 && (stood - 0.87).abs() < 1e-9);
        assert!(told("runs on 2 workers: it took 1.3s\n").is_none());
    }

    #[test]
    fn the_parts_of_a_restart_are_read() {
        let said = "2026-11-26T10:00:01.250000Z  WARN bench restarts (attempt 1, in 100ms): lost\n\
                    2026-11-26T10:00:02.750000Z  INFO bench runs again, 1.5s after that was found: \
                    400ms until all workers were there, 1.0s until they had their state, 50ms \
                    until they ran\n";
        let killed: Timestamp = "2026-11-26T10:00:01Z".parse().unwrap();
        let Parts { found, workers, state, start } = Parts::told(said, killed).unwrap();
        assert_eq!((found, workers, state, start), (0.25, 0.4, 1.0, 0.05));
        assert!(Parts::told("bench runs again", killed).is_none());
    }
}
