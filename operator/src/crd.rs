//! The resources that users write: `StreamJob` and `StreamSnapshot`, `millstream.dev/v1alpha1`.
//!
//! Received from: [`millstream_protocol::job`], whose types a `StreamJob` embeds. Handed to: the
//! files below `crds/`, the chart and the reference pages, by `cargo xtask generate`, and to
//! [`crate::reconcile`]. Invariant: from one release to the next, fields are only added
//! ([`compatible`]).
#![allow(clippy::duplicated_attributes, reason = "a column has the same words as the one before")]

pub mod compatible;
pub mod condition;
pub mod page;
pub mod rules;
mod schema;
pub mod snapshot;
pub mod status;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt};
use millstream_protocol::job::JobSpec;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use snapshot::{StreamSnapshot, StreamSnapshotSpec};
pub use status::StreamJobStatus;

/// What the job is. A local run reads the same.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "millstream.dev",
    version = "v1alpha1",
    kind = "StreamJob",
    shortname = "sj",
    category = "millstream",
    namespaced,
    status = "StreamJobStatus",
    derive = "PartialEq",
    doc = "A streaming job: a program, its size, its state and its snapshots.",
    scale(
        spec_replicas_path = ".spec.workers",
        status_replicas_path = ".status.workers",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Phase",
        type_ = "string",
        json_path = ".status.phase",
        description = "What the job does"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.ready",
        description = "Workers whose tasks run, of all"
    ),
    printcolumn(
        name = "Snapshot",
        type_ = "date",
        json_path = ".status.lastSnapshot.completedAt",
        description = "Age of the last snapshot"
    ),
    printcolumn(
        name = "Lag",
        type_ = "integer",
        json_path = ".status.lag.records",
        description = "Records that wait in the sources"
    ),
    printcolumn(
        name = "Restarts",
        type_ = "integer",
        json_path = ".status.restarts",
        description = "Restarts after failures"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Run",
        type_ = "integer",
        json_path = ".status.run",
        description = "Number of the run: a higher one fences lower ones",
        priority = 1
    ),
    printcolumn(
        name = "Restored-From",
        type_ = "string",
        json_path = ".status.restored.from",
        description = "Snapshot that the run began with",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        description = "Why it is not ready",
        priority = 1
    )
)]
pub struct StreamJobSpec {
    /// The job.
    #[serde(flatten)]
    pub job: JobSpec,
}

/// The definitions of all resources, as they are applied.
pub fn definitions() -> [CustomResourceDefinition; 2] {
    [stream_job(), stream_snapshot()]
}

/// The definition of `StreamJob`.
pub fn stream_job() -> CustomResourceDefinition {
    schema::of_job(StreamJob::crd())
}

/// The definition of `StreamSnapshot`.
pub fn stream_snapshot() -> CustomResourceDefinition {
    schema::of_snapshot(StreamSnapshot::crd())
}
