//! The accepted spec: what a job runs by, whatever its resource says in the meantime.
//!
//! Received from: [`super::validate`], when a spec has passed. Handed to: [`super::build`], which
//! writes it into the `StatefulSet` beside the template that it made, in one apply. Invariant: it
//! is read back as it was written, by this operator and by later ones, and an invalid edit never
//! changes it.

use std::collections::BTreeMap;

use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::job::JobSpec;
use millstream_protocol::time::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::validate::Valid;
use crate::names;

/// A spec that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// The generation of the job that it is of.
    pub generation: i64,
    /// The hash of the spec as the user wrote it: equal hashes are equal specs.
    pub hash: String,
    /// The spec, with what was open in it resolved: image and threads.
    pub spec: JobSpec,
}

/// A spec that is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its hash.
    pub hash: String,
    /// Why.
    pub message: String,
}

/// What a job goes back to where the spec in force does not come up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Previous {
    /// The last spec by which the job has published a snapshot.
    pub accepted: Accepted,
    /// When the one after it came in force.
    pub since: Timestamp,
}

/// Why an accepted spec cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody took the annotation away.
    #[error(
        "the StatefulSet has no annotation {}: put it back, or delete the StatefulSet",
        names::ACCEPTED
    )]
    Missing,
    /// Somebody changed it, or a later operator wrote it.
    #[error(
        "the annotation {} of the StatefulSet cannot be read: put it back, or upgrade the operator",
        names::ACCEPTED
    )]
    Unreadable {
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// What is to be done about it: nothing is deleted, and somebody must look.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::Unreadable { .. } => ErrorKind::Corrupt,
        }
    }
}

impl Accepted {
    /// The spec of a job that has been validated.
    pub fn of(job: &Valid) -> Self {
        Self { generation: job.generation, hash: job.hash.clone(), spec: job.spec.clone() }
    }

    /// As the value of an annotation.
    pub fn to_annotation(&self) -> String {
        serde_json::to_string(self).expect("a spec that was read from JSON is JSON")
    }

    /// The one in the annotations of a `StatefulSet`.
    ///
    /// # Errors
    /// Where it is not there, or cannot be read.
    pub fn from_annotations(annotations: &BTreeMap<String, String>) -> Result<Self, Error> {
        let text = annotations.get(names::ACCEPTED).ok_or(Error::Missing)?;
        serde_json::from_str(text).map_err(|source| Error::Unreadable { source })
    }
}

/// What is kept beside it, as the value of an annotation.
pub(super) fn to_annotation(kept: &impl Serialize) -> String {
    serde_json::to_string(kept).expect("what was read from JSON is JSON")
}

/// Such a value; none where it is not there, or of another version: neither is worth a failure.
pub(super) fn kept<T: DeserializeOwned>(
    annotations: &BTreeMap<String, String>,
    name: &str,
) -> Option<T> {
    serde_json::from_str(annotations.get(name)?).ok()
}

/// The hash of a spec, as 16 digits. A later operator may know more fields and find another hash
/// for the same spec: then it compares the specs.
pub fn hash(spec: &JobSpec) -> String {
    let text = serde_json::to_vec(spec).expect("a spec that was read from JSON is JSON");
    format!("{:016x}", xxh3_64(&text))
}
