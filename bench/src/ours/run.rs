//! Runs a program on the engine, in this process.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{anyhow, bail};
use millstream_bench_stream::{Outcome, Stopwatch, THREADS, Tally, Workload};
use millstream_dataflow::Job;
use millstream_dataflow::clock::SystemClock;
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::snapshot::Restore;
use millstream_protocol::id::{Run, WorkerIndex};

use crate::registry::Options;

/// Runs a workload over so many records.
pub fn run(workload: Workload, records: u64, _options: &Options) -> anyhow::Result<Outcome> {
    let total = Arc::new(Mutex::new(Tally::default()));
    let mut job = Job::new(millstream_dataflow::JobSettings::default());
    if !super::programs::build(&mut job, workload, records, total.clone()) {
        bail!("{workload} is not written yet");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let watch = Stopwatch::start();
    runtime.block_on(to_the_end(&job)).map_err(|error| anyhow!("{error:?}"))?;
    let tally = *total.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(watch.stop(workload, records, tally))
}

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
