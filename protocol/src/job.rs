//! The job part of a StreamJob: what `kubectl apply` and a local run both read.
//!
//! Received from: a user's YAML. Handed to: the coordinator and, in Hello, to every worker. The reconciler's
//! resource type embeds [`JobSpec`]. Invariant: a spec for which [`validate`] finds no problem can be run.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::id::Seq;
use crate::key_group::KeyGroups;
use crate::path::{JobPrefix, Store};
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
#[serde(rename_all = "camelCase", default)]
pub struct JobSpec {
    /// The container image. Any image whose entrypoint is a worker. A local run ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Which program runs, with which arguments.
    pub program: ProgramSpec,
    /// How many workers (pods or processes). At least 1, at most `keyGroups`.
    pub workers: u32,
    /// Engine threads of each worker. Default: the CPUs at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_per_worker: Option<u32>,
    /// In how many groups keyed state moves. Fixed for the life of the job, 1 to 32768.
    pub key_groups: u32,
    /// True: take a snapshot, stop, and stay stopped. False again: resume from it.
    pub suspend: bool,
    /// Where the state lives while the job runs.
    pub state: StateSpec,
    /// Where snapshots go, and how often they are taken.
    pub snapshots: SnapshotsSpec,
    /// Which snapshot the job starts from.
    pub restore: RestoreSpec,
    /// How fast a failed job restarts.
    pub restart: RestartSpec,
    /// A pod template for the workers, passed on as it is. A local run ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<serde_json::Value>,
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
#[serde(rename_all = "camelCase", default)]
pub struct ProgramSpec {
    /// The program's name. May be left out where the binary has only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Arguments, which the program reads with `job.args()`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
}

/// Where the state lives while the job runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StateSpec {
    /// What holds keyed state.
    pub backend: BackendName,
    /// RocksDB: one bound for its caches and buffers, as a quantity (`512Mi`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// A volume that survives the pod and makes recovery local. A cache, never the truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_volume: Option<LocalVolume>,
}

/// What holds keyed state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackendName {
    /// Memory.
    #[default]
    Memory,
    /// RocksDB below a bounded cache, for state larger than memory.
    RocksDB,
}

/// A volume for local state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalVolume {
    /// Its size, as a quantity.
    pub size: String,
    /// Its storage class. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
}

/// Where snapshots go, and how often they are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SnapshotsSpec {
    /// `s3://bucket/prefix`, or `file:///path` for local runs. Fixed for the life of the job.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub store: String,
    /// The endpoint of an S3-compatible store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The store's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket stands in the path of a request, not in the host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// From the start of one snapshot to the start of the next.
    pub interval: GepDuration,
    /// A snapshot that is not uploaded after this long is given up, and the next one is tried.
    pub timeout: GepDuration,
    /// How many of the newest snapshots are kept, at least 1.
    pub retain: u32,
    /// What becomes of the snapshots when the job is deleted.
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
pub enum OnDelete {
    /// They stay.
    #[default]
    Retain,
    /// They go with the job.
    Delete,
}

/// Which snapshot the job starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreSpec {
    /// The newest snapshot, none, or a named one.
    pub from: RestoreFrom,
    /// `from: Snapshot`: the StreamSnapshot to start from. Or give `uri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_name: Option<String>,
    /// `from: Snapshot`: the address of the snapshot to start from. Or give `snapshotName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// Anything but `Latest` acts once per new value of `request`.
    pub request: u64,
    /// Holds for changes of the spec only: an older candidate blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<GepDuration>,
    /// Whether state that no operator claims, or whose schema does not match, may be lost.
    pub allow_dropped_state: bool,
}

