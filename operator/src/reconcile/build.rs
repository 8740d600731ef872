//! The step from an accepted spec to the objects of a job's workers.
//!
//! Received from: [`super::accepted`], and from whoever decides how many workers there are now.
//! Handed to: the API server, by server-side apply. Pure. A file for each kind, whose object is a
//! field of [`Resources`]. Invariant: equal inputs make equal objects, so that applying them again
//! changes nothing.
//!
//! Caveats: what is made of an accepted spec may differ from one version of the operator to the
//! next. A running job keeps the template that it was accepted with.

pub mod errand;
mod network_policy;
mod pod;
mod pod_disruption_budget;
mod service;
mod stateful_set;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use millstream_protocol::job::{API_VERSION, KIND};
use serde_json::Value;

use super::accepted::{Accepted, Previous, Refused, to_annotation};
use super::operator::Operator;
use super::validate::Owner;
use crate::names;

/// What the objects of a job are made of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The job.
    pub owner: &'a Owner,
    /// The spec in force.
    pub accepted: &'a Accepted,
    /// A spec that was refused, if there is one: it is not tried again.
    pub refused: Option<&'a Refused>,
    /// What the job goes back to, if the accepted spec does not come up.
    pub previous: Option<&'a Previous>,
    /// How many workers there are to be now. It is not `workers` of the spec while a job rescales
    /// or is suspended.
    pub replicas: u32,
    /// Whether the job has come to its end.
    pub is_finished: bool,
    /// The operator.
    pub operator: &'a Operator,
}

/// The objects of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// The pods. As JSON, since it holds the user's template with whatever is in it.
    pub stateful_set: Value,
    /// The name of the pods.
    pub service: Service,
    /// How many may be evicted at a time.
    pub pod_disruption_budget: PodDisruptionBudget,
    /// Who may reach them.
    pub network_policy: NetworkPolicy,
}

/// The objects of a job.
pub fn build(wanted: &Wanted) -> Resources {
    Resources {
        stateful_set: stateful_set::build(wanted),
        service: service::build(wanted.owner),
        pod_disruption_budget: pod_disruption_budget::build(wanted.owner),
        network_policy: network_policy::build(wanted.owner, wanted.operator),
    }
}

/// Name, labels and owner of an object of a job.
fn metadata(owner: &Owner) -> ObjectMeta {
    let Owner { namespace, name, uid } = owner;
    ObjectMeta {
        name: Some(name.clone()),
        namespace: Some(namespace.clone()),
        labels: Some(names::labels(name)),
        owner_references: Some(vec![OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            name: name.clone(),
            uid: uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }]),
        ..ObjectMeta::default()
    }
}

/// The annotations by which the spec in force is found again.
fn accepted(wanted: &Wanted) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    annotations.insert(names::ACCEPTED.to_owned(), wanted.accepted.to_annotation());
    if let Some(refused) = wanted.refused {
        annotations.insert(names::REFUSED.to_owned(), to_annotation(refused));
    }
    if let Some(previous) = wanted.previous {
        annotations.insert(names::PREVIOUS.to_owned(), to_annotation(previous));
    }
    if wanted.is_finished {
        annotations.insert(names::FINISHED.to_owned(), "true".to_owned());
    }
    annotations
}
