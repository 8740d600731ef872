//! What the operator says of a job: `status`.
//!
//! Received from: the job's coordinator and what is seen of its pods. Handed to: users, `kubectl
//! wait`, Flux and Argo. Its conditions are named in [`super::condition`]. Invariant: nothing is
//! decided on what is read back from here; the log in the store is the truth. Restarts are counted
//! on from it, and what began a run that was taken over is shown on.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use millstream_protocol::time::GepDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a job. Rates and lag are written every 30 s, when they moved by a tenth; the last
/// snapshot as often, unless it failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamJobStatus {
    /// The generation of the spec that was looked at last. The one in force is that of the
    /// condition
    /// `Ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the job does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The number of the run, which rises with each start of all tasks. Workers and output of a
    /// lower one are fenced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<i64>,
    /// Workers that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<i32>,
    /// Workers whose tasks run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_workers: Option<i32>,
    /// How many of the workers that the spec in force asks for run their tasks, as in `2/2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// The labels that find the pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Restarts after failures since the job was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<i64>,
    /// The last snapshot that was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_snapshot: Option<LastSnapshot>,
    /// What a restart right now would go on from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_candidate: Option<RestoreCandidate>,
    /// What the run began with; missing where it began empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// The last restart after a failure, step by step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_restart: Option<LastRestart>,
    /// Records that pass through the job, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<Throughput>,
    /// How far the job is behind its sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// What is true of the job, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Its pods are being made.
    Pending,
    /// Its workers are there, and its tasks are being made.
    Starting,
    /// Its tasks read their state back.
    Restoring,
    /// Its tasks run.
    Running,
    /// It changes the number of its tasks.
    Rescaling,
    /// It changes its pods.
    Upgrading,
    /// It takes its last snapshot before it stops.
    Suspending,
    /// It stands still, without pods, by the user's wish.
    Suspended,
    /// It comes back after a failure, or waits to.
    Restarting,
    /// Its sources have ended, and all output is visible.
    Finished,
    /// It has failed in a way that a restart does not mend.
    Failed,
    /// It is being deleted, and its snapshots with it where the spec says so.
    Deleting,
}

/// A published snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastSnapshot {
    /// Its number, which rises for the life of the job.
    pub epoch: i64,
    /// Its address.
    pub uri: String,
    /// When it was published.
    pub completed_at: Time,
    /// From its barrier to its publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<GepDuration>,
    /// Bytes in the store of everything that it names, older parts included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Bytes that it has added to the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_bytes: Option<i64>,
}

/// What a restart would go on from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreCandidate {
    /// Its address.
    pub uri: String,
    /// When it was published.
    pub completed_at: Time,
}

/// What a run began with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Restored {
    /// The address of the snapshot.
    pub from: String,
    /// Its number.
    pub epoch: i64,
    /// When all tasks had their state.
    pub at: Time,
}

/// A restart after a failure. A time is missing until its step is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRestart {
    /// Why, in one word: `WorkerLost`, `UserCodeFailed`, ...
    pub reason: String,
    /// Why, with worker and operator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the failure was seen.
    pub detected_at: Time,
    /// When all workers were there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers_ready_at: Option<Time>,
    /// When all tasks had their state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Time>,
    /// When all tasks ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_at: Option<Time>,
}

/// Records per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Throughput {
    /// What all sources put out.
    pub records_in: i64,
    /// What all sinks took in.
    pub records_out: i64,
}

/// How far a job is behind its sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Records that wait in the sources; missing where a source cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
    /// How far the watermark is behind the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark_delay: Option<GepDuration>,
    /// The split that is farthest behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest_split: Option<String>,
}