/// The newest snapshot, none, or a named one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[serde(rename_all = "camelCase", default)]
pub struct RestartSpec {
    /// The first delay.
    pub initial_backoff: GepDuration,
    /// The longest delay.
    pub max_backoff: GepDuration,
    /// After this long without a failure the delay is the first one again.
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

/// A mistake in a spec: where it is, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// The field, as in `spec.snapshots.store`.
    pub path: String,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// What is wrong with a job, as far as a plain reader can tell: kind, name and spec.
pub fn validate_job(job: &StreamJob) -> Vec<Problem> {
    let mut problems = Problems::default();
    if job.api_version != API_VERSION {
        problems.add("apiVersion", format!("is {:?}: write {API_VERSION}", job.api_version));
    }
    if job.kind != KIND {
        problems.add("kind", format!("is {:?}: write {KIND}", job.kind));
    }
    if !is_job_name(&job.metadata.name) {
        problems.add(
            "metadata.name",
            format!(
                "{:?} is not a job's name: write 1 to {NAME_LEN_MAX} lower-case letters, digits and \
                 '-', a letter first and no '-' last",
                job.metadata.name
            ),
        );
    }
    problems.0.extend(validate(&job.spec));
    problems.0
}

/// What is wrong with a spec, as far as a plain reader can tell. The program's own checks come later, when a
/// worker builds it.
pub fn validate(spec: &JobSpec) -> Vec<Problem> {
    // Without `..`: a new field does not compile until it is considered here.
    let JobSpec {
        image,
        program,
        workers,
        threads_per_worker,
        key_groups,
        suspend: _,
        state,
        snapshots,
        restore,
        restart,
        pod_template,
    } = spec;
    let mut problems = Problems::default();
    if image.as_ref().is_some_and(|image| image.trim().is_empty()) {
        problems.add("spec.image", "is empty: write an image, or leave the field out");
    }
    if program.name.as_ref().is_some_and(String::is_empty) {
        problems.add("spec.program.name", "is empty: write a program's name, or leave it out");
    }
    if *key_groups == 0 || *key_groups > KEY_GROUPS_MAX {
        problems.add(
            "spec.keyGroups",
            format!("is {key_groups}: write a number from 1 to {KEY_GROUPS_MAX}"),
        );
    }
    if *workers == 0 || *workers > *key_groups {
        problems.add(
            "spec.workers",
            format!("is {workers}: write a number from 1 to keyGroups ({key_groups})"),
        );
    }
    if let Some(threads) = threads_per_worker {
        let total = u64::from(*threads) * u64::from(*workers);
        if *threads == 0 || total > u64::from(*key_groups) {
            problems.add(
                "spec.threadsPerWorker",
                format!(
                    "is {threads}: write at least 1, and at most so many that workers x \
                     threadsPerWorker ({total}) does not exceed keyGroups ({key_groups})"
                ),
            );
        }
    }
    if pod_template.as_ref().is_some_and(|template| !template.is_object()) {
        problems.add("spec.podTemplate", "is not a mapping: write {metadata: ..., spec: ...}");
    }
    validate_state(state, &mut problems);
    validate_snapshots(snapshots, &mut problems);
    validate_restore(restore, &mut problems);
    validate_restart(*restart, &mut problems);
    problems.0
}

fn validate_state(state: &StateSpec, problems: &mut Problems) {
    let StateSpec { backend: _, memory, local_volume } = state;
    let quantity = "is not a quantity: write digits with a unit, such as 512Mi or 20Gi";
    if memory.as_ref().is_some_and(|memory| parse_quantity(memory).is_none()) {
        problems.add("spec.state.memory", quantity);
    }
    if let Some(LocalVolume { size, storage_class_name: _ }) = local_volume
        && parse_quantity(size).is_none()
    {
        problems.add("spec.state.localVolume.size", quantity);
    }
}

fn validate_snapshots(snapshots: &SnapshotsSpec, problems: &mut Problems) {
    let SnapshotsSpec {
        store,
        endpoint,
        region: _,
        path_style: _,
        interval,
        timeout,
        retain,
        on_delete: _,
    } = snapshots;
    if store.is_empty() {
        problems.add(
            "spec.snapshots.store",
            "is missing: write s3://bucket/prefix, or file:///absolute/path for a local run",
        );
    } else if let Err(error) = store.parse::<Store>() {
        problems.add("spec.snapshots.store", error.to_string());
    }
    let is_http = |url: &str| url.starts_with("http://") || url.starts_with("https://");
    if let Some(endpoint) = endpoint
        && !is_http(endpoint)
    {
        problems.add(
            "spec.snapshots.endpoint",
            format!("is {endpoint:?}: write http://host:port or https://host:port"),
        );
    }
    for (field, duration) in [("interval", interval), ("timeout", timeout)] {
        if duration.0.is_zero() {
            problems.add(&format!("spec.snapshots.{field}"), "is zero: write 1ms or more");
        }
    }
    if *retain == 0 {
        problems.add("spec.snapshots.retain", "is 0: write 1 or more");
    }
}

fn validate_restore(restore: &RestoreSpec, problems: &mut Problems) {
    let RestoreSpec { from, snapshot_name, uri, request: _, max_age: _, allow_dropped_state: _ } =
        restore;
    match (from, snapshot_name, uri) {
        (RestoreFrom::Snapshot, None, None) => problems
            .add("spec.restore", "names no snapshot: write snapshotName or uri, or from: Latest"),
        (RestoreFrom::Snapshot, Some(_), Some(_)) => {
            problems
                .add("spec.restore", "names two snapshots: write snapshotName or uri, not both");
        }
        (RestoreFrom::Snapshot, Some(name), None) if name.is_empty() => {
            problems.add("spec.restore.snapshotName", "is empty: write a StreamSnapshot's name");
        }
        (RestoreFrom::Snapshot, None, Some(uri)) => {
            if let Err(error) = JobPrefix::parse_snapshot_uri(uri) {
                problems.add("spec.restore.uri", error.to_string());
            }
        }
        (RestoreFrom::Latest | RestoreFrom::Empty, name, uri) => {
            if name.is_some() || uri.is_some() {
                problems.add(
                    "spec.restore",
                    "names a snapshot that is not used: write from: Snapshot, or leave it out",
                );
            }
        }
        (RestoreFrom::Snapshot, Some(_), None) => {}
    }
}

fn validate_restart(restart: RestartSpec, problems: &mut Problems) {
    let RestartSpec { initial_backoff, max_backoff, reset_after: _ } = restart;
    if initial_backoff.0.is_zero() {
        problems.add("spec.restart.initialBackoff", "is zero: write 1ms or more");
    }
    if max_backoff < initial_backoff {
        problems.add(
            "spec.restart.maxBackoff",
            format!("is {max_backoff}: write at least initialBackoff ({initial_backoff})"),
        );
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.0.push(Problem { path: path.to_owned(), message: message.into() });
    }
}

/// `^[a-z]([-a-z0-9]{0,50}[a-z0-9])?$`.
fn is_job_name(name: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= NAME_LEN_MAX
        && name.bytes().all(inside)
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
}

/// The bytes that a Kubernetes quantity such as `512Mi`, `1.5Gi` or `2G` stands for, rounded down. None where
/// it is not one, or is negative or too large.
pub fn parse_quantity(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 11] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("", 1),
    ];
    let (suffix, size) = SUFFIXES.into_iter().find(|(suffix, _)| text.ends_with(suffix))?;
    let number = text.strip_suffix(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let bytes = whole.parse::<u64>().ok()?.checked_mul(size)?;
    if fraction.is_empty() {
        return (!number.ends_with('.')).then_some(bytes);
    }
    let scale = 10_u128.pow(fraction.len() as u32);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(size) / scale;
    bytes.checked_add(part as u64)
}

