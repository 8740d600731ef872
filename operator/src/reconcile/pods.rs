//! What is seen of a job's pods.
//!
//! Received from: the API server. Handed to: the job's coordinator, which calls workers at their
//! addresses, [`super::decide`] and [`super::status`]. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};
use kube::ResourceExt;

use crate::crd::condition;
use crate::names::{SESSION_PORT, WORKER};

/// The label with the revision of the template that a pod was made by.
const REVISION: &str = "controller-revision-hash";
/// Words of a scheduler that has no node for a pod since a claim of it has no volume there.
const OF_VOLUMES: [&str; 3] =
    ["persistentvolumeclaim", "persistent volumes to bind", "volume node affinity"];

/// A worker's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its object's name.
    pub pod: String,
    /// Which object of that name it is.
    pub uid: String,
    /// Which worker it is.
    pub ordinal: u32,
    /// Where it can be called; none while it has no address, or has ended.
    pub address: Option<String>,
    /// Whether it says that it is ready.
    pub is_ready: bool,
    /// Whether it is being deleted.
    pub is_leaving: bool,
    /// The revision of the template that it was made by.
    pub revision: Option<String>,
    /// What keeps it from running, if something does.
    pub trouble: Option<Trouble>,
}

/// What keeps a pod from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// One of the reasons of the condition `Ready`.
    pub reason: &'static str,
    /// The pod, what is said of it, and what to do.
    pub message: String,
}

impl Trouble {
    /// What is said of this pod; what to do is added.
    pub fn new(reason: &'static str, pod: &str, said: &str) -> Self {
        let advice = match reason {
            condition::PODS_FORBIDDEN => "change podTemplate, or what the namespace allows",
            condition::UNSCHEDULABLE => "change what podTemplate asks of a node, or add one",
            condition::VOLUME_PENDING => {
                "make the volume or the StorageClass that its claim asks for"
            }
            condition::IMAGE_PULL_FAILED => {
                "correct spec.image, or name its key in podTemplate.spec.imagePullSecrets"
            }
            condition::CONFIG_ERROR => "make what it names, or correct podTemplate",
            condition::OOM_KILLED => {
                "raise resources.limits.memory of the container worker in podTemplate"
            }
            _ => &format!("see kubectl logs {pod} --previous"),
        };
        let said = said.trim_end_matches(['.', ' ']);
        Self { reason, message: format!("{pod}: {said}; {advice}") }
    }
}

/// The workers among these pods, by their numbers. A pod whose name ends in no number is none.
pub fn workers(job: &str, pods: &[Pod]) -> Vec<Worker> {
    let mut workers: Vec<Worker> = pods.iter().filter_map(|pod| worker(job, pod)).collect();
    workers.sort_by_key(|worker| worker.ordinal);
    workers
}

fn worker(job: &str, pod: &Pod) -> Option<Worker> {
    let name = pod.name_any();
    let ordinal = name.strip_prefix(job)?.strip_prefix('-')?.parse().ok()?;
    let status = pod.status.as_ref();
    let has_ended = status
        .and_then(|it| it.phase.as_deref())
        .is_some_and(|it| matches!(it, "Failed" | "Succeeded"));
    let ip = status.and_then(|it| it.pod_ip.as_deref()).filter(|_| !has_ended);
    let is = |condition: &str, value: &str| {
        let all = status.and_then(|it| it.conditions.as_ref());
        all.is_some_and(|all| all.iter().any(|it| it.type_ == condition && it.status == value))
    };
    Some(Worker {
        uid: pod.uid().unwrap_or_default(),
        ordinal,
        address: ip.map(called),
        is_ready: is("Ready", "True"),
        is_leaving: pod.metadata.deletion_timestamp.is_some(),
        revision: pod.labels().get(REVISION).cloned(),
        trouble: trouble(&name, pod),
        pod: name,
    })
}

/// Where a worker takes its session. An address of six parts stands in brackets.
fn called(ip: &str) -> String {
    let port = SESSION_PORT.1;
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// What keeps this pod from running.
pub(crate) fn trouble(name: &str, pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let said = |reason, text: &str| Some(Trouble::new(reason, name, text));
    let unplaced = status
        .conditions
        .iter()
        .flatten()
        .find(|it| it.type_ == "PodScheduled" && it.status == "False");
    if let Some(unplaced) = unplaced {
        let text = unplaced.message.as_deref().unwrap_or("no node takes it");
        let words = text.to_lowercase();
        let is_volume = OF_VOLUMES.iter().any(|it| words.contains(it));
        let reason = if is_volume { condition::VOLUME_PENDING } else { condition::UNSCHEDULABLE };
        return said(reason, text);
    }
    let container = status.container_statuses.iter().flatten().find(|it| it.name == WORKER)?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let text = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
            said(condition::IMAGE_PULL_FAILED, text)
        }
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
            said(condition::CONFIG_ERROR, text)
        }
        "CrashLoopBackOff" => {
            let (reason, last) = ended(container);
            said(reason, &last)
        }
        _ => None,
    }
}

