//! `scale`, `savepoint`, `stop`: what a user asks of a job that runs on this machine.
//!
//! Each finds the job's run by its place in the store and asks it over [`crate::control`].

use millstream_dataflow::{Context as _, Kind, Result};
use millstream_protocol::path::JobPrefix;

use crate::cli;
use crate::config;
use crate::control::{self, Ask};
use crate::terminal::say;

/// Runs `scale`.
pub(crate) fn scale(args: cli::Scale) -> Result<String> {
    ask(&args.running, &Ask::Scale { workers: args.workers })
}

/// Runs `savepoint`; returns its address.
pub(crate) fn savepoint(args: cli::Running) -> Result<String> {
    ask(&args, &Ask::Savepoint)
}

/// Runs `stop`.
pub(crate) fn stop(args: cli::Stop) -> Result<String> {
    ask(&args.running, &Ask::Stop { savepoint: args.savepoint })
}

fn ask(running: &cli::Running, what: &Ask) -> Result<String> {
    let job = config::read_job(&running.job, &running.sets)?;
    let store = config::absolute_store(&job.spec.snapshots.store)?;
    let store = store.parse().or_kind(Kind::Invalid, || "spec.snapshots.store".to_owned())?;
    let prefix = JobPrefix::new(store, &job.metadata.namespace, &job.metadata.name);
    let prefix = prefix.or_kind(Kind::Invalid, || "metadata".to_owned())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(control::ask(&prefix, what, say))
}
