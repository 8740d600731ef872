//! `scale`, `savepoint`, `stop`: what a user asks of a job that runs on this machine.
//!
//! Each finds the job's run by its place in the store and asks it over [`crate::control`].
//! Invariant: none waits for longer than it was told to.

use std::process::ExitCode;

use millstream_dataflow::{Context as _, Kind, Result};
use millstream_protocol::path::JobPrefix;

use crate::cli;
use crate::config;
use crate::control::{self, Ask, Asked};
use crate::terminal::{self, say};

/// Runs `scale`.
pub(crate) fn scale(args: cli::Scale) -> ExitCode {
    finish(&args.running, &Ask::Scale { workers: args.workers })
}

/// Runs `savepoint`, which prints its address.
pub(crate) fn savepoint(args: cli::Running) -> ExitCode {
    finish(&args, &Ask::Savepoint)
}

/// Runs `stop`.
pub(crate) fn stop(args: cli::Stop) -> ExitCode {
    finish(&args.running, &Ask::Stop { savepoint: args.savepoint })
}

fn finish(running: &cli::Running, what: &Ask) -> ExitCode {
    match ask(running, what) {
        Ok(Asked::Done(text)) => terminal::finish(Ok(text)),
        Ok(Asked::Short(text)) => {
            ExitCode::from(terminal::end(&text, terminal::STOPPED_WITHOUT_SNAPSHOT))
        }
        Ok(Asked::Pending(last)) => {
            let last = last.map_or_else(String::new, |last| format!(": {last}"));
            let line = format!(
                "no answer within {} (--timeout){last}. What was asked for is not withdrawn, and \
                 may still take effect",
                running.timeout
            );
            ExitCode::from(terminal::fail(&line, terminal::UNANSWERED))
        }
        Err(error) => terminal::finish(Err(error)),
    }
}

fn ask(running: &cli::Running, what: &Ask) -> Result<Asked> {
    let job = config::read_job(&running.job, &running.sets)?;
    let store = config::absolute_store(&job.spec.snapshots.store)?;
    let store = store.parse().or_kind(Kind::Invalid, || "spec.snapshots.store".to_owned())?;
    let prefix = JobPrefix::new(store, &job.metadata.namespace, &job.metadata.name);
    let prefix = prefix.or_kind(Kind::Invalid, || "metadata".to_owned())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(control::ask(&prefix, what, running.timeout.0, say))
}
