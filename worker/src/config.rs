//! Reads a job: the file, `--set`, and what a local run puts in by itself. The only reader of files
//! and environment besides the connectors.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use millstream_coordinator::config::Config;
use millstream_dataflow::state::{Backend, RocksDbSettings};
use millstream_dataflow::{Context as _, Environment, Error, Kind, Result};
use millstream_protocol::field::FIELDS;
use millstream_protocol::job::{BackendName, OnDelete, StateSpec, StreamJob};
use millstream_protocol::nearest::nearest;
use millstream_protocol::validate::Problem;
use millstream_protocol::wish::Wish;
use serde_json::Value;

use crate::mistyped;
use crate::store::read_text;
use crate::yaml;

/// Where a job keeps its snapshots that does not say so, relative to the directory it is run in.
const STORE_DEFAULT: &str = ".millstream";

/// Where programs find their secrets. A variable that is no Unicode counts as not set.
pub(crate) fn environment() -> Environment {
    Environment::new(|name| std::env::var(name).ok())
}

/// A job as a local run takes it.
#[derive(Clone, Debug)]
pub(crate) struct LocalJob {
    pub(crate) job: StreamJob,
    pub(crate) config: Config,
    pub(crate) threads: u32,
    /// What a user should know of what was ignored or put in.
    pub(crate) notes: Vec<String>,
}

/// Reads a job from its file.
pub(crate) fn read_job(path: &Path, sets: &[String]) -> Result<StreamJob> {
    let at = |message: String| {
        Error::invalid(format!("{}: {}", path.display(), mistyped::shortened(message)))
    };
    let mut value = yaml::parse(&read_text(path)?).map_err(at)?;
    for set in sets {
        apply_set(&mut value, set)?;
    }
    from_value(value).map_err(at)
}

/// Reads a value as a job, and refuses fields that nobody knows.
fn from_value(value: Value) -> Result<StreamJob, String> {
    mistyped::no_lists(&value)?;
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&value, &mut track);
    let read: Result<StreamJob, _> =
        serde_ignored::deserialize(tracked, |path| unknown.push(path.to_string()));
    let job = read.map_err(|error| mistyped::explain(&value, &track.path(), &error))?;
    if unknown.is_empty() {
        return Ok(job);
    }
    Err(unknown.iter().map(|path| unknown_field(path)).collect::<Vec<_>>().join("; "))
}

/// What is wrong with a field that nobody knows: one beside it was meant, or another place.
fn unknown_field(path: &str) -> String {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let beside = FIELDS.iter().filter_map(|field| match parent {
        "" => field.path.split('.').next(),
        parent => field.path.strip_prefix(parent)?.strip_prefix('.')?.split('.').next(),
    });
    let beside: BTreeSet<&str> = beside.filter(|name| *name != "*").collect();
    let near = nearest(name, beside.iter().copied());
    match near {
        Some(near) => format!("unknown field {path}: did you mean {near}?"),
        None if beside.is_empty() => format!("unknown field {path}: {parent} has no fields"),
        None => {
            let beside = beside.into_iter().collect::<Vec<_>>().join(", ");
            let parent = if parent.is_empty() { "a StreamJob" } else { parent };
            format!("unknown field {path}: {parent} has {beside}")
        }
    }
}

