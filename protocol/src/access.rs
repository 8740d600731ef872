//! [`Access`]: how a bucket is reached.
//!
//! Received from a spec or a program; handed to the client of S3, and kept in snapshots beside the
//! output that waits in a bucket. Invariant: it names no credential.

use serde::{Deserialize, Serialize};

use crate::job::SnapshotsSpec;

/// How a bucket is reached. Without meaning for files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Access {
    /// The endpoint. Default: AWS, or what the SDK finds in environment and profile.
    pub endpoint: Option<String>,
    /// The region. Default: as for the endpoint.
    pub region: Option<String>,
    /// Whether the bucket stands in the path. Default: where an endpoint is named.
    pub path_style: Option<bool>,
}

impl From<&SnapshotsSpec> for Access {
    fn from(spec: &SnapshotsSpec) -> Self {
        Self {
            endpoint: spec.endpoint.clone(),
            region: spec.region.clone(),
            path_style: spec.path_style,
        }
    }
}
