//! The fields of a `StreamJob`, in words: what to write where something else stands.
//!
//! Received from: [`crate::job`], whose fields they are. Handed to: whoever reads a job and must
//! say what is wrong with it, and the test of the reference page. Invariant: every field of a job
//! is here, in the order of the file.

/// What a field of a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its path from the file's top; `*` stands for a name that the user chooses.
    pub path: &'static str,
    /// What to write there.
    pub is: &'static str,
    /// An example of it, as YAML.
    pub example: &'static str,
    /// What a change of it costs a job in a cluster.
    pub edit: Edit,
    /// What a local run does with it.
    pub local: &'static str,
}

/// What a change of a field costs a job that runs in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is refused.
    Fixed,
    /// Nothing: it holds at once.
    Live,
    /// Stop after a snapshot, new tasks, start; the pods stay.
    Tasks,
    /// The same with new pods.
    Pods,
    /// Nothing by itself: it is a wish, or says how one is met.
    Wish,
}

impl Edit {
    /// In words, as the end of the field's documentation.
    ///
    /// ```
    /// use millstream_protocol::field::Edit;
    /// assert_eq!(Edit::Live.words(), "A change holds at once.");
    /// ```
    pub fn words(self) -> &'static str {
        match self {
            Self::Fixed => "Fixed for the life of the job.",
            Self::Live => "A change holds at once.",
            Self::Tasks => "A change costs a snapshot and new tasks, in the same pods.",
            Self::Pods => "A change costs a snapshot and new pods.",
            Self::Wish => "A change is a wish, which is met without another change.",
        }
    }
}

const fn field(path: &'static str, is: &'static str, example: &'static str) -> Field {
    Field { path, is, example, edit: Edit::Live, local: ACTS }
}

impl Field {
    const fn edit(self, edit: Edit) -> Self {
        Self { edit, ..self }
    }

    const fn local(self, local: &'static str) -> Self {
        Self { local, ..self }
    }
}

const ACTS: &str = "acts";
const IGNORED: &str = "ignored, with a note";

const COUNT: &str = "a whole number of at least 1";
const DURATION: &str = "a duration of whole h, m, s or ms";
const FLAG: &str = "true or false";
const QUANTITY: &str = "a quantity of bytes";
const TEXT: &str = "text";

/// Every field of a job that holds a value.
pub const FIELDS: &[Field] = &[
    field("apiVersion", "the version of this format", "millstream.dev/v1alpha1")
        .edit(Edit::Fixed)
        .local("checked"),
    field("kind", "the kind of object", "StreamJob").edit(Edit::Fixed).local("checked"),
    field("metadata.name", "a name of lower-case letters, digits and '-'", "averages")
        .edit(Edit::Fixed)
        .local("names the job, its place in the store and in messages"),
    field("metadata.namespace", "a name of lower-case letters, digits and '-'", "default")
        .edit(Edit::Fixed)
        .local("part of the job's place"),
    field("spec.image", "an image", "registry.example/averages:1").edit(Edit::Pods).local(IGNORED),
    field("spec.program.name", "a program's name", "bird-strikes").edit(Edit::Tasks),
    field("spec.program.args.*", "text, in quotes where it looks like a number", "\"10\"")
        .edit(Edit::Tasks),
    field("spec.workers", COUNT, "2")
        .edit(Edit::Tasks)
        .local("ignored, with a note, but for `--workers`, which goes before it"),
    field("spec.threadsPerWorker", COUNT, "4")
        .edit(Edit::Tasks)
        .local("acts; `--threads` goes before it"),
    field("spec.keyGroups", "a whole number from 1 to 32768", "720").edit(Edit::Fixed),
    field("spec.suspend", FLAG, "true").edit(Edit::Wish).local("`true` is refused"),
    field("spec.state.backend", "Memory or RocksDB", "Memory").edit(Edit::Tasks).local(
        "acts ([state backends](state-backends.md)); a binary without the \
             feature `rocksdb` refuses `RocksDB`",
    ),
    field("spec.state.memory", QUANTITY, "512Mi")
        .edit(Edit::Tasks)
        .local("acts with `RocksDB`; ignored with `Memory`, with a note"),
    field("spec.state.localVolume.size", QUANTITY, "20Gi").edit(Edit::Pods).local(IGNORED),
    field("spec.state.localVolume.storageClassName", "a storage class", "fast")
        .edit(Edit::Pods)
        .local(IGNORED),
    field("spec.snapshots.store", "a place for snapshots", "s3://bucket/prefix")
        .edit(Edit::Fixed)
        .local(
            "acts ([stores](stores.md)); `file://path` may be relative there, and \
             the default is `file://.millstream`, below the current directory",
        ),
    field("spec.snapshots.endpoint", "an address", "http://minio:9000")
        .edit(Edit::Tasks)
        .local("acts, for `s3://`"),
    field("spec.snapshots.region", TEXT, "eu-central-1")
        .edit(Edit::Tasks)
        .local("acts, for `s3://` ([stores](stores.md#s3))"),
    field("spec.snapshots.pathStyle", FLAG, "true").edit(Edit::Tasks).local("acts, for `s3://`"),
    field("spec.snapshots.interval", DURATION, "10s"),
    field("spec.snapshots.timeout", DURATION, "10m"),
    field("spec.snapshots.retain", COUNT, "3").local(
        "acts. Noted in the log by each run: `spec.restore.uri` does not go \
             back to what an earlier run did not keep, since it may still be \
             deleting that \
             ([0007](../decisions/0007-a-claim-says-what-its-retention-keeps.md))",
    ),
    field("spec.snapshots.onDelete", "Retain or Delete", "Retain")
        .local("`Delete` is ignored, with a note"),
    field("spec.restore.from", "Latest, Empty or Snapshot", "Latest")
        .edit(Edit::Wish)
        .local("acts; `--fresh` is `Empty` for one start"),
    field("spec.restore.snapshotName", "the name of a StreamSnapshot", "before-upgrade")
        .edit(Edit::Wish)
        .local("refused: it means something in a cluster only"),
    field(
        "spec.restore.uri",
        "the address of a snapshot",
        "s3://bucket/prefix/default/averages/log/00000000000000000005.json",
    )
    .edit(Edit::Wish)
    .local("acts, with an address as `snapshots list` shows it"),
    field("spec.restore.request", "a whole number", "1").edit(Edit::Wish),
    field("spec.restore.maxAge", DURATION, "1h30m").edit(Edit::Wish).local(IGNORED),
    field("spec.restore.allowDroppedState", FLAG, "true")
        .edit(Edit::Wish)
        .local("acts; a warning names what is lost"),
    field("spec.restart.initialBackoff", DURATION, "1s"),
    field("spec.restart.maxBackoff", DURATION, "1m"),
    field("spec.restart.resetAfter", DURATION, "1h"),
    field("spec.podTemplate", "a pod template", "{spec: {..}}").edit(Edit::Pods).local(IGNORED),
];

