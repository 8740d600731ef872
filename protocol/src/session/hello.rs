//! How a session begins: what a coordinator says of the job, and what a worker knows of it.
//!
//! Part of [`crate::session`].

use serde::{Deserialize, Serialize};

use crate::id::{Run, Term, WorkerIndex};
use crate::job::JobSpec;
use crate::log::Lineage;
use crate::plan::Plan;

/// The first command of a session, and of every spec that a coordinator thinks of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the coordinator.
    pub protocol: u32,
    /// The job's namespace.
    pub namespace: String,
    /// The job's name.
    pub name: String,
    /// The number of the spec, which comes back in the answer.
    #[serde(default)]
    pub generation: u64,
    /// What the job is.
    pub spec: JobSpec,
    /// Which of the job's workers this one is.
    pub worker: WorkerIndex,
    /// The run and the term that this coordinator has, or had last: a worker that has obeyed a
    /// higher one does not listen to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<(Run, Term)>,
}

/// Tasks that go on without a coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Going {
    /// Their run.
    pub run: Run,
    /// The history that it continues.
    pub lineage: Lineage,
    /// What the job is in this run.
    pub spec: JobSpec,
    /// The plan that they carry out.
    pub plan: Plan,
    /// Whether they were started.
    pub started: bool,
    /// Whether their sources emit nothing more, because the job was to stop.
    pub stopping: bool,
}

/// What a worker knows once it has built the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION) of the worker.
    pub protocol: u32,
    /// The number of the spec, from Hello.
    #[serde(default)]
    pub generation: u64,
    /// Hash of the executable: one run, one hash.
    pub executable: String,
    /// The plan, with parallelism resolved for all threads of all workers.
    pub plan: Plan,
    /// The plan's fingerprint.
    pub fingerprint: String,
    /// How many engine threads the worker has.
    pub threads: u32,
    /// Where other workers reach it, as `host:port`; none where it is the only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The tasks that it has; none where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub going: Option<Box<Going>>,
}
