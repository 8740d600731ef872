//! How long a record takes from its source, in one process, to a sink in another, at a fixed rate.
//!
//! Called by [`super::case`], run by [`crate::processes`]. A record carries the time at which it
//! was due, by the clock that all processes of the machine share. Invariant: what a source cannot
//! put out in time is late all the same, and no record is missing from the count.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use millstream_bench_stream::THREADS;
use millstream_bench_stream::clock::monotonic_ns;
use millstream_bench_stream::record::record;
use millstream_worker::sink::{Prepared, Sink, SinkContext, Writer};
use millstream_worker::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_worker::{Batch, Epoch, Guarantee, Job, Result};
use serde::{Deserialize, Serialize};

use super::Figures;
use super::histogram::Histogram;
use crate::ours::ends::{Nothing, owner_by_number};
use crate::processes::{JobRun, Spec};

/// Distinct keys.
const KEYS: u64 = 100_000;
/// How often a source is woken to see what is due, as a client of a broker would wake it.
const WAKE_EVERY: Duration = Duration::from_micros(200);

/// What to do.
pub(super) struct Latency {
    /// Records per second, of both sources together.
    pub(super) rate: u64,
    /// For how long records count,
    pub(super) seconds: f64,
    /// and for how long they do not, before that.
    pub(super) warm_seconds: f64,
}

pub(super) fn run(case: &Latency) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let load = load();
    let per_part = |seconds: f64| (seconds * case.rate as f64) as u64 / THREADS as u64;
    let (warm, counted) = (per_part(case.warm_seconds), per_part(case.seconds));
    let args = [
        ("rate", case.rate.to_string()),
        ("warm", warm.to_string()),
        ("counted", counted.to_string()),
        ("folder", folder.path().display().to_string()),
    ];
    Spec { program: "beats", args: &args, interval: "1s" }.write(folder.path())?;
    JobRun::start(folder.path(), THREADS as u32)?.finish()?;
    let mut all = Seen::default();
    for task in 0..THREADS {
        let file = folder.path().join(file_name(task as u32));
        let text = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        all.merge(&serde_json::from_slice(&text)?);
    }
    let (made, came) = ((warm + counted) * THREADS as u64, all.records);
    ensure!(came == made, "{made} records in, {came} out");
    let over = &all.crossed;
    ensure!(over.count > 0, "no record went from one process to the other");
    Ok(Figures::from([
        ("p50_ms".into(), over.ms(0.5)),
        ("p99_ms".into(), over.ms(0.99)),
        ("p999_ms".into(), over.ms(0.999)),
        ("max_ms".into(), over.max_ms()),
        ("within_p99_ms".into(), all.within.ms(0.99)),
        ("load_before".into(), load),
    ]))
}

/// How many processes wanted a core, over the last minute.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

fn file_name(task: u32) -> String {
    format!("latency-{task}.json")
}

/// A count per key of records that come at a rate, with nothing that waits for a batch to fill.
pub(crate) fn beats(job: &mut Job) -> Result<()> {
    job.linger(Duration::ZERO);
    let args = job.args();
    let rate: u64 = args.parse("rate")?;
    let beats = Beats {
        interval_ns: 1_000_000_000 * THREADS as u64 / rate.max(1),
        warm: args.parse("warm")?,
        counted: args.parse("counted")?,
    };
    let out = Latencies { folder: args.get("folder")?.into() };
    let keyed = job.source("beats", beats).key_by(|beat| beat.key);
    let counts = keyed.scan("counts", 0u64, |count: &mut u64, beat: Beat| {
        *count += 1;
        beat
    });
    counts.sink("out", out);
    Ok(())
}

/// A record.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Beat {
    key: u64,
    /// When it was due.
    due_ns: u64,
    /// The task that made it.
    from: u32,
    counted: bool,
}

/// A part per task, each with a record every so often.
#[derive(Clone)]
struct Beats {
    interval_ns: u64,
    /// Records of a part that come first and do not count, and those that do.
    warm: u64,
    counted: u64,
}

