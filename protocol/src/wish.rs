//! What a start is to begin with.
//!
//! Received from: a spec's `restore`. Handed to: the coordinator, which resolves it, and the log,
//! which keeps it, so that a wish acts once.

use serde::{Deserialize, Serialize};

use crate::id::Seq;
use crate::job::{RestoreFrom, RestoreSpec};
use crate::path::JobPrefix;
use crate::validate::Problem;

/// What a start is to begin with, as the log records it. A spec's `restore` becomes one by
/// [`Wish::of`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "camelCase", deny_unknown_fields)]
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
    /// A snapshot of another job, of which the log begins with a copy.
    Other {
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
                    return Ok(Self::Other { request });
                }
                Ok(Self::Snapshot { seq, request })
            }
        }
    }

    /// The number of the request that this wish answers, if it has one.
    pub fn request(self) -> Option<u64> {
        match self {
            Self::Latest => None,
            Self::Empty { request } | Self::Snapshot { request, .. } | Self::Other { request } => {
                request
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_tells_a_snapshot_of_this_job_from_one_of_another() {
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
        assert_eq!(Wish::of(&restore, &prefix), Ok(Wish::Other { request: Some(2) }));
        restore.uri = Some(format!("{prefix}log/"));
        assert_eq!(Wish::of(&restore, &prefix).unwrap_err().path, "spec.restore.uri");
    }
}