/// Sets one field: `spec.path=value`, the value read as YAML; that of an argument as it stands.
fn apply_set(value: &mut Value, set: &str) -> Result<()> {
    let (path, text) = set
        .split_once('=')
        .ok_or_else(|| Error::invalid(format!("--set {set}: write --set spec.path=value")))?;
    let new = match text {
        _ if !text.is_empty() && path.starts_with(ARGS) => Value::String(unquoted(text).to_owned()),
        _ => yaml::parse(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    let mut place = value;
    for field in path.split('.') {
        if place.is_null() {
            *place = Value::Object(serde_json::Map::new());
        }
        let object = place.as_object_mut().ok_or_else(|| {
            Error::invalid(format!("--set {set}: {field} lies below something that has no fields"))
        })?;
        place = object.entry(field).or_insert(Value::Null);
    }
    *place = new;
    Ok(())
}

/// Fields below it are arguments: strings, whatever they look like.
const ARGS: &str = "spec.program.args.";

/// Without the quotes around it, if there are any: YAML would take them off as well.
fn unquoted(text: &str) -> &str {
    let within = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    within('"').or_else(|| within('\'')).unwrap_or(text)
}

/// Makes a job ready for a run on this machine.
pub(crate) fn local(
    mut job: StreamJob,
    (workers, threads): (Option<u32>, Option<u32>),
    fresh: bool,
    seed: u64,
) -> Result<LocalJob> {
    let mut notes = Vec::new();
    let key_groups = job.spec.key_groups;
    let spec = &mut job.spec;
    if workers == Some(0) {
        return Err(Error::invalid("--workers: is 0: write 1 or more"));
    }
    if workers.is_none() && spec.workers > 1 {
        let wished = spec.workers;
        notes.push(format!(
            "spec.workers: {wished} is ignored, one process runs here: --workers {wished} runs them"
        ));
    }
    // None at all is a mistake, which is reported with the others.
    spec.workers = workers.unwrap_or_else(|| spec.workers.min(1));
    for (field, is_set) in [
        ("image", spec.image.is_some()),
        ("state.localVolume", spec.state.local_volume.is_some()),
        ("snapshots.onDelete", spec.snapshots.on_delete == OnDelete::Delete),
        ("restore.maxAge", spec.restore.max_age.is_some()),
        ("podTemplate", spec.pod_template.is_some()),
    ] {
        if is_set {
            notes.push(format!("spec.{field} is for clusters and ignored here"));
        }
    }
    if spec.state.memory.is_some() && spec.state.backend == BackendName::Memory {
        notes.push("spec.state.memory is for RocksDB and ignored with Memory".to_owned());
    }
    if spec.state.backend == BackendName::RocksDB && !Backend::HAS_ROCKSDB {
        return Err(Error::invalid(
            "spec.state.backend: RocksDB is not in this binary: build it with the feature \
             `rocksdb`, or write Memory",
        ));
    }
    let store = &mut spec.snapshots.store;
    *store = absolute_store(store)?;
    if let Some(uri) = &mut spec.restore.uri {
        *uri = absolute_store(uri)?;
    }
    let option = threads;
    // By themselves they are no more than there are cores, or work.
    let each = |all: u32| all.checked_div(spec.workers).unwrap_or_default();
    let threads = threads.or(spec.threads_per_worker);
    let threads = threads.unwrap_or_else(|| each(cores()).min(each(key_groups)).max(1));
    spec.threads_per_worker = Some(threads);
    let wish = fresh.then_some(Wish::Empty { request: None });
    let config = Config::new(&job, wish, seed).map_err(|problems| {
        let of_option = |problem: &Problem| match option {
            Some(threads) if problem.path == THREADS => too_many(threads, &job),
            _ if workers.is_some() && problem.path == WORKERS => {
                problem.to_string().replace(WORKERS, "--workers")
            }
            _ => mistyped::shortened(problem.to_string()),
        };
        Error::invalid(problems.iter().map(of_option).collect::<Vec<_>>().join("\n"))
    })?;
    Ok(LocalJob { job, config, threads, notes })
}

/// Where a job says what `--threads` says.
const THREADS: &str = "spec.threadsPerWorker";

/// Where a job says what `--workers` says.
const WORKERS: &str = "spec.workers";

/// What is wrong with `--threads`.
fn too_many(threads: u32, job: &StreamJob) -> String {
    let (workers, key_groups) = (job.spec.workers, job.spec.key_groups);
    let most = key_groups.checked_div(workers).unwrap_or_default();
    let of = if workers > 1 { format!(" for {workers} workers") } else { String::new() };
    format!(
        "--threads: is {threads}: write a number from 1 to {most}{of}: spec.keyGroups is \
         {key_groups}, and each thread needs one"
    )
}

/// What holds the keyed state of a job.
pub(crate) fn backend(state: &StateSpec) -> Result<Backend> {
    match state.backend {
        BackendName::Memory => Ok(Backend::Memory),
        BackendName::RocksDB => {
            let memory_bytes = state.memory_bytes();
            let memory_bytes = memory_bytes
                .map_err(|error| Error::invalid(format!("spec.state.memory: {error}")))?;
            let directory = local_directory("state")?;
            Ok(Backend::RocksDb(RocksDbSettings { memory_bytes, directory }))
        }
    }
}

/// Where local files of a kind go: one folder per user among those for temporary files. Others may
/// write there, but not to what is this user's.
pub(crate) fn local_directory(kind: &str) -> Result<PathBuf> {
    // SAFETY: it reads a number, and cannot fail.
    let user = unsafe { libc::geteuid() };
    let path = std::env::temp_dir().join(format!("millstream-{kind}-{user}"));
    let attempt = || format!("cannot use {} for local {kind}", path.display());
    DirBuilder::new().recursive(true).mode(0o700).create(&path).or_kind(Kind::Invalid, attempt)?;
    let owner = std::fs::metadata(&path).or_kind(Kind::Invalid, attempt)?.uid();
    if owner != user {
        return Err(Error::invalid(format!(
            "{}: it belongs to another user: set TMPDIR to a place of your own",
            attempt()
        )));
    }
    Ok(path)
}

/// `file://` with a relative path means a place below the current directory.
pub(crate) fn absolute_store(store: &str) -> Result<String> {
    let relative = match store.strip_prefix("file://") {
        _ if store.is_empty() => STORE_DEFAULT,
        Some(path) if !path.starts_with('/') => path,
        _ => return Ok(store.to_owned()),
    };
    let path: PathBuf = std::env::current_dir()?.join(relative).components().collect();
    Ok(format!("file://{}", path.display()))
}

/// The cores at hand: the default of `spec.threadsPerWorker`.
pub(crate) fn cores() -> u32 {
    available_parallelism().map_or(1, |cores| cores.get() as u32)
}

#[cfg(test)]
mod tests {
    use millstream_protocol::field::FIELDS;

    use super::*;

    const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: averages}
spec:
  program: {name: averages, args: {window: 10s}}
  snapshots: {store: 'file:///tmp/s'}
";

    fn read(text: &str, sets: &[&str]) -> Result<StreamJob, String> {
        let mut value = yaml::parse(text)?;
        for set in sets {
            apply_set(&mut value, set).map_err(|error| error.to_string())?;
        }
        from_value(value)
    }

    #[test]
    fn sets_reach_fields_that_are_there_and_fields_that_are_not() {
        let sets = ["spec.keyGroups=64", "spec.program.args.n=7", "spec.restart.maxBackoff=5s"];
        let job = read(JOB, &sets).unwrap();
        assert_eq!(job.spec.key_groups, 64);
        assert_eq!(job.spec.program.args["n"], "7");
        assert_eq!(job.spec.restart.max_backoff.to_string(), "5s");
    }

    #[test]
    fn arguments_are_taken_as_they_stand() {
        for text in ["in #2.csv", "&x y", "a: b", "[ab]", "~", "null", ".nan", "!t x", " a ", "\""]
        {
            let job = read(JOB, &[&format!("spec.program.args.in={text}")]).unwrap();
            assert_eq!(job.spec.program.args["in"], text);
        }
        for (text, without) in [("\"a #b\"", "a #b"), ("'7'", "7"), ("\"\"", "")] {
            let job = read(JOB, &[&format!("spec.program.args.in={text}")]).unwrap();
            assert_eq!(job.spec.program.args["in"], without);
        }
    }

    #[test]
    fn an_unknown_field_is_named_with_its_place() {
        let error = read(&JOB.replace("args:", "arguments:"), &[]).unwrap_err();
        assert!(error.contains("spec.program.arguments"), "{error}");
        let error = read(JOB, &["spec.snapshot.interval=1s"]).unwrap_err();
        assert!(error.contains("spec.snapshot"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_place() {
        for (set, said) in [
            ("spec.workers=many", "is \"many\": write a whole number of at least 1, such as 2"),
            ("spec.workers=-1", "is -1: write a whole number of at least 1, such as 2"),
            ("spec.threadsPerWorker=2.5", "is 2.5: write a whole number of at least 1, such as 4"),
            ("spec.suspend=maybe", "is \"maybe\": write true or false"),
            ("spec.state.backend=rocksdb", "is \"rocksdb\": write Memory or RocksDB"),
            (
                "spec.snapshots.interval=10",
                "is 10: write a duration of whole h, m, s or ms, such as 10s",
            ),
            (
                "spec.snapshots.interval=soon",
                "\"soon\" is not a duration: write one to four of <1 to 5 digits>(h|m|s|ms), such \
                 as 10s or 1h30m",
            ),
            (
                "spec.restart=fast",
                "is \"fast\": write fields below it: initialBackoff, maxBackoff, resetAfter",
            ),
            ("spec.program.args=", "is empty: write names and values below it"),
            (
                "metadata.name=[x]",
                "is [\"x\"]: write a name of lower-case letters, digits and '-', such as averages",
            ),
        ] {
            let path = set.split_once('=').unwrap().0;
            assert_eq!(read(JOB, &[set]).unwrap_err(), format!("{path}: {said}"), "{set}");
        }
        let sets = ["spec.state.localVolume.storageClassName=fast"];
        let error = read(JOB, &sets).unwrap_err();
        let said =
            "spec.state.localVolume.size: is missing: write a quantity of bytes, such as 20Gi";
        assert_eq!(error, said);
        let error = read("kind: StreamJob", &[]).unwrap_err();
        let said = "apiVersion: is missing: write the version of this format, such as \
                    millstream.dev/v1alpha1";
        assert_eq!(error, said);
    }

    #[test]
    fn every_example_that_a_message_gives_is_taken() {
        for field in FIELDS.iter().filter(|field| field.path != "spec.podTemplate") {
            let mut value = yaml::parse(JOB).unwrap();
            let volume = "spec.state.localVolume.size=1Gi";
            apply_set(&mut value, volume).unwrap();
            let path = field.path.replace('*', "x");
            apply_set(&mut value, &format!("{path}={}", field.example)).unwrap();
            let job = from_value(value).unwrap_or_else(|error| panic!("{}: {error}", field.path));
            let wants_snapshot = |path: &str| path.starts_with("spec.restore.");
            let problems = millstream_protocol::validate::job(&job);
            assert!(problems.is_empty() || wants_snapshot(field.path), "{problems:?}");
        }
    }

    #[test]
    fn a_file_that_is_no_job_is_not_shown_whole() {
        let text = "Flight Date,Origin State ".repeat(30_000);
        for error in [
            read(&text, &[]).unwrap_err(),
            read(JOB, &[&format!("spec.workers={text}")]).unwrap_err(),
        ] {
            assert!(error.len() < 300, "{error}");
        }
        let error = read(&text, &[]).unwrap_err();
        let said = "is \"Flight Date,Origin State Flight Date,Origin State Flight Da.., and not a \
                    StreamJob: write fields: apiVersion, kind, metadata, spec";
        assert_eq!(error, said);
        let error = read("", &[]).unwrap_err();
        assert!(error.starts_with("is empty, and not a StreamJob: "), "{error}");
    }

    #[test]
    fn what_does_not_act_here_is_told() {
        let sets = [
            "spec.image=x",
            "spec.workers=2",
            "spec.state.memory=1Gi",
            "spec.state.localVolume.size=1Gi",
            "spec.snapshots.onDelete=Delete",
            "spec.restore.maxAge=1h",
            "spec.podTemplate.spec={}",
        ];
        let notes = local(read(JOB, &sets).unwrap(), (None, None), false, 1).unwrap().notes;
        assert_eq!(notes.len(), sets.len(), "{notes:?}");
        for set in sets {
            let field = set.split_once('=').unwrap().0.trim_end_matches(".size");
            let field = field.trim_end_matches(".spec");
            assert!(notes.iter().any(|note| note.starts_with(field)), "{field}: {notes:?}");
        }
        assert_eq!(local(read(JOB, &[]).unwrap(), (None, None), false, 1).unwrap().notes, [""; 0]);
    }

    /// A list could be read as the fields of a job in their order.
    #[test]
    fn a_list_is_no_fields() {
        let error = read("[millstream.dev/v1alpha1, StreamJob, {name: a}, {}]", &[]).unwrap_err();
        let said = "is a list, and not a StreamJob: write fields: apiVersion, kind, metadata, spec";
        assert_eq!(error, said);
        let error = read(JOB, &["spec.program=[averages]"]).unwrap_err();
        assert_eq!(error, "spec.program: is a list: write fields below it: name, args");
        let error = read(JOB, &["spec.state.localVolume=[1Gi]"]).unwrap_err();
        let said =
            "spec.state.localVolume: is a list: write fields below it: size, storageClassName";
        assert_eq!(error, said);
    }

    #[test]
    fn threads_are_no_more_than_there_is_work_and_the_option_is_blamed_for_itself() {
        let of = |sets: &[&str], threads, workers| {
            let local = local(read(JOB, sets).unwrap(), (workers, threads), false, 1);
            local.map(|local| local.threads).map_err(|error| error.to_string())
        };
        assert_eq!(of(&["spec.keyGroups=1"], None, None), Ok(1));
        assert_eq!(of(&[], Some(720), None), Ok(720));
        let said = "--threads: is 721: write a number from 1 to 720: spec.keyGroups is 720, and \
                    each thread needs one";
        assert_eq!(of(&[], Some(721), None), Err(said.to_owned()));
        let said = "--threads: is 361: write a number from 1 to 360 for 2 workers: spec.keyGroups \
                    is 720, and each thread needs one";
        assert_eq!(of(&[], Some(361), Some(2)), Err(said.to_owned()));
        let error = of(&[], None, Some(721)).unwrap_err();
        assert!(error.starts_with("--workers: is 721: write a number from 1 to "), "{error}");
        let error = of(&["spec.threadsPerWorker=721"], None, None).unwrap_err();
        assert!(error.starts_with("spec.threadsPerWorker: is 721: "), "{error}");
        let error = of(&["spec.workers=0"], None, None).unwrap_err();
        assert!(error.starts_with("spec.workers: is 0: "), "{error}");
    }

    #[test]
    fn mistakes_of_the_spec_are_all_reported() {
        let job = read(JOB, &["spec.keyGroups=0", "metadata.name=Averages"]).unwrap();
        let error = local(job, (None, None), false, 1).unwrap_err().to_string();
        assert!(error.contains("metadata.name") && error.contains("spec.keyGroups"), "{error}");
    }
}
