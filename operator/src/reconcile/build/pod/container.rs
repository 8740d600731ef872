//! The worker's container: what it is started with, how it is asked whether it lives.
//!
//! Received from: [`super`]. What it says here, `millstream-worker serve` must take.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, Probe, SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use millstream_protocol::job::JobSpec;

use crate::names::{
    HEALTH_PORT, LOCAL, POD_IP, POD_NAME, POD_UID, Port, SESSION_PORT, TMP, TMPDIR, WORKER,
};

/// Where a worker listens: on every address of its pod.
const ANY: &str = "0.0.0.0";

/// The path that answers while the process does its work,
const LIVE: &str = "/livez";
/// and the one that answers while its tasks run.
const READY: &str = "/readyz";

/// How often, and how often in vain, a process is asked whether it has come up: once a second for a
/// minute, for images whose start is slow.
const START_EVERY_SECS: i32 = 1;
const START_FAILURES: i32 = 60;
/// A worker that does not answer for half a minute is started again. Its coordinator finds it
/// sooner; this is for one that no coordinator watches.
const LIVE_EVERY_SECS: i32 = 10;
const LIVE_FAILURES: i32 = 3;
/// A worker whose tasks run is ready soon after: status and `kubectl wait` hang on it.
const READY_EVERY_SECS: i32 = 2;
const READY_FAILURES: i32 = 2;
/// An answer waits for nothing: this is for a node with no time for it.
const ANSWER_SECS: i32 = 5;

/// The container of a worker.
pub(super) fn worker(spec: &JobSpec) -> Container {
    Container {
        name: WORKER.to_owned(),
        image: spec.image.clone(),
        args: Some(args()),
        env: Some(vec![
            of_pod(POD_NAME, "metadata.name"),
            of_pod(POD_UID, "metadata.uid"),
            of_pod(POD_IP, "status.podIP"),
            EnvVar {
                name: TMPDIR.to_owned(),
                value: Some(LOCAL.1.to_owned()),
                ..EnvVar::default()
            },
        ]),
        ports: Some([SESSION_PORT, HEALTH_PORT].map(port).to_vec()),
        startup_probe: Some(probe(LIVE, START_EVERY_SECS, START_FAILURES)),
        liveness_probe: Some(probe(LIVE, LIVE_EVERY_SECS, LIVE_FAILURES)),
        readiness_probe: Some(probe(READY, READY_EVERY_SECS, READY_FAILURES)),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
        // What a worker says last is quoted in the job's status.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some([LOCAL, TMP].map(mount).to_vec()),
        ..Container::default()
    }
}

fn args() -> Vec<String> {
    let (session, health) = (SESSION_PORT.1, HEALTH_PORT.1);
    vec![
        "serve".to_owned(),
        format!("--listen={ANY}:{session}"),
        format!("--address=$({POD_IP}):{session}"),
        format!("--health={ANY}:{health}"),
    ]
}

fn of_pod(name: &str, field: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: field.to_owned(),
            }),
            ..EnvVarSource::default()
        }),
    }
}

fn port((name, number): Port) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, every_secs: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(HEALTH_PORT.0.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(every_secs),
        timeout_seconds: Some(ANSWER_SECS),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn mount((name, path): (&str, &str)) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}
