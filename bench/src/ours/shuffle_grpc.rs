//! The keyed shuffle between two workers, as a user would write it and run it.
//!
//! Run by `run --workers 2`, a thread each, over [`crate::processes`]. Each worker leaves what it
//! has measured in a file when its tasks go.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use millstream_bench_stream::clock::monotonic_ns;
use millstream_bench_stream::{Outcome, Rec, THREADS, Tally, Workload};
use millstream_dataflow::sink::{Prepared, Sink, SinkContext, Writer};
use millstream_dataflow::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_dataflow::{Batch, Job, Result};
use millstream_protocol::id::{Epoch, TaskIndex};
use millstream_protocol::plan::Guarantee;

use super::ends::{Nothing, PartReader, Synthetic, owner_by_number};
use crate::halves::{Half, whole};
use crate::processes::{JobRun, Spec};

/// Runs it over so many records.
pub(super) fn run(records: u64) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir()?;
    let args = [("records", records.to_string()), ("folder", folder.path().display().to_string())];
    // No snapshot but the last: as in the row of one process.
    Spec { program: "shuffle-grpc", args: &args, interval: "1h" }.write(folder.path())?;
    JobRun::start(folder.path(), THREADS as u32)?.finish()?;
    let read = |task| -> anyhow::Result<Half> {
        let file = file(&folder.path().display().to_string(), TaskIndex(task));
        let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(serde_json::from_slice(&text)?)
    };
    let halves: Vec<Half> = (0..THREADS as u32).map(read).collect::<anyhow::Result<_>>()?;
    whole(Workload::ShuffleGrpc, records, &halves)
}

fn file(folder: &str, task: TaskIndex) -> PathBuf {
    PathBuf::from(folder).join(format!("half-{}.json", task.0))
}

/// Every record crosses to the task that owns its key, and is counted there.
pub(crate) fn shuffle_grpc(job: &mut Job) -> Result<()> {
    let records = job.args().parse("records")?;
    let folder = job.args().get("folder")?.to_owned();
    let began = Arc::<AtomicU64>::default();
    let keys = Workload::ShuffleGrpc.keys();
    let parts = Synthetic { records, keys, parts: THREADS, until: None };
    let source = job.source("synthetic", Noted { parts, began: began.clone() });
    source.key_by(|r| r.key).pass("shuffled").sink("out", Measured { folder, began });
    Ok(())
}

/// The synthetic stream, which notes when this process makes its first record.
#[derive(Clone)]
struct Noted {
    parts: Synthetic,
    began: Arc<AtomicU64>,
}

struct NotedReader {
    reader: PartReader,
    /// Until it has been noted.
    began: Option<Arc<AtomicU64>>,
}

impl Source for Noted {
    type Item = Rec;
    type Position = u64;
    type Reader = NotedReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<NotedReader> {
        Ok(NotedReader { reader: self.parts.open(ctx)?, began: Some(self.began.clone()) })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        owner_by_number(split, parallelism)
    }
}

impl Reader for NotedReader {
    type Item = Rec;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<Rec>) -> Result<Poll> {
        if let Some(began) = self.began.take() {
            began.store(monotonic_ns(), Ordering::Relaxed);
        }
        self.reader.poll(emit)
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        self.reader.positions()
    }
}

/// Counts what comes out, and leaves it in a file.
#[derive(Clone)]
struct Measured {
    folder: String,
    began: Arc<AtomicU64>,
}

struct MeasuredWriter {
    file: PathBuf,
    began: Arc<AtomicU64>,
    tally: Tally,
    ended_ns: u64,
}

impl Sink for Measured {
    type Item = Rec;
    type Pending = ();
    type Writer = MeasuredWriter;
    type Committer = Nothing;

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, ctx: SinkContext) -> Result<(MeasuredWriter, Nothing)> {
        let file = file(&self.folder, ctx.info.task);
        let (began, tally) = (self.began.clone(), Tally::default());
        Ok((MeasuredWriter { file, began, tally, ended_ns: 0 }, Nothing))
    }
}

impl Writer for MeasuredWriter {
    type Item = Rec;
    type Pending = ();

    fn write(&mut self, batch: Batch<Rec>) -> Result<()> {
        for r in &batch.records {
            self.tally.add(r.key, r.at, r.value);
        }
        self.ended_ns = monotonic_ns();
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        Ok(Prepared::nothing())
    }
}

impl Drop for MeasuredWriter {
    fn drop(&mut self) {
        let half = Half::of(self.tally, self.began.load(Ordering::Relaxed), self.ended_ns);
        // Whoever misses the file says so.
        let _ = serde_json::to_vec(&half).map(|text| std::fs::write(&self.file, text));
    }
}