/// How a container ended that ends again and again.
fn ended(container: &ContainerStatus) -> (&'static str, String) {
    let last: Option<&ContainerState> = container.last_state.as_ref();
    let Some(last) = last.and_then(|it| it.terminated.as_ref()) else {
        return (condition::CRASH_LOOPING, "it ends again and again".to_owned());
    };
    let is_oom = last.reason.as_deref() == Some("OOMKilled");
    let reason = if is_oom { condition::OOM_KILLED } else { condition::CRASH_LOOPING };
    let message = last.message.as_deref().map(str::trim).filter(|it| !it.is_empty());
    let words = message.map(|it| format!(": {it}")).unwrap_or_default();
    (reason, format!("it ended with code {}{words}", last.exit_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    fn one(pod: &str) -> Worker {
        let mut workers = workers("averages", &[yaml(pod)]);
        workers.pop().expect("it is a worker")
    }

    const RUNS: &str = "{metadata: {name: averages-2, uid: u, labels: {controller-revision-hash: \
                        r1}}, status: {phase: Running, podIP: 10.0.0.7, conditions: [{type: \
                        Ready, status: 'True'}]}}";

    #[test]
    fn a_worker_is_called_at_its_pods_address_while_it_runs() {
        let worker = one(RUNS);
        assert_eq!(worker.ordinal, 2);
        assert_eq!(worker.address.as_deref(), Some("10.0.0.7:7070"));
        assert!(worker.is_ready);
        assert_eq!(worker.revision.as_deref(), Some("r1"));
        let ended = one(&RUNS.replace("Running", "Failed"));
        assert_eq!(ended.address, None);
        let six = one(&RUNS.replace("10.0.0.7", "'fd00::7'"));
        assert_eq!(six.address.as_deref(), Some("[fd00::7]:7070"));
    }

    #[test]
    fn a_volume_that_is_not_there_is_told_from_a_node_without_room() {
        let reason = |message: &str| {
            let pod = "{metadata: {name: averages-0}, status: {conditions: [{type: PodScheduled, \
                       status: 'False', reason: Unschedulable, message: 'MESSAGE'}]}}";
            one(&pod.replace("MESSAGE", message)).trouble.map(|it| it.reason)
        };
        let none = "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
        assert_eq!(reason(none), Some(condition::VOLUME_PENDING));
        let elsewhere = "0/3 nodes are available: 3 node(s) had volume node affinity conflict.";
        assert_eq!(reason(elsewhere), Some(condition::VOLUME_PENDING));
        let full = "0/3 nodes are available: 3 Insufficient memory.";
        assert_eq!(reason(full), Some(condition::UNSCHEDULABLE));
    }

    #[test]
    fn pods_of_others_are_no_workers() {
        for name in ["averages", "averages-x", "other-1", "averages-describe-1"] {
            let pod = yaml(&RUNS.replace("averages-2", name));
            assert_eq!(workers("averages", &[pod]), [], "{name}");
        }
    }

    #[test]
    fn what_keeps_a_pod_from_running_is_told_with_its_last_words() {
        let state = |state: &str| {
            one(&format!(
                "{{metadata: {{name: averages-0}}, status: {{containerStatuses: [{{name: worker, \
                 ready: false, restartCount: 0, image: i, imageID: i, {state}}}]}}}}"
            ))
            .trouble
        };
        let pull = state("state: {waiting: {reason: ImagePullBackOff, message: no such image}}");
        let pull = pull.unwrap();
        assert_eq!(pull.reason, condition::IMAGE_PULL_FAILED);
        assert_eq!(
            pull.message,
            "averages-0: no such image; correct spec.image, or name its key in \
             podTemplate.spec.imagePullSecrets"
        );
        let crash = "state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: \
                     {exitCode: 137, reason: OOMKilled, message: 'killed'}}";
        assert_eq!(state(crash).unwrap().reason, condition::OOM_KILLED);
        let crash = state(&crash.replace("OOMKilled", "Error")).unwrap();
        assert_eq!(crash.reason, condition::CRASH_LOOPING);
        let log = "see kubectl logs averages-0 --previous";
        assert_eq!(crash.message, format!("averages-0: it ended with code 137: killed; {log}"));
        let crash = "state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: \
                     {exitCode: 1}}";
        let message = state(crash).unwrap().message;
        assert_eq!(message, format!("averages-0: it ended with code 1; {log}"));
        assert_eq!(state("state: {running: {}}"), None);
        assert_eq!(state("state: {waiting: {reason: ContainerCreating}}"), None);
    }
}
