//! What is wrong with a job, as far as a plain reader of the spec can tell.
//!
//! Received from: a user's YAML, read into a [`StreamJob`]. Handed to: whoever shows mistakes to
//! the user, each with the field's path and what to write instead. The program's own checks come
//! later, when a worker builds it.

use serde::{Deserialize, Serialize};

use crate::job::{
    API_VERSION, JobSpec, KEY_GROUPS_MAX, KIND, LocalVolume, NAME_LEN_MAX, RestartSpec,
    RestoreFrom, RestoreSpec, SnapshotsSpec, StateSpec, StreamJob,
};
use crate::path::{JobPrefix, Store};
use crate::quantity;

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
pub fn job(job: &StreamJob) -> Vec<Problem> {
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
                "{:?} is not a job's name: write 1 to {NAME_LEN_MAX} lower-case letters, digits \
                 and '-', a letter first and no '-' last",
                job.metadata.name
            ),
        );
    }
    problems.0.extend(spec(&job.spec));
    problems.0
}

/// What is wrong with a spec, as far as a plain reader can tell. The program's own checks come
/// later, when a worker builds it.
pub fn spec(spec: &JobSpec) -> Vec<Problem> {
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
    let (mut problems, mut key_groups) = (Problems::default(), key_groups);
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
        // What is not too many for any number is not to blame.
        key_groups = &KEY_GROUPS_MAX;
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
    let memory = memory.as_deref().unwrap_or(StateSpec::MEMORY_DEFAULT);
    match state.memory_bytes() {
        Ok(bytes) if bytes < StateSpec::MEMORY_MIN => {
            let least = StateSpec::MEMORY_MIN >> 20;
            problems.add("spec.state.memory", format!("is {memory}: write {least}Mi or more"));
        }
        Ok(_) => {}
        Err(error) => problems.add("spec.state.memory", format!("{memory:?} {error}")),
    }
    if let Some(LocalVolume { size, storage_class_name: _ }) = local_volume
        && let Err(error) = quantity::parse(size)
    {
        problems.add("spec.state.localVolume.size", format!("{size:?} {error}"));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::time::GepDuration;

    fn valid() -> JobSpec {
        serde_json::from_value(json!({"snapshots": {"store": "file:///tmp/s"}})).unwrap()
    }

    fn paths(spec: &JobSpec) -> Vec<String> {
        super::spec(spec).into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn every_mistake_names_its_field() {
        let check = |change: &dyn Fn(&mut JobSpec), path: &str| {
            let mut spec = valid();
            change(&mut spec);
            assert_eq!(paths(&spec), [path]);
        };
        check(&|s| s.workers = 0, "spec.workers");
        check(&|s| s.workers = 721, "spec.workers");
        check(&|s| s.key_groups = 40_000, "spec.keyGroups");
        check(&|s| s.key_groups = 0, "spec.keyGroups");
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
        check(&|s| s.state.memory = Some("15Mi".into()), "spec.state.memory");
        check(&|s| s.pod_template = Some(json!([]).into()), "spec.podTemplate");
    }

    #[test]
    fn a_quantity_is_shown_where_it_is_refused_and_may_be_a_bare_number() {
        let with = |memory: serde_json::Value| -> JobSpec {
            let store = json!({"store": "file:///tmp/s"});
            serde_json::from_value(json!({"snapshots": store, "state": {"memory": memory}}))
                .unwrap()
        };
        let said = |memory| spec(&with(memory)).first().map(ToString::to_string);
        assert_eq!(said(json!(536_870_912)), None);
        assert_eq!(said(json!(1e9)), None);
        assert_eq!(said(json!("7Ei")), None);
        assert_eq!(with(json!(1e9)).state.memory_bytes(), Ok(1_000_000_000));
        let said = said(json!("7Xi")).unwrap();
        let shown = "spec.state.memory: \"7Xi\" is not a quantity: write a number of bytes, ";
        assert!(said.starts_with(shown), "{said}");
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
}
