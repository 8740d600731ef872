//! The `PodDisruptionBudget`: a drain takes one worker at a time, and one that is not ready at any
//! time, since it holds nothing that a drain could lose.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::names;
use crate::reconcile::validate::Owner;

/// The budget of a job's workers.
pub(super) fn build(owner: &Owner) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata(owner),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(&owner.name)),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}