/// What a start is to begin with, as the log records it. A spec's `restore` becomes one by
/// [`Wish::of`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "camelCase")]
pub enum Wish {
    /// The newest snapshot of the current history.
    #[default]
    Latest,
    /// An empty state.
    Empty {
        /// The number of the request; none for a wish that holds for one start of one coordinator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<u64>,
    },
    /// A named snapshot of this job.
    Snapshot {
        /// The manifest's place in the log.
        seq: Seq,
        /// The number of the request; none for a wish that holds for one start of one coordinator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<u64>,
    },
}

impl Wish {
    /// The wish that a spec's `restore` expresses, for the job whose objects lie under `prefix`. A
    /// `snapshotName` must have been turned into a `uri` before.
    pub fn of(restore: &RestoreSpec, prefix: &JobPrefix) -> Result<Self, Problem> {
        let problem = |path: &str, message: String| Problem { path: path.to_owned(), message };
        let request = Some(restore.request);
        match restore.from {
            RestoreFrom::Latest => Ok(Self::Latest),
            RestoreFrom::Empty => Ok(Self::Empty { request }),
            RestoreFrom::Snapshot => {
                let Some(uri) = &restore.uri else {
                    let message =
                        "is needed here: a snapshotName means something in a cluster only";
                    return Err(problem("spec.restore.uri", message.to_owned()));
                };
                let (named, seq) = JobPrefix::parse_snapshot_uri(uri)
                    .map_err(|error| problem("spec.restore.uri", error.to_string()))?;
                if named != *prefix {
                    let message = format!(
                        "{uri:?} is a snapshot of another job: name one under {prefix}log/"
                    );
                    return Err(problem("spec.restore.uri", message));
                }
                Ok(Self::Snapshot { seq, request })
            }
        }
    }

