//! The job part of a `StreamJob`: what `kubectl apply` and a local run both read.
//!
//! Received from: a user's YAML. Handed to: the coordinator and, in Hello, to every worker. The
//! reconciler's resource type embeds [`JobSpec`]. Invariant: a spec in which [`crate::validate`]
//! finds no problem can run.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key_group::KeyGroups;
use crate::quantity;
use crate::time::GepDuration;

/// The API group and version of [`StreamJob`].
pub const API_VERSION: &str = "millstream.dev/v1alpha1";
/// The kind of [`StreamJob`].
pub const KIND: &str = "StreamJob";
/// Longest name of a job: leaves room for the names and labels of its pods.
pub const NAME_LEN_MAX: usize = 52;
/// The most key groups a job may have.
pub const KEY_GROUPS_MAX: u32 = 32_768;

/// A job as a user writes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamJob {
    /// `millstream.dev/v1alpha1`.
    pub api_version: String,
    /// `StreamJob`.
    pub kind: String,
    /// The job's name and namespace.
    pub metadata: Metadata,
    /// What the job is.
    #[serde(default)]
    pub spec: JobSpec,
}

/// The metadata that a local run heeds, and, unread, the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// The job's name: `^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$`.
    pub name: String,
    /// The job's namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Labels, annotations and whatever else Kubernetes knows: kept, not read.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

impl Default for Metadata {
    fn default() -> Self {
        Self { name: String::new(), namespace: default_namespace(), rest: BTreeMap::new() }
    }
}

/// What a job is: its program, its size, its state and its snapshots.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// The container image: any whose entrypoint is a worker's binary. Default: the operator's own
    /// image of the worker, chosen once for each accepted spec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Which program runs, with which arguments.
    pub program: ProgramSpec,
    /// How many workers (pods or processes) share the job: 1 to `keyGroups`. `kubectl scale` sets
    /// it.
    pub workers: u32,
    /// Engine threads of each worker, at least 1; times `workers` at most `keyGroups`. Default:
    /// in a cluster the CPU limit of the container, rounded up, else 1; in a local run the cores
    /// at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_per_worker: Option<u32>,
    /// In how many groups keyed state moves between tasks: the most tasks an operator can have.
    pub key_groups: u32,
    /// True: take a snapshot, stop, and stay stopped, without pods. False again: resume from it.
    pub suspend: bool,
    /// Where the state lives while the job runs.
    pub state: StateSpec,
    /// Where snapshots go, and how often they are taken.
    pub snapshots: SnapshotsSpec,
    /// Which snapshot the job starts from.
    pub restore: RestoreSpec,
    /// How fast a failed job restarts.
    pub restart: RestartSpec,
    /// A `PodTemplateSpec` for the workers, merged into what the operator makes: containers,
    /// volumes and variables by name, what stands here goes before. The worker's container is
    /// `worker`. The annotation `millstream.dev/restartedAt` in it, with a new value, restarts
    /// the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<Arc<serde_json::Value>>,
}

impl Default for JobSpec {
    fn default() -> Self {
        Self {
            image: None,
            program: ProgramSpec::default(),
            workers: 1,
            threads_per_worker: None,
            key_groups: KeyGroups::default().count(),
            suspend: false,
            state: StateSpec::default(),
            snapshots: SnapshotsSpec::default(),
            restore: RestoreSpec::default(),
            restart: RestartSpec::default(),
            pod_template: None,
        }
    }
}

impl JobSpec {
    /// The job's key groups, where `keyGroups` is within its bounds.
    pub fn key_groups(&self) -> Option<KeyGroups> {
        if self.key_groups > KEY_GROUPS_MAX {
            return None;
        }
        NonZeroU16::new(self.key_groups as u16).map(KeyGroups)
    }
}

/// Which of the programs in the binary runs, and its arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ProgramSpec {
    /// The program's name, one of those in the binary. Default: the binary's only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Arguments, which the program reads with `job.args()`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
}

/// Where the state lives while the job runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct StateSpec {
    /// What holds keyed state while the job runs: `Memory`, or `RocksDB` below a bounded cache, for
    /// state larger than memory. A job may change it from one run to the next.
    pub backend: BackendName,
    /// With `RocksDB`, one bound for the cache above it, its buffers and its block cache, over all
    /// tasks of a worker, as a quantity of bytes: at least 16Mi. Default: 512Mi.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "quantity::optional_text")]
    pub memory: Option<String>,
    /// A volume for each worker, which survives the pod, so that a restart reads local copies of
    /// snapshots. It is a cache, never the truth. Default: space of the node, which goes with the
    /// pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_volume: Option<LocalVolume>,
}

impl StateSpec {
    /// The bound on memory of a job that does not say one.
    pub const MEMORY_DEFAULT: &str = "512Mi";
    /// The smallest bound, in bytes: below it, write buffers alone would pass it.
    pub const MEMORY_MIN: u64 = 16 << 20;

    /// The bound on memory, in bytes.
    ///
    /// # Errors
    /// Where it is not a quantity that can be used.
    pub fn memory_bytes(&self) -> Result<u64, quantity::Error> {
        quantity::parse(self.memory.as_deref().unwrap_or(Self::MEMORY_DEFAULT))
    }
}

/// What holds keyed state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum BackendName {
    /// Memory alone.
    #[default]
    Memory,
    /// `RocksDB` below a bounded cache, for state larger than memory.
    RocksDB,
}

