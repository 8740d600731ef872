//! `check`: whether a program can go on from the newest snapshot of a job, as a start would find.
//!
//! Received from: the command line; of a new version of a job that runs in a cluster, the operator
//! asks before it stops the old one. Invariant: nothing is written.

use std::process::ExitCode;

use millstream_coordinator::config::Config;
use millstream_coordinator::history::History;
use millstream_coordinator::resolve::{Decision, Facts, resolve};
use millstream_dataflow::engine::plan_of;
use millstream_dataflow::{Error, Kind, Result};
use millstream_protocol::job::StreamJob;
use millstream_protocol::plan::Plan;
use millstream_protocol::wish::Wish;

use crate::cli;
use crate::config::{absolute_store, read_job};
use crate::log_io::read_log;
use crate::program::Programs;
use crate::store::{self, Access};
use crate::terminal::{self, UNANSWERED};

/// Says what a start would begin with, or why there would be none. That nobody can say so now is
/// told apart by the exit code: whoever asks may ask again.
pub(crate) fn run(programs: &Programs, args: &cli::Check) -> ExitCode {
    match check(programs, args) {
        Err(error) if error.kind() == Kind::Unavailable => {
            ExitCode::from(terminal::fail(&error.to_string(), UNANSWERED))
        }
        said => terminal::finish(said),
    }
}

fn check(programs: &Programs, args: &cli::Check) -> Result<String> {
    let mut job = match (&args.job, &args.job_json) {
        (Some(path), _) => read_job(path, &args.sets)?,
        (None, Some(text)) => serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("--job-json: is no StreamJob: {error}")))?,
        (None, None) => return Err(Error::invalid("name the StreamJob file, or give --job-json")),
    };
    job.spec.snapshots.store = absolute_store(&job.spec.snapshots.store)?;
    let threads = job.spec.threads_per_worker.unwrap_or(1).saturating_mul(job.spec.workers);
    let plan = plan_of(&programs.build(&job.spec)?, threads)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(against_log(&job, &plan))
}

async fn against_log(job: &StreamJob, plan: &Plan) -> Result<String> {
    let config = Config::new(job, None, 0).map_err(|problems| {
        let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Error::invalid(all.join("; "))
    })?;
    let prefix = &config.prefix;
    let spec = &job.spec.snapshots;
    let access = Access {
        endpoint: spec.endpoint.clone(),
        region: spec.region.clone(),
        path_style: spec.path_style,
    };
    let store = store::open(prefix, &access).await?;
    let (entries, committed) = read_log(&*store).await?;
    let mut history = History::read(prefix, &entries, &committed)
        .map_err(|failure| Error::new(failure.kind, format!("{prefix}{}", failure.message)))?;
    // What a job that runs has just published is marked before the job stops.
    if let Some(newest) = history.restorable() {
        history.commit(newest);
    }
    let has_acted = config.wish.request().is_some_and(|request| history.has_acted_upon(request));
    let facts = Facts {
        wish: if has_acted { Wish::Latest } else { config.wish },
        plan,
        program: &job.spec.program,
        key_groups: config.key_groups,
        retain: spec.retain,
        allow_dropped_state: job.spec.restore.allow_dropped_state,
        prefix,
    };
    match resolve(&history, facts) {
        Decision::Refuse(failure) => Err(Error::new(failure.kind, failure.message)),
        Decision::Fresh { .. } => Ok("begins with an empty state\n".to_owned()),
        Decision::From { seq, .. } => Ok(format!("goes on from {}\n", prefix.snapshot_uri(seq))),
        Decision::Finished { .. } => Ok("has finished\n".to_owned()),
    }
}