    /// The number of the request that this wish answers, if it has one.
    pub fn request(self) -> Option<u64> {
        match self {
            Self::Latest => None,
            Self::Empty { request } | Self::Snapshot { request, .. } => request,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec() -> JobSpec {
        serde_json::from_value(json!({"snapshots": {"store": "file:///tmp/s"}})).unwrap()
    }

    fn paths(spec: &JobSpec) -> Vec<String> {
        validate(spec).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn an_empty_spec_has_the_documented_defaults() {
        let spec: JobSpec = serde_json::from_value(json!({})).unwrap();
        assert_eq!((spec.workers, spec.key_groups, spec.suspend), (1, 720, false));
        assert_eq!(spec.snapshots.interval.to_string(), "10s");
        assert_eq!(spec.snapshots.timeout.to_string(), "10m");
        assert_eq!((spec.snapshots.retain, spec.restore.from), (3, RestoreFrom::Latest));
        assert_eq!(spec.restart.max_backoff.to_string(), "1m");
        assert_eq!(paths(&spec), ["spec.snapshots.store"], "only the store has no default");
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
                "snapshots": {"store": "s3://bucket/prefix", "interval": "1h30m", "onDelete": "Delete"},
                "restore": {"from": "Snapshot", "uri": "s3://b/default/averages/log/00000000000000000009.json"},
                "podTemplate": {"spec": {}},
            }
        });
        let job: StreamJob = serde_json::from_value(text).unwrap();
        assert_eq!(validate_job(&job), []);
        assert_eq!(job.metadata.namespace, "default");
        assert_eq!(job.metadata.rest["labels"]["team"], "plants");
        let again: StreamJob = serde_json::from_value(serde_json::to_value(&job).unwrap()).unwrap();
        assert_eq!(again, job);
    }

    #[test]
    fn every_mistake_names_its_field() {
        let check = |change: &dyn Fn(&mut JobSpec), path: &str| {
            let mut spec = spec();
            change(&mut spec);
            assert_eq!(paths(&spec), [path]);
        };
        check(&|s| s.workers = 0, "spec.workers");
        check(&|s| s.workers = 721, "spec.workers");
        check(&|s| s.key_groups = 40_000, "spec.keyGroups");
        check(&|s| s.threads_per_worker = Some(0), "spec.threadsPerWorker");
        check(&|s| s.threads_per_worker = Some(721), "spec.threadsPerWorker");
        check(&|s| s.snapshots.store = "gs://x".into(), "spec.snapshots.store");
        check(&|s| s.snapshots.store = "file://x".into(), "spec.snapshots.store");
        check(&|s| s.snapshots.endpoint = Some("minio:9000".into()), "spec.snapshots.endpoint");
        check(&|s| s.snapshots.retain = 0, "spec.snapshots.retain");
        check(&|s| s.snapshots.interval = GepDuration::from_secs(0), "spec.snapshots.interval");
        check(&|s| s.restore.from = RestoreFrom::Snapshot, "spec.restore");
        check(&|s| s.restore.uri = Some("x".into()), "spec.restore");
        check(&|s| s.restart.max_backoff = GepDuration::from_millis(1), "spec.restart.maxBackoff");
        check(&|s| s.state.memory = Some("lots".into()), "spec.state.memory");
        check(&|s| s.pod_template = Some(json!([])), "spec.podTemplate");
    }

    #[test]
    fn names_of_jobs_are_checked() {
        let longest = "a".repeat(NAME_LEN_MAX);
        for good in ["a", "a-b", "a1", longest.as_str()] {
            assert!(is_job_name(good), "{good}");
        }
        for bad in ["", "1a", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(NAME_LEN_MAX + 1)] {
            assert!(!is_job_name(bad), "{bad}");
        }
    }

    #[test]
    fn quantities_read_as_in_kubernetes() {
        assert_eq!(parse_quantity("512Mi"), Some(512 << 20));
        assert_eq!(parse_quantity("1.5Gi"), Some(3 << 29));
        assert_eq!(parse_quantity("2k"), Some(2000));
        assert_eq!(parse_quantity("17"), Some(17));
        for bad in ["", "Mi", "-1", "1.", "1.Gi", "1e3", "x", "99999999999Pi"] {
            assert_eq!(parse_quantity(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_wish_names_a_snapshot_of_this_job_only() {
        let prefix = JobPrefix::new("s3://b".parse().unwrap(), "default", "one").unwrap();
        let mut restore = RestoreSpec {
            from: RestoreFrom::Snapshot,
            uri: Some(prefix.snapshot_uri(Seq(4))),
            request: 2,
            ..RestoreSpec::default()
        };
        let wish = Wish::Snapshot { seq: Seq(4), request: Some(2) };
        assert_eq!(Wish::of(&restore, &prefix), Ok(wish));
        let other = JobPrefix::new("s3://b".parse().unwrap(), "default", "two").unwrap();
        restore.uri = Some(other.snapshot_uri(Seq(4)));
        assert_eq!(Wish::of(&restore, &prefix).unwrap_err().path, "spec.restore.uri");
    }
}
