//! `StreamSnapshot`: a savepoint as an object.
//!
//! Received from: a user, who wants a snapshot kept. Handed to: the coordinator of the job that it
//! names, which takes it; then to whoever restores from it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use millstream_protocol::job::{OnDelete, SnapshotsSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which job a savepoint is taken of, and how long it is kept.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "millstream.dev",
    version = "v1alpha1",
    kind = "StreamSnapshot",
    shortname = "ssnap",
    category = "millstream",
    namespaced,
    status = "StreamSnapshotStatus",
    derive = "PartialEq",
    doc = "A savepoint: a snapshot of a job that is kept as long as this object, or longer.",
    printcolumn(name = "Job", type_ = "string", json_path = ".spec.jobRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".status.epoch",
        description = "Number of the snapshot in the job"
    ),
    printcolumn(
        name = "Bytes",
        type_ = "integer",
        json_path = ".status.bytes",
        description = "Size of all that it names"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Uri",
        type_ = "string",
        json_path = ".status.uri",
        description = "Address, as spec.restore.uri of a job takes it",
        priority = 1
    ),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct StreamSnapshotSpec {
    /// The job. Fixed for the life of the snapshot.
    pub job_ref: JobRef,
    /// What becomes of the snapshot in the store when this object is deleted. A change holds at
    /// once.
    #[serde(default)]
    pub on_delete: OnDelete,
}

/// A job in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRef {
    /// Its name.
    pub name: String,
}

/// What became of a savepoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StreamSnapshotStatus {
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SnapshotPhase>,
    /// The generation of the spec that this status is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Its address: what `spec.restore.uri` of a job takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Its number in the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// Bytes in the store of everything that it names, older parts included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// When it was published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Why it failed, or what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What is true of it, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The image of the job's workers, copied from it for the same end; none where it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How the store is reached, copied from the job: it may be gone when this is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreCopy>,
    /// The job's pod template, for the pod that deletes the snapshot: it has the credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Arc<Value>>,
}

/// How far a savepoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SnapshotPhase {
    /// The job does not run yet, or another snapshot is under way.
    Pending,
    /// It is being taken.
    Running,
    /// It is in the store.
    Completed,
    /// It will not be taken: the message says why.
    Failed,
}

/// How a store is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreCopy {
    /// `spec.snapshots.store` of the job.
    pub store: String,
    /// `spec.snapshots.endpoint` of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `spec.snapshots.region` of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `spec.snapshots.pathStyle` of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
}

impl StoreCopy {
    /// How a job's store is reached.
    pub fn of(spec: &SnapshotsSpec) -> Self {
        Self {
            store: spec.store.clone(),
            endpoint: spec.endpoint.clone(),
            region: spec.region.clone(),
            path_style: spec.path_style,
        }
    }
}
