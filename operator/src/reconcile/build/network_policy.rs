//! The `NetworkPolicy`: sessions and records from the job's workers and the operator alone, probes
//! and metrics from anywhere. What workers may reach is the user's to say: sources, sinks and
//! stores are anywhere.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::names::{self, HEALTH_PORT, Port, SESSION_PORT};
use crate::reconcile::operator::Operator;
use crate::reconcile::validate::Owner;

/// The label that every namespace has, with its name.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The policy of a job's workers.
pub(super) fn build(owner: &Owner, operator: &Operator) -> NetworkPolicy {
    let workers = labelled(names::selector(&owner.name));
    let namespace = labelled([(NAMESPACE_NAME.to_owned(), operator.namespace.clone())].into());
    let from_workers =
        NetworkPolicyPeer { pod_selector: Some(workers.clone()), ..NetworkPolicyPeer::default() };
    let from_operator = NetworkPolicyPeer {
        namespace_selector: Some(namespace),
        pod_selector: Some(labelled(operator.pod_labels.clone())),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicy {
        metadata: metadata(owner),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(workers),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    from: Some(vec![from_workers, from_operator]),
                    ports: Some(vec![port(SESSION_PORT)]),
                },
                NetworkPolicyIngressRule { from: None, ports: Some(vec![port(HEALTH_PORT)]) },
            ]),
            egress: None,
        }),
    }
}

fn labelled(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector { match_labels: Some(labels), ..LabelSelector::default() }
}

fn port((_, number): Port) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(number.into())),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    }
}
