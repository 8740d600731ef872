//! Runs a program: on the engine alone, or as the whole job with its coordinator and snapshots.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{anyhow, bail};
use millstream_bench_stream::{Outcome, Stopwatch, THREADS, Tally, Workload};
use millstream_dataflow::clock::SystemClock;
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::snapshot::Restore;
use millstream_dataflow::{Error, Job};
use millstream_protocol::id::{Run, WorkerIndex};
use millstream_protocol::job::{API_VERSION, KIND, Metadata, StreamJob};
use millstream_protocol::time::GepDuration;
use millstream_worker::embed::{Embedded, run_embedded};
use millstream_worker::{FileStore, Program, Programs};

use super::programs::build;
use crate::registry::Options;

/// What the sinks of this process have counted. A child process runs one job.
static TOTAL: Mutex<Option<Arc<Mutex<Tally>>>> = Mutex::new(None);

/// Runs a workload over so many records.
pub fn run(workload: Workload, records: u64, options: &Options) -> anyhow::Result<Outcome> {
    let total = Arc::new(Mutex::new(Tally::default()));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let watch = Stopwatch::start();
    let done = if options.snapshots {
        *TOTAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(total.clone());
        let folder = std::env::temp_dir().join(format!("millstream-bench-{}", std::process::id()));
        let done = runtime.block_on(whole_job(workload, records, &folder));
        let _ = std::fs::remove_dir_all(&folder);
        done
    } else {
        let mut job = Job::new(millstream_dataflow::JobSettings::default());
        if !build(&mut job, workload, records, total.clone()) {
            bail!("{workload} is not written yet");
        }
        runtime.block_on(to_the_end(&job))
    };
    done.map_err(|error| anyhow!("{error:?}"))?;
    let tally = *total.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(watch.stop(workload, records, tally))
}

/// The engine alone.
async fn to_the_end(job: &Job) -> millstream_dataflow::Result<()> {
    let deployment = Deployment {
        run: Run(1),
        job: "bench/job".into(),
        threads: vec![THREADS as u32],
        worker: WorkerIndex(0),
        restore: Restore::default(),
        clock: Arc::new(SystemClock::new()),
    };
    let (engine, mut events) = Engine::deploy(job, deployment)?;
    while let Some(event) = events.recv().await {
        match event {
            Event::Restored => engine.start(),
            Event::Ended => return Ok(()),
            Event::Failed(error) => return Err(error),
            Event::Share(..) => {}
        }
    }
    Ok(())
}

fn program(job: &mut Job) -> millstream_dataflow::Result<()> {
    let workload: Workload = job.args().parse("workload")?;
    let records = job.args().parse("records")?;
    let total = TOTAL.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let total = total.ok_or_else(|| Error::bug("the tally is not set"))?;
    if build(job, workload, records, total) {
        Ok(())
    } else {
        Err(Error::invalid(format!("{workload} is not written yet")))
    }
}

/// The job as `millstream-worker run` runs it, with a snapshot every second to a local disk.
async fn whole_job(
    workload: Workload,
    records: u64,
    folder: &Path,
) -> millstream_dataflow::Result<()> {
    let mut job = StreamJob {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        metadata: Metadata { name: "bench".into(), ..Metadata::default() },
        ..StreamJob::default()
    };
    let args = [("workload", workload.to_string()), ("records", records.to_string())];
    job.spec.program.args = args.map(|(name, value)| (name.to_owned(), value)).into();
    job.spec.snapshots.store = format!("file://{}", folder.display());
    job.spec.snapshots.interval = GepDuration::from_secs(1);
    let embedded = Embedded {
        programs: Programs::new(&[Program { name: "bench", build: program }]),
        job,
        threads: THREADS as u32,
        store: Arc::new(FileStore::new(folder.to_owned())),
    };
    run_embedded(embedded).await.map(|_| ())
}
