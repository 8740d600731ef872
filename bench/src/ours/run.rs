//! Runs a program: on the engine alone, or as the whole job with its coordinator and snapshots.
//!
//! Called by the registry for the workloads and by [`crate::costs`] for its cases. Invariant: a
//! process runs one whole job at a time, for that one finds its ends in a static.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use millstream_bench_stream::{Outcome, Stopwatch, THREADS, Workload};
use millstream_dataflow::clock::SystemClock;
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::sink::History;
use millstream_dataflow::snapshot::Restore;
use millstream_dataflow::{Error, Job};
use millstream_protocol::id::{Run, WorkerIndex};
use millstream_protocol::job::{API_VERSION, BackendName, KIND, Metadata, StreamJob};
use millstream_protocol::time::GepDuration;
use millstream_worker::embed::{Embedded, run_embedded};
use millstream_worker::{FileStore, Program, Programs};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::ends::Ends;
use super::programs::build;
use crate::registry::Options;

/// How often a workload that says so takes a snapshot.
pub(super) const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// The ends of the whole job that runs in this process.
static ENDS: Mutex<Option<Ends>> = Mutex::new(None);

/// Runs a workload over so many records.
pub fn run(workload: Workload, records: u64, options: &Options) -> anyhow::Result<Outcome> {
    match workload {
        Workload::Kafka => return super::kafka::run(records),
        Workload::ShuffleGrpc => return super::shuffle_grpc::run(records),
        _ => {}
    }
    let watch = Stopwatch::start();
    let ends = Ends::new(watch);
    let state = match workload {
        Workload::SumRocks => BackendName::RocksDB,
        _ => BackendName::Memory,
    };
    // The engine alone has no backend but memory.
    if options.snapshots || state == BackendName::RocksDB {
        let args = [("workload", workload.to_string()), ("records", records.to_string())];
        let args = args.map(|(name, value)| (name.to_owned(), value)).into();
        let whole = Whole { build: program, args, state, ..Whole::every(SNAPSHOT_INTERVAL) };
        whole_job(whole, &ends)?;
    } else {
        engine_alone(|job| build(job, workload, records, &ends))?;
    }
    let counted = ends.counted();
    let outcome = watch.stop(workload, records, counted.tally);
    // Where nothing comes out the end is the end of the job.
    let seconds = if counted.tally.records > 0 { counted.last_seconds } else { outcome.seconds };
    Ok(Outcome { seconds, ..outcome })
}

fn program(job: &mut Job) -> millstream_dataflow::Result<()> {
    let (workload, records) = (job.args().parse("workload")?, job.args().parse("records")?);
    build(job, workload, records, &own_ends()?);
    Ok(())
}

/// What the program of the whole job reads from and writes to.
pub(crate) fn own_ends() -> millstream_dataflow::Result<Ends> {
    let ends = ENDS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ends.ok_or_else(|| Error::bug("the ends of the job are not set"))
}

/// Runs a program to its end on the engine alone.
pub(crate) fn engine_alone(build: impl FnOnce(&mut Job)) -> anyhow::Result<()> {
    let mut job = Job::new(millstream_dataflow::JobSettings::default());
    build(&mut job);
    let done = runtime()?.block_on(async {
        let (engine, mut events) = deploy(&job)?;
        while let Some(event) = events.recv().await {
            match event {
                Event::Restored => engine.start(),
                Event::Ended => return Ok(()),
                Event::Failed(error) => return Err(error),
                Event::Share(..) | Event::SnapshotWanted => {}
            }
        }
        Ok(())
    });
    done.map_err(|error: Error| anyhow!("{error:?}"))
}

/// Makes an engine of a program.
pub(crate) fn deploy(job: &Job) -> millstream_dataflow::Result<(Engine, mpsc::Receiver<Event>)> {
    let deployment = Deployment {
        run: Run(1),
        job: "bench/job".into(),
        threads: vec![THREADS as u32],
        worker: WorkerIndex(0),
        restore: Restore::default(),
        history: History::default(),
        clock: Arc::new(SystemClock::new()),
    };
    Engine::deploy(job, deployment)
}

/// What waits for disks and timers beside the engine threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// A job as `millstream-worker run` runs it, with snapshots to a local disk.
pub(crate) struct Whole {
    pub(crate) build: fn(&mut Job) -> millstream_dataflow::Result<()>,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) interval: Duration,
    pub(crate) state: BackendName,
}

impl Whole {
    /// A job that takes a snapshot so often, with nothing in it.
    pub(crate) fn every(interval: Duration) -> Self {
        Self { build: |_| Ok(()), args: BTreeMap::new(), interval, state: BackendName::Memory }
    }
}

/// Runs a whole job to its end. Returns the epoch of the last snapshot, 0 for none.
pub(crate) fn whole_job(whole: Whole, ends: &Ends) -> anyhow::Result<u64> {
    *ENDS.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends.clone());
    let folder = TempDir::with_prefix("millstream-bench-")?;
    let mut job = StreamJob {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        metadata: Metadata { name: "bench".into(), ..Metadata::default() },
        ..StreamJob::default()
    };
    job.spec.program.args = whole.args;
    job.spec.snapshots.store = format!("file://{}", folder.path().display());
    job.spec.state.backend = whole.state;
    job.spec.snapshots.interval = GepDuration(whole.interval);
    let embedded = Embedded {
        programs: Programs::new(&[Program { name: "bench", build: whole.build }]),
        job,
        threads: THREADS as u32,
        store: Arc::new(FileStore::new(folder.path().to_owned())),
    };
    let status = runtime()?.block_on(run_embedded(embedded));
    let status = status.map_err(|error| anyhow!("{error:?}"))?;
    Ok(status.last_snapshot.map_or(0, |snapshot| snapshot.epoch.0))
}
