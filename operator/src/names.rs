//! The one module that spells labels, annotations, ports and places in a pod.
//!
//! Received by: what builds objects, and what finds them again. Invariant: none of these changes
//! once it is released: pods, policies and selectors of running jobs hold them.

use std::collections::BTreeMap;

/// The label with the job's name, on every object of a job.
pub const JOB: &str = "millstream.dev/job";
/// The label that says what an object's pod does: [`WORKER`].
pub const ROLE: &str = "millstream.dev/role";
/// The role of a pod that runs tasks, and the name of its container.
pub const WORKER: &str = "worker";
/// The role of a pod that does something in the store while no worker can.
pub const ERRAND: &str = "errand";
/// The labels by which tools of others know who manages an object,
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// and what it is.
pub const APP: &str = "app.kubernetes.io/name";
/// Who manages the objects of jobs: also the field manager of what is applied.
pub const OPERATOR: &str = "millstream-operator";

/// The annotation of a `StatefulSet` with the [`Accepted`](crate::reconcile::accepted::Accepted)
/// spec.
pub const ACCEPTED: &str = "millstream.dev/accepted";
/// The annotation of a `StatefulSet` with the hash of the spec that was refused last, and why.
pub const REFUSED: &str = "millstream.dev/refused";
/// The annotation of a `StatefulSet` with the spec to which the job goes back where the accepted
/// one does not come up.
pub const PREVIOUS: &str = "millstream.dev/previous";
/// The annotation of the `StatefulSet` of a job that has come to its end, which has no pods.
pub const FINISHED: &str = "millstream.dev/finished";
/// The annotation of every object of a job with the hash of what was applied last.
pub const APPLIED: &str = "millstream.dev/applied";
/// The annotation of a batch `Job` that checks a spec with the hash of that.
pub const CHECKS: &str = "millstream.dev/checks";
/// The annotation of a job that stops its reconciliation while it is `"true"`.
pub const PAUSE: &str = "millstream.dev/pause";
/// The finalizer of a job, or of a savepoint, whose snapshots go with it.
pub const FINALIZER: &str = "millstream.dev/snapshots";
/// The annotation in a job's pod template that restarts it, by a new value.
pub const RESTARTED_AT: &str = "millstream.dev/restartedAt";

/// A port of a worker's pod: its name and its number.
pub type Port = (&'static str, u16);
/// Where a worker takes its coordinator's session, and other workers' records.
pub const SESSION_PORT: Port = ("grpc", 7070);
/// Where a worker answers probes and Prometheus.
pub const HEALTH_PORT: Port = ("metrics", 9100);

/// The volume for what a worker keeps on its disk, and where it is mounted.
pub const LOCAL: (&str, &str) = ("local", "/var/lib/millstream");
/// The volume for what programs and libraries keep for a while, and where it is mounted.
pub const TMP: (&str, &str) = ("tmp", "/tmp");

/// What the names of our variables begin with.
pub const VARIABLE_PREFIX: &str = "MILLSTREAM_";
/// The variable with the pod's name, which ends in the worker's number.
pub const POD_NAME: &str = "MILLSTREAM_POD_NAME";
/// The variable with the pod's UID, by which one is told from its successor.
pub const POD_UID: &str = "MILLSTREAM_POD_UID";
/// The variable with the pod's address.
pub const POD_IP: &str = "MILLSTREAM_POD_IP";
/// The variable with the folder for what a worker keeps on its disk.
pub const TMPDIR: &str = "TMPDIR";

/// The labels that find the pods of a job.
pub fn selector(job: &str) -> BTreeMap<String, String> {
    [(JOB, job), (ROLE, WORKER)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The labels of a job's objects.
pub fn labels(job: &str) -> BTreeMap<String, String> {
    let mut labels = selector(job);
    labels.insert(MANAGED_BY.to_owned(), OPERATOR.to_owned());
    labels.insert(APP.to_owned(), "millstream-worker".to_owned());
    labels
}
