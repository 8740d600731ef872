//! [`Told`]: what a worker that serves by itself says of the jobs that it works for.
//!
//! Part of [`crate::serve`]. Invariant: a line where it takes a run, and one where that is over;
//! one that a local run has started leaves it to that one to speak.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::sync::Arc;

use millstream_protocol::id::{Run, WorkerIndex};
use millstream_protocol::session::Command;

use crate::session::Ending;

/// Says what becomes of the jobs of a worker.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// Whether a local run has started it.
    pub(super) is_child: bool,
}

/// One session, of which there is something to say.
pub(super) struct Of {
    told: Told,
    job: Arc<str>,
    worker: WorkerIndex,
    by: Option<SocketAddr>,
    /// The run that was taken last.
    run: Option<Run>,
}

impl Told {
    /// Says a line.
    pub(super) fn say(self, line: impl Display) {
        if self.is_child {
            tracing::debug!("{line}");
        } else {
            tracing::info!("{line}");
        }
    }

    /// A session with a coordinator has begun.
    pub(super) fn of(self, job: Arc<str>, worker: WorkerIndex, by: Option<SocketAddr>) -> Of {
        Of { told: self, job, worker, by, run: None }
    }
}

impl Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of {}", self.worker, self.job)
    }
}

impl Of {
    /// A command has come.
    pub(super) fn command(&mut self, command: &Command) {
        let (run, does) = match command {
            Command::Deploy(deploy) => (deploy.run, "takes"),
            Command::Adopt { run, .. } => (*run, "goes on with"),
            Command::Drop { run } if self.run == Some(*run) => {
                self.told.say(format_args!("{self} lets run {run} go, as its coordinator says"));
                self.run = None;
                return;
            }
            _ => return,
        };
        // A command may come twice.
        if self.run.replace(run) != Some(run) {
            let by = self.by.map_or_else(|| "a coordinator".to_owned(), |by| by.to_string());
            self.told.say(format_args!("{self} {does} run {run}, for the coordinator at {by}"));
        }
    }

    /// The session is over.
    pub(super) fn ended(&self, ending: Ending, has_tasks: bool) {
        let Some(run) = self.run else { return };
        match ending {
            Ending::Stopped => {
                self.told.say(format_args!("{self} has ended run {run}, as its coordinator says"));
            }
            Ending::Left if has_tasks => self
                .told
                .say(format_args!("{self} goes on with run {run} alone: its coordinator is gone")),
            Ending::Left => {
                let said = format_args!("{self} is done with run {run}: its coordinator is gone");
                self.told.say(said);
            }
        }
    }
}
