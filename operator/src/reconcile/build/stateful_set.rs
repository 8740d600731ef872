//! The `StatefulSet`: pods that start side by side, keep their names, and are replaced only when
//! the operator deletes them, since a new template is for the next run.
//!
//! Received from: [`super::build`]. Its template is [`super::pod`]'s, with the user's merged in.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use millstream_protocol::job::LocalVolume;
use serde_json::Value;

use super::{Wanted, accepted, metadata, pod};
use crate::names::{self, LOCAL};

/// Old templates that are kept for a look: the one before this one, and one more.
const REVISIONS_KEPT: i32 = 2;

/// The `StatefulSet` of a job's workers.
pub(super) fn build(wanted: &Wanted) -> Value {
    let mut of = metadata(wanted.owner);
    of.annotations = Some(accepted(wanted));
    let set = StatefulSet {
        metadata: of,
        spec: Some(StatefulSetSpec {
            service_name: Some(wanted.owner.name.clone()),
            replicas: Some(wanted.replicas as i32),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            revision_history_limit: Some(REVISIONS_KEPT),
            selector: LabelSelector {
                match_labels: Some(names::selector(&wanted.owner.name)),
                ..LabelSelector::default()
            },
            // A volume is a cache: it goes with its worker.
            persistent_volume_claim_retention_policy: Some(
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some("Delete".to_owned()),
                    when_scaled: Some("Delete".to_owned()),
                },
            ),
            volume_claim_templates: wanted
                .accepted
                .spec
                .state
                .local_volume
                .as_ref()
                .map(|volume| vec![claim(volume)]),
            ..StatefulSetSpec::default()
        }),
        status: None,
    };
    let mut set = serde_json::to_value(set).expect("an object of Kubernetes is JSON");
    set["spec"]["template"] = pod::template(wanted);
    set
}

fn claim(volume: &LocalVolume) -> PersistentVolumeClaim {
    let LocalVolume { size, storage_class_name } = volume;
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some(LOCAL.0.to_owned()), ..ObjectMeta::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.clone()))].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}
