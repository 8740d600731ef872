//! What the operator was told when it was installed, as far as the objects of jobs depend on it.
//!
//! Received from: the chart's values. Handed to: [`super::validate`] and [`super::build`].

use std::collections::BTreeMap;

/// The operator, as its jobs see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The namespace it runs in: its pods may reach those of jobs.
    pub namespace: String,
    /// The labels of its pods.
    pub pod_labels: BTreeMap<String, String>,
    /// The image of jobs that name none.
    pub worker_image: Option<String>,
    /// The group that owns the volumes of workers, where they name none. Most storage drivers need
    /// one where the image's user is not root; `OpenShift` sets its own.
    pub fs_group: Option<i64>,
}
