//! The batch `Job` that does something in the store while no worker of a job can: a command of the
//! worker's own program, in a pod as the job's workers have it.
//!
//! Received from: whoever needs it, as [`Errand`]. Handed to: the API server. Pure. Its pod has
//! what a worker's has, and with it the bucket's key: image, variables, volumes, service account.
//! Invariant: it is no worker: no label, probe or port of one is on it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use millstream_protocol::job::JobSpec;
use serde_json::{Value, json};

use super::{Wanted, pod};
use crate::names::{self, CHECKS, ERRAND, ROLE, WORKER};
use crate::reconcile::accepted::Accepted;
use crate::reconcile::operator::Operator;
use crate::reconcile::validate::Owner;

/// One whose operator is gone ends by itself: it may work for so long,
const ENDS_AFTER_SECS: u32 = 600;
/// and is there for so long behind its end.
const KEPT_SECS: u32 = 600;
/// What only a worker has: nobody calls an errand.
const OF_WORKERS: [&str; 5] =
    ["lifecycle", "livenessProbe", "ports", "readinessProbe", "startupProbe"];

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Errand<'a> {
    /// The name of the batch `Job`.
    pub name: String,
    /// The object that it is for, with which it goes.
    pub owner: OwnerReference,
    /// The namespace and the name of the `StreamJob`.
    pub job: (&'a str, &'a str),
    /// Its spec: what its pods are made of.
    pub spec: &'a JobSpec,
    /// The command of the worker's program.
    pub args: Vec<String>,
    /// The hash of the spec that it is about, where it is about one.
    pub checks: Option<&'a str>,
}

/// The batch `Job`.
pub fn build(errand: &Errand, operator: &Operator) -> Value {
    let Errand { name, owner, job: (namespace, job), spec, args, checks } = errand;
    let mut labels = names::labels(job);
    labels.insert(ROLE.to_owned(), ERRAND.to_owned());
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": checks.map(|hash| json!({CHECKS: hash})),
            "ownerReferences": [owner],
        },
        "spec": {
            // Whoever wants it again makes another one.
            "backoffLimit": 0,
            "activeDeadlineSeconds": ENDS_AFTER_SECS,
            "ttlSecondsAfterFinished": KEPT_SECS,
            "template": template((namespace, job), spec, args, operator),
        },
    })
}

fn template(
    (namespace, job): (&str, &str),
    spec: &JobSpec,
    args: &[String],
    operator: &Operator,
) -> Value {
    let mut spec = spec.clone();
    // A claim is its worker's.
    spec.state.local_volume = None;
    let (uid, hash) = (String::new(), String::new());
    let owner = Owner { namespace: namespace.to_owned(), name: job.to_owned(), uid };
    let mut template = pod::template(&Wanted {
        owner: &owner,
        accepted: &Accepted { generation: 0, hash, spec },
        refused: None,
        previous: None,
        replicas: 1,
        is_finished: false,
        operator,
    });
    template["metadata"]["labels"][ROLE] = ERRAND.into();
    let pod = &mut template["spec"];
    pod["restartPolicy"] = "Never".into();
    let worker = |it: &&mut Value| it["name"] == WORKER;
    if let Some(worker) = pod["containers"].as_array_mut().into_iter().flatten().find(worker) {
        worker["args"] = json!(args);
        // How it ends is read from there.
        worker["terminationMessagePolicy"] = "FallbackToLogsOnError".into();
        if let Some(worker) = worker.as_object_mut() {
            worker.retain(|field, _| !OF_WORKERS.contains(&field.as_str()));
        }
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn its_pod_is_a_workers_and_is_not_taken_for_one() {
        let spec = "snapshots: {store: 's3://b/p'}\nstate: {localVolume: {size: 1Gi}}\n\
                    podTemplate:\n  spec:\n    serviceAccountName: plants\n    restartPolicy: \
                    Always\n    containers:\n    - {name: worker, envFrom: [{secretRef: {name: \
                    bucket}}]}\n    - {name: beside, image: b}";
        let job = testing::job("averages", spec);
        let owner = OwnerReference { uid: "u".to_owned(), ..OwnerReference::default() };
        let mut spec = job.spec.job.clone();
        spec.image = Some("i:1".to_owned());
        let errand = Errand {
            name: "averages-delete".to_owned(),
            owner,
            job: ("plants", "averages"),
            spec: &spec,
            args: vec!["snapshots".to_owned()],
            checks: Some("00000000000000aa"),
        };
        let made = build(&errand, &testing::operator());
        assert_eq!(made["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(made["metadata"]["annotations"][CHECKS], "00000000000000aa");
        let template = &made["spec"]["template"];
        for labels in [&made["metadata"]["labels"], &template["metadata"]["labels"]] {
            assert_eq!(
                (&labels["millstream.dev/job"], &labels[ROLE]),
                (&json!("averages"), &json!("errand"))
            );
        }
        let pod = &template["spec"];
        assert_eq!(
            (&pod["restartPolicy"], &pod["serviceAccountName"]),
            (&json!("Never"), &json!("plants"))
        );
        let worker = &pod["containers"][0];
        assert_eq!(worker["image"], "i:1");
        assert_eq!(worker["args"], json!(["snapshots"]));
        assert_eq!(worker["envFrom"][0]["secretRef"]["name"], "bucket");
        assert_eq!(worker["securityContext"]["readOnlyRootFilesystem"], true);
        for field in OF_WORKERS {
            assert!(worker.get(field).is_none(), "{field}");
        }
        assert_eq!(pod["containers"][1]["name"], "beside");
        let volumes = pod["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|it| it["name"] == "local"), "nobody claims it: {volumes:?}");
    }
}
