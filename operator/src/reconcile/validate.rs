//! The step from a job as it was written to one that can be accepted.
//!
//! Received from: the API server, whose rules ([`crate::crd::rules`]) the job has passed. Handed
//! to: [`super::accepted`], and, where it has mistakes, to the condition `SpecValid`. Pure.
//! Invariant: what passes here can be built; all mistakes are shown at once, each with its
//! field's path.

use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::job::{API_VERSION, JobSpec, KIND, Metadata, RestoreSpec};
use millstream_protocol::path::Store;
use millstream_protocol::validate::{self, Problem};
use serde_json::Value;

use super::accepted::hash;
use super::operator::Operator;
use super::pod_template;
use crate::crd::StreamJob;

/// Threads of a worker whose container has no CPU limit and whose job names no number.
const THREADS_DEFAULT: u32 = 1;
/// The largest spec as JSON, in bytes: it is kept in an annotation, and those of an object have
/// 256 KiB together.
const SPEC_BYTES_MAX: usize = 200 << 10;

/// A job without mistakes.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid {
    /// Whose objects are made.
    pub owner: Owner,
    /// The generation that was looked at.
    pub generation: i64,
    /// The hash of the spec as it was written.
    pub hash: String,
    /// The spec, with its image and its threads resolved.
    pub spec: JobSpec,
}

/// A job as the owner of its objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID, by which it is told from a later one of the same name.
    pub uid: String,
}

/// Why a job cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The spec has mistakes.
    #[error("{}", listed(.problems))]
    Invalid {
        /// All of them.
        problems: Vec<Problem>,
    },
    /// What came from the API server is no object that it keeps.
    #[error("the job has no metadata.{field}: it was not read from an API server")]
    NotStored {
        /// What it lacks.
        field: &'static str,
    },
}

impl Error {
    /// What is to be done about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::NotStored { .. } => ErrorKind::Bug,
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Whose objects are made for a job.
///
/// # Errors
/// Where it was not read from an API server.
pub fn owner(job: &StreamJob) -> Result<Owner, Error> {
    let there = |value: &Option<String>, field| value.clone().ok_or(Error::NotStored { field });
    let metadata = &job.metadata;
    Ok(Owner {
        namespace: there(&metadata.namespace, "namespace")?,
        name: there(&metadata.name, "name")?,
        uid: there(&metadata.uid, "uid")?,
    })
}

/// A job that can be accepted, or everything that is wrong with it.
///
/// # Errors
/// Where the spec has mistakes, or the job was not read from an API server.
pub fn validate(job: &StreamJob, operator: &Operator) -> Result<Valid, Error> {
    let owner = owner(job)?;
    let generation = job.metadata.generation.ok_or(Error::NotStored { field: "generation" })?;
    let spec = &job.spec.job;
    let mut problems = validate::job(&as_in_a_file(&owner, spec));
    let spec = resolved(spec, operator, &mut problems);
    problems.extend(too_large(&spec));
    if !problems.is_empty() {
        return Err(Error::Invalid { problems });
    }
    Ok(Valid { owner, generation, hash: hash(&job.spec.job), spec })
}

/// The job as a local run reads it, which has the same rules for the same fields.
pub(crate) fn as_in_a_file(owner: &Owner, spec: &JobSpec) -> millstream_protocol::job::StreamJob {
    millstream_protocol::job::StreamJob {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        metadata: Metadata {
            name: owner.name.clone(),
            namespace: owner.namespace.clone(),
            ..Metadata::default()
        },
        spec: spec.clone(),
    }
}

/// The spec with what is open in it filled in, and what is wrong with it in a cluster alone.
fn resolved(spec: &JobSpec, operator: &Operator, problems: &mut Vec<Problem>) -> JobSpec {
    // Without `..`: a new field does not compile until it is considered here.
    let JobSpec {
        image,
        program,
        workers,
        threads_per_worker,
        key_groups,
        suspend,
        state,
        snapshots,
        restore,
        restart,
        pod_template,
    } = spec.clone();
    let image = image.or_else(|| operator.worker_image.clone());
    let limit = pod_template.as_deref().and_then(pod_template::cpu_limit);
    let threads = threads_per_worker.or(limit).unwrap_or(THREADS_DEFAULT);
    let total = u64::from(threads) * u64::from(workers);
    problems.extend(wrong_image(image.as_deref()));
    if threads_per_worker.is_none() && total > u64::from(key_groups) && workers <= key_groups {
        problems.push(problem(
            "spec.threadsPerWorker",
            format!(
                "is {threads} by the CPU limit: write so many that workers x threadsPerWorker \
                 ({total}) does not exceed keyGroups ({key_groups})"
            ),
        ));
    }
    problems.extend(wrong_store(&snapshots.store, pod_template.as_deref()));
    problems.extend(wrong_name(&restore));
    // That it is no mapping has been said.
    if let Some(template) = pod_template.as_deref().filter(|template| template.is_object()) {
        problems.extend(pod_template::problems(template));
    }
    JobSpec {
        image,
        program,
        workers,
        threads_per_worker: Some(threads),
        key_groups,
        suspend,
        state,
        snapshots,
        restore,
        restart,
        pod_template,
    }
}

fn problem(path: &str, message: impl Into<String>) -> Problem {
    Problem { path: path.to_owned(), message: message.into() }
}

fn too_large(spec: &JobSpec) -> Option<Problem> {
    let bytes = serde_json::to_string(spec).map_or(0, |text| text.len());
    let message = || {
        format!(
            "has {bytes} bytes as JSON, and {SPEC_BYTES_MAX} at most: make podTemplate or \
             program.args smaller, by a ConfigMap that is mounted"
        )
    };
    (bytes > SPEC_BYTES_MAX).then(|| problem("spec", message()))
}

fn wrong_image(image: Option<&str>) -> Option<Problem> {
    match image {
        None => Some(problem(
            "spec.image",
            "is missing, and the operator was installed without one of its own: write an image",
        )),
        Some(image) if image.trim() != "" && image.contains(char::is_whitespace) => {
            Some(problem("spec.image", format!("is {image:?}: write an image without spaces")))
        }
        Some(_) => None,
    }
}

/// A store in a directory must outlive the pods, and be the same for all of them.
fn wrong_store(store: &str, pod_template: Option<&Value>) -> Option<Problem> {
    let Ok(Store::File { path }) = store.parse() else { return None };
    let is_shared = pod_template.is_some_and(|it| pod_template::has_shared_mount(it, &path));
    let message = || {
        format!(
            "{path} goes with the pod: write s3://bucket/prefix, or mount a volume there that all \
             workers share, in podTemplate"
        )
    };
    (!is_shared).then(|| problem("spec.snapshots.store", message()))
}

fn wrong_name(restore: &RestoreSpec) -> Option<Problem> {
    let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is_part = |part: &str| {
        part.bytes().all(|b| is_letter(b) || b == b'-')
            && part.bytes().next().is_some_and(is_letter)
            && part.bytes().last().is_some_and(is_letter)
    };
    // That it is empty has been said.
    let name = restore.snapshot_name.as_ref().filter(|name| !name.is_empty())?;
    let message = || format!("{name:?} is no object's name: write that of a StreamSnapshot");
    (!name.split('.').all(is_part)).then(|| problem("spec.restore.snapshotName", message()))
}

#[cfg(test)]
mod tests;
