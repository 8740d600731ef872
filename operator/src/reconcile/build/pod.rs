//! The template of a worker's pod: ours, with the user's over it, and what must be ours over both.
//!
//! Received from: [`super::stateful_set`]. Accepted by a namespace that enforces restricted Pod
//! Security, for any image with a numeric USER that is not root. Invariant: labels, image and
//! arguments are ours, whatever the user's template says; [`crate::reconcile::validate`] has said
//! so.

mod container;

use k8s_openapi::api::core::v1::{
    Affinity, EmptyDirVolumeSource, PodAffinityTerm, PodAntiAffinity, PodSecurityContext, PodSpec,
    PodTemplateSpec, SeccompProfile, Toleration, Volume, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::{Value, json};

use super::Wanted;
use crate::names::{self, LOCAL, TMP, WORKER};
use crate::reconcile::pod_template::merge;

/// A worker that is told to end has so long for a last snapshot, in seconds: a stopping barrier, an
/// upload and a commit, at 1 GB of changes and a store of ordinary speed.
const GRACE_SECS: i64 = 60;
/// A pod on a node that is not heard of any more is given up after so long, in seconds: short of
/// it a kubelet that restarts would cost a restart of the job.
const NODE_LOST_SECS: i64 = 30;
/// The weight of the wish that workers do not share a node: the largest there is.
const APART_WEIGHT: i32 = 100;
/// The label of a node with its name.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// The annotation by which `kubectl logs` knows which container is meant.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The template of a job's pods.
pub(super) fn template(wanted: &Wanted) -> Value {
    let ours = serde_json::to_value(ours(wanted)).expect("an object of Kubernetes is JSON");
    let Some(users) = &wanted.accepted.spec.pod_template else { return ours };
    let fixed = fixed(&ours);
    merge(merge(ours, users), &fixed)
}

/// What no template of a user changes.
fn fixed(ours: &Value) -> Value {
    let container = &ours["spec"]["containers"][0];
    json!({
        "metadata": {"labels": ours["metadata"]["labels"]},
        "spec": {"containers": [{
            "name": WORKER, "image": container["image"], "args": container["args"],
        }]},
    })
}

fn ours(wanted: &Wanted) -> PodTemplateSpec {
    let name = &wanted.owner.name;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(names::labels(name)),
            annotations: Some([(DEFAULT_CONTAINER.to_owned(), WORKER.to_owned())].into()),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            affinity: Some(apart(name)),
            // Workers ask the API server nothing.
            automount_service_account_token: Some(false),
            containers: vec![container::worker(&wanted.accepted.spec)],
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                fs_group: wanted.operator.fs_group,
                fs_group_change_policy: wanted
                    .operator
                    .fs_group
                    .map(|_| "OnRootMismatch".to_owned()),
                run_as_non_root: Some(true),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    localhost_profile: None,
                }),
                ..PodSecurityContext::default()
            }),
            termination_grace_period_seconds: Some(GRACE_SECS),
            tolerations: Some(["unreachable", "not-ready"].map(tolerated).to_vec()),
            volumes: Some(volumes(wanted.accepted.spec.state.local_volume.is_some())),
            ..PodSpec::default()
        }),
    }
}

/// The volumes that are not claimed by the `StatefulSet`.
fn volumes(is_local_claimed: bool) -> Vec<Volume> {
    let passing = |(name, _): (&str, &str)| Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    };
    let mut volumes = vec![passing(TMP)];
    if !is_local_claimed {
        volumes.push(passing(LOCAL));
    }
    volumes
}

fn tolerated(taint: &str) -> Toleration {
    Toleration {
        key: Some(format!("node.kubernetes.io/{taint}")),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: Some(NODE_LOST_SECS),
        value: None,
    }
}

fn apart(job: &str) -> Affinity {
    let term = PodAffinityTerm {
        topology_key: HOSTNAME.to_owned(),
        label_selector: Some(LabelSelector {
            match_labels: Some(names::selector(job)),
            ..LabelSelector::default()
        }),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm { pod_affinity_term: term, weight: APART_WEIGHT },
            ]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}