/// A volume for local state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LocalVolume {
    /// The size of each, as a quantity of bytes.
    #[serde(deserialize_with = "quantity::text")]
    pub size: String,
    /// Their storage class. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

/// Where snapshots go, and how often they are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotsSpec {
    /// Where they lie: `s3://bucket/prefix`, or `file:///path` for a directory that all workers
    /// share. The job's objects lie below `<store>/<namespace>/<name>/`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub store: String,
    /// The address of an S3-compatible store, `http://` or `https://`. Default: that of AWS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The region of the bucket. Default: what environment or profile of the worker say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket stands in the path of a request, not in the host name. Default: true
    /// where there is an `endpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// From the start of one snapshot to the start of the next, a duration of more than zero.
    pub interval: GepDuration,
    /// A snapshot that is not uploaded after this duration is given up, and the next one is tried.
    pub timeout: GepDuration,
    /// How many of the newest snapshots are kept, at least 1, beside those that the last two runs
    /// began with and savepoints.
    pub retain: u32,
    /// What becomes of the snapshots when the job is deleted: `Retain`, they stay; `Delete`, they
    /// go with it, but for savepoints that are retained.
    pub on_delete: OnDelete,
}

impl Default for SnapshotsSpec {
    fn default() -> Self {
        Self {
            store: String::new(),
            endpoint: None,
            region: None,
            path_style: None,
            interval: GepDuration::from_secs(10),
            timeout: GepDuration::from_secs(600),
            retain: 3,
            on_delete: OnDelete::Retain,
        }
    }
}

/// What becomes of the snapshots when the job is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum OnDelete {
    /// They stay.
    #[default]
    Retain,
    /// They go with the job.
    Delete,
}

/// Which snapshot the job starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// What a start goes on from: `Latest`, the newest snapshot, and an empty state where there
    /// never was one; `Empty`, an empty state; `Snapshot`, what `snapshotName` or `uri` names.
    pub from: RestoreFrom,
    /// With `from: Snapshot`, the `StreamSnapshot` of this namespace to start from, of this job
    /// or of another. Or give `uri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_name: Option<String>,
    /// With `from: Snapshot`, the address of the snapshot to start from: of this job, or, where
    /// this one has no history yet, of another, which is copied. Or give `snapshotName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// `Empty` and `Snapshot` act once for each new value of this number; where the job runs,
    /// after a savepoint.
    pub request: u64,
    /// A change of the spec waits where the newest snapshot is older than this duration. A restart
    /// after a failure never waits. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<GepDuration>,
    /// Whether state that no operator claims, or whose schema does not match, may be lost. Else
    /// such a snapshot is refused.
    pub allow_dropped_state: bool,
}

/// The newest snapshot, none, or a named one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum RestoreFrom {
    /// The newest snapshot; an empty state where there never was one.
    #[default]
    Latest,
    /// An empty state.
    Empty,
    /// The snapshot that `snapshotName` or `uri` names.
    Snapshot,
}

/// How fast a failed job restarts: the delay grows by half each time, up to `maxBackoff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct RestartSpec {
    /// The first delay, a duration of more than zero.
    pub initial_backoff: GepDuration,
    /// The longest delay, at least `initialBackoff`.
    pub max_backoff: GepDuration,
    /// After a run of this duration without a failure the delay is the first one again.
    pub reset_after: GepDuration,
}

impl Default for RestartSpec {
    fn default() -> Self {
        Self {
            initial_backoff: GepDuration::from_secs(1),
            max_backoff: GepDuration::from_secs(60),
            reset_after: GepDuration::from_secs(3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::validate;

    #[test]
    fn an_empty_spec_has_the_documented_defaults() {
        let spec: JobSpec = serde_json::from_value(json!({})).unwrap();
        assert_eq!((spec.workers, spec.key_groups, spec.suspend), (1, 720, false));
        assert_eq!(spec.snapshots.interval.to_string(), "10s");
        assert_eq!(spec.snapshots.timeout.to_string(), "10m");
        assert_eq!((spec.snapshots.retain, spec.restore.from), (3, RestoreFrom::Latest));
        assert_eq!(spec.restart.max_backoff.to_string(), "1m");
        let problems = validate::spec(&spec);
        assert_eq!(problems.len(), 1, "only the store has no default: {problems:?}");
    }

    #[test]
    fn a_whole_job_reads_and_prints_alike() {
        let text = json!({
            "apiVersion": API_VERSION, "kind": KIND,
            "metadata": {"name": "averages", "labels": {"team": "plants"}},
            "spec": {
                "program": {"name": "averages", "args": {"window": "10s"}},
                "workers": 2, "threadsPerWorker": 2,
                "state": {"backend": "RocksDB", "memory": "512Mi", "localVolume": {"size": "20Gi"}},
                "snapshots": {"store": "s3://bucket/prefix", "interval": "1h30m"},
                "restore": {"from": "Snapshot", "snapshotName": "before-upgrade"},
                "podTemplate": {"spec": {}},
            }
        });
        let job: StreamJob = serde_json::from_value(text).unwrap();
        assert_eq!(validate::job(&job), []);
        assert_eq!(job.metadata.namespace, "default");
        assert_eq!(job.metadata.rest["labels"]["team"], "plants");
        let again: StreamJob = serde_json::from_value(serde_json::to_value(&job).unwrap()).unwrap();
        assert_eq!(again, job);
    }
}
