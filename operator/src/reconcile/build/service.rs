//! The headless Service that a `StatefulSet` asks for: it names the pods, ready or not.
//!
//! Workers find each other by the addresses that their coordinator sends them, not by these names.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::names::{self, HEALTH_PORT, Port, SESSION_PORT};
use crate::reconcile::validate::Owner;

/// The Service of a job's workers.
pub(super) fn build(owner: &Owner) -> Service {
    Service {
        metadata: metadata(owner),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&owner.name)),
            ports: Some([SESSION_PORT, HEALTH_PORT].map(port).to_vec()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

fn port((name, number): Port) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
