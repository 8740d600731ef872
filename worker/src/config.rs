//! Reads a job: the file, `--set`, and what a local run puts in by itself. The only reader of files
//! and environment besides the connectors.

use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use millstream_coordinator::config::Config;
use millstream_dataflow::{Environment, Error, Result};
use millstream_protocol::job::{BackendName, StreamJob};
use millstream_protocol::wish::Wish;
use serde_json::Value;

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
    let at = |message: String| Error::invalid(format!("{}: {message}", path.display()));
    let mut value = yaml::parse(&read_text(path)?).map_err(at)?;
    for set in sets {
        apply_set(&mut value, set)?;
    }
    from_value(value).map_err(at)
}

/// Reads a value as a job, and refuses fields that nobody knows.
fn from_value(value: Value) -> Result<StreamJob, String> {
    let mut unknown = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let read: Result<StreamJob, _> =
        serde_ignored::deserialize(tracked, |path| unknown.push(path.to_string()));
    let job = read.map_err(|error| match track.path().to_string().as_str() {
        // The whole text, or a field that is not there: the error says which.
        "." => error.to_string(),
        path => format!("{path}: {error}"),
    })?;
    if unknown.is_empty() {
        return Ok(job);
    }
    Err(format!("unknown field {}: check its spelling and its place", unknown.join(", ")))
}

/// Sets one field: `spec.path=value`, the value read as YAML.
fn apply_set(value: &mut Value, set: &str) -> Result<()> {
    let (path, text) = set
        .split_once('=')
        .ok_or_else(|| Error::invalid(format!("--set {set}: write --set spec.path=value")))?;
    let new = yaml::parse(text).unwrap_or_else(|_| Value::String(text.to_owned()));
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
    // Arguments are strings, whatever they look like.
    *place = match new {
        Value::Number(_) | Value::Bool(_) if path.starts_with("spec.program.args.") => {
            Value::String(text.to_owned())
        }
        new => new,
    };
    Ok(())
}

/// Makes a job ready for a run on this machine.
pub(crate) fn local(
    mut job: StreamJob,
    threads: Option<u32>,
    fresh: bool,
    seed: u64,
) -> Result<LocalJob> {
    let mut notes = Vec::new();
    let spec = &mut job.spec;
    if spec.workers > 1 {
        notes.push(format!("spec.workers: {} is ignored, one process runs here", spec.workers));
        spec.workers = 1;
    }
    for (field, is_set) in
        [("image", spec.image.is_some()), ("podTemplate", spec.pod_template.is_some())]
    {
        if is_set {
            notes.push(format!("spec.{field} is for clusters and ignored here"));
        }
    }
    if spec.state.backend == BackendName::RocksDB {
        return Err(Error::invalid(
            "spec.state.backend: RocksDB is not in this build: write Memory, or leave it out",
        ));
    }
    let store = &mut spec.snapshots.store;
    *store = absolute_store(store)?;
    let (field, threads) = match (threads, spec.threads_per_worker) {
        (Some(threads), _) => ("--threads", threads),
        (None, threads) => ("spec.threadsPerWorker", threads.unwrap_or_else(cores)),
    };
    if threads == 0 {
        return Err(Error::invalid(format!("{field}: is 0: write 1 or more")));
    }
    spec.threads_per_worker = Some(threads);
    let wish = fresh.then_some(Wish::Empty { request: None });
    let config = Config::new(&job, wish, seed).map_err(|problems| {
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Error::invalid(lines.join("\n"))
    })?;
    Ok(LocalJob { job, config, threads, notes })
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

fn cores() -> u32 {
    available_parallelism().map_or(1, |cores| cores.get() as u32)
}

#[cfg(test)]
mod tests {
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
    fn an_unknown_field_is_named_with_its_place() {
        let error = read(&JOB.replace("args:", "arguments:"), &[]).unwrap_err();
        assert!(error.contains("spec.program.arguments"), "{error}");
        let error = read(JOB, &["spec.snapshot.interval=1s"]).unwrap_err();
        assert!(error.contains("spec.snapshot"), "{error}");
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_with_its_place() {
        let error = read(JOB, &["spec.workers=many"]).unwrap_err();
        assert!(error.starts_with("spec.workers: "), "{error}");
        let error = read(JOB, &["spec.snapshots.interval=soon"]).unwrap_err();
        assert!(error.starts_with("spec.snapshots.interval: "), "{error}");
    }

    #[test]
    fn mistakes_of_the_spec_are_all_reported() {
        let job = read(JOB, &["spec.keyGroups=0", "metadata.name=Averages"]).unwrap();
        let error = local(job, None, false, 1).unwrap_err().to_string();
        assert!(error.contains("metadata.name") && error.contains("spec.keyGroups"), "{error}");
    }
}