impl Field {
    /// Whether this is the field at a path.
    fn is_at(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(front) => path.strip_prefix(front).is_some_and(|name| !name.is_empty()),
            None => self.path == path,
        }
    }
}

/// What to write at a path of a job; none where no field of a job is there.
///
/// ```
/// use millstream_protocol::field::to_write;
/// let said = "a whole number of at least 1, such as 2";
/// assert_eq!(to_write("spec.workers").as_deref(), Some(said));
/// let said = "fields below it: size, storageClassName";
/// assert_eq!(to_write("spec.state.localVolume").as_deref(), Some(said));
/// assert_eq!(to_write("spec.wrokers"), None);
/// ```
pub fn to_write(path: &str) -> Option<String> {
    if let Some(field) = FIELDS.iter().find(|field| field.is_at(path)) {
        // Where it is one of several words, they are all said.
        let is_said = field.is.contains(field.example);
        let example = if is_said { String::new() } else { format!(", such as {}", field.example) };
        return Some(format!("{}{example}", field.is));
    }
    let front = if path.is_empty() { String::new() } else { format!("{path}.") };
    let mut names: Vec<&str> = Vec::new();
    for below in FIELDS.iter().filter_map(|field| field.path.strip_prefix(&front)) {
        let name = below.split('.').next().unwrap_or(below);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    match &names[..] {
        [] => None,
        ["*"] => Some("names and values below it".to_owned()),
        names if path.is_empty() => Some(format!("fields: {}", names.join(", "))),
        names => Some(format!("fields below it: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::job::{
        BackendName, JobSpec, LocalVolume, Metadata, OnDelete, ProgramSpec, RestartSpec,
        RestoreFrom, RestoreSpec, SnapshotsSpec, StateSpec, StreamJob,
    };
    use crate::time::GepDuration;

    /// A job with every field. Without `..`: a new one does not compile until it is written here.
    fn populated() -> StreamJob {
        let text = || Some("x".to_owned());
        let metadata = Metadata {
            name: "x".into(),
            namespace: "x".into(),
            rest: BTreeMap::from([("labels".into(), json!({}))]),
        };
        let program =
            ProgramSpec { name: text(), args: BTreeMap::from([("*".to_owned(), "x".to_owned())]) };
        let local_volume = LocalVolume { size: "1Gi".into(), storage_class_name: text() };
        let second = GepDuration::from_secs(1);
        let spec = JobSpec {
            image: text(),
            program,
            workers: 1,
            threads_per_worker: Some(1),
            key_groups: 1,
            suspend: false,
            state: StateSpec {
                backend: BackendName::Memory,
                memory: text(),
                local_volume: Some(local_volume),
            },
            snapshots: SnapshotsSpec {
                store: "x".into(),
                endpoint: text(),
                region: text(),
                path_style: Some(true),
                interval: second,
                timeout: second,
                retain: 1,
                on_delete: OnDelete::Retain,
            },
            restore: RestoreSpec {
                from: RestoreFrom::Latest,
                snapshot_name: text(),
                uri: text(),
                request: 0,
                max_age: Some(second),
                allow_dropped_state: false,
            },
            restart: RestartSpec {
                initial_backoff: second,
                max_backoff: second,
                reset_after: second,
            },
            pod_template: Some(json!("x").into()),
        };
        StreamJob { api_version: "x".into(), kind: "x".into(), metadata, spec }
    }

    fn paths(value: &Value, at: &str, into: &mut Vec<String>) {
        let Some(object) = value.as_object() else {
            into.push(at.to_owned());
            return;
        };
        for (name, below) in object {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            paths(below, &path, into);
        }
    }

    #[test]
    fn every_field_of_a_job_is_here_and_no_other() {
        let mut of_job = Vec::new();
        paths(&serde_json::to_value(populated()).unwrap(), "", &mut of_job);
        let mut here: Vec<_> = FIELDS.iter().map(|field| field.path.to_owned()).collect();
        of_job.sort();
        here.sort();
        assert_eq!(here, of_job);
    }

    #[test]
    fn what_to_write_is_found_by_the_path() {
        assert_eq!(
            to_write("spec.program.args.limit").unwrap(),
            "text, in quotes where it looks like a number, such as \"10\""
        );
        assert_eq!(to_write("").unwrap(), "fields: apiVersion, kind, metadata, spec");
        assert_eq!(to_write("spec.program.args").unwrap(), "names and values below it");
        assert_eq!(to_write("spec.program.args.").as_deref(), None);
    }
}