struct BeatsReader {
    beats: Beats,
    task: u32,
    part: Arc<str>,
    next: u64,
    /// When the first record was due.
    since_ns: Option<u64>,
    _waker: Waker,
}

impl Source for Beats {
    type Item = Beat;
    type Position = u64;
    type Reader = BeatsReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<BeatsReader> {
        let task = ctx.info.task.0;
        let next = ctx.restored.first().map_or(0, |(_, next)| *next);
        let bell = ctx.doorbell;
        let waker = Waker::start(move || bell.ring());
        let part = format!("part-{task}").into();
        let beats = self.clone();
        Ok(BeatsReader { beats, task, part, next, since_ns: None, _waker: waker })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        owner_by_number(split, parallelism)
    }
}

impl Reader for BeatsReader {
    type Item = Beat;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<Beat>) -> Result<Poll> {
        let Beats { interval_ns, warm, counted } = self.beats;
        let now = monotonic_ns();
        let since = *self.since_ns.get_or_insert(now.saturating_sub(self.next * interval_ns));
        let due = (now.saturating_sub(since) / interval_ns + 1).min(warm + counted);
        let split = emit.split(&self.part);
        let end = due.min(self.next + emit.room() as u64);
        let task = self.task;
        emit.records(
            split,
            (self.next..end).map(|n| Beat {
                key: record(n * THREADS as u64 + u64::from(task), KEYS).key,
                due_ns: since + n * interval_ns,
                from: task,
                counted: n >= warm,
            }),
        );
        self.next = end;
        if end == warm + counted {
            emit.is_finished(split);
            return Ok(Poll::Finished);
        }
        Ok(if end < due { Poll::Ready } else { Poll::Pending })
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        vec![(self.part.clone(), self.next)]
    }
}

/// A thread that wakes a source, as long as it is there.
struct Waker {
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Waker {
    fn start(ring: impl Fn() + Send + 'static) -> Self {
        let gone = Arc::<AtomicBool>::default();
        let is_gone = gone.clone();
        let thread = std::thread::spawn(move || {
            while !is_gone.load(Ordering::Relaxed) {
                std::thread::park_timeout(WAKE_EVERY);
                ring();
            }
        });
        Self { gone, thread: Some(thread) }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// What the sink of a task has seen.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// All, those that do not count included.
    records: u64,
    /// Of those that came from the other process, how long each took.
    crossed: Histogram,
    /// Of those that stayed in one.
    within: Histogram,
}

impl Seen {
    fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.crossed.merge(&other.crossed);
        self.within.merge(&other.within);
    }
}

/// Takes the times, and leaves them in a file.
#[derive(Clone)]
struct Latencies {
    folder: PathBuf,
}

struct LatencyWriter {
    file: PathBuf,
    task: u32,
    seen: Seen,
}

impl Sink for Latencies {
    type Item = Beat;
    type Pending = ();
    type Writer = LatencyWriter;
    type Committer = Nothing;

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, ctx: SinkContext) -> Result<(LatencyWriter, Nothing)> {
        let task = ctx.info.task.0;
        let file = self.folder.join(file_name(task));
        Ok((LatencyWriter { file, task, seen: Seen::default() }, Nothing))
    }
}

impl Writer for LatencyWriter {
    type Item = Beat;
    type Pending = ();

    fn write(&mut self, batch: Batch<Beat>) -> Result<()> {
        let now = monotonic_ns();
        self.seen.records += batch.records.len() as u64;
        for beat in batch.records.iter().filter(|beat| beat.counted) {
            let took = now.saturating_sub(beat.due_ns);
            if beat.from == self.task {
                self.seen.within.add(took);
            } else {
                self.seen.crossed.add(took);
            }
        }
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        Ok(Prepared::nothing())
    }
}

impl Drop for LatencyWriter {
    fn drop(&mut self) {
        // Whoever misses the file says so.
        let _ = serde_json::to_vec(&self.seen).map(|text| fs::write(&self.file, text));
    }
}
