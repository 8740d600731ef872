//! What users get wrong: the job says what it is, which pod, and what to do; mended, it is Ready.

use anyhow::Result;
use millstream_e2e::image;
use millstream_e2e::job::{Job, is, says, words};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::{Value, json};

use crate::merge;

const NAMESPACE: &str = "faults";
/// One that takes no pods.
const FULL: &str = "faults-quota";
/// The address of a snapshot that is not there.
const NO_SNAPSHOT: &str = "s3://snapshots/e2e/faults/restore/log/00000000000000000009.json";

/// Something that is wrong with a job.
#[derive(Clone)]
struct Fault {
    /// The job's name.
    name: &'static str,
    namespace: &'static str,
    /// Its spec, as a patch of one that is right.
    spec: Value,
    /// The condition that tells of it, with its reason and words of its message.
    condition: &'static str,
    reason: &'static str,
    words: &'static [&'static str],
    mend: Mend,
}

/// What the user does.
#[derive(Clone)]
enum Mend {
    /// Writes the spec that is right.
    Spec,
    /// Makes an object.
    Object(Value),
    /// Deletes one.
    Delete(&'static str),
}

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    stage.namespace(FULL)?;
    let told = tell(story, stage);
    stage.cluster.kubectl(&["delete", "namespace", FULL, "--wait=false"])?;
    told
}

fn tell(story: &Story, stage: &Stage) -> Result<()> {
    stage.apply(
        &json!({
            "apiVersion": "v1", "kind": "ResourceQuota",
            "metadata": {"name": "none", "namespace": FULL},
            "spec": {"hard": {"pods": "0"}},
        })
        .to_string(),
    )?;
    stage.apply(&secret("wrong", "nobody").to_string())?;
    let faults = [without_pods(), with_pods()].concat();
    let mut jobs = Vec::new();
    for fault in &faults {
        stage.apply(&job(stage, fault, true).to_string())?;
        jobs.push(Job::watch(story, stage, fault.namespace, fault.name)?);
    }
    for (fault, job) in faults.iter().zip(&jobs) {
        job.until(120, &format!("{} says {}", fault.name, fault.reason), |status| {
            says(status, fault.condition, bad(fault.condition), fault.reason)?;
            words(status, fault.condition, fault.words)?;
            is(status, "/conditions", is_not_ready)
        })?;
        match &fault.mend {
            Mend::Spec => stage.apply(&self::job(stage, fault, false).to_string())?,
            Mend::Object(object) => stage.apply(&object.to_string())?,
            Mend::Delete(object) => drop(job.kubectl(&["delete", object])?),
        }
    }
    for (fault, job) in faults.iter().zip(&jobs) {
        story.say(&format!("{} is mended", fault.name));
        job.is_ready(1)?;
        job.is_honest()?;
    }
    Ok(())
}

fn bad(condition: &str) -> &'static str {
    if condition == "Stalled" { "True" } else { "False" }
}

fn is_not_ready(conditions: &Value) -> bool {
    let mut all = conditions.as_array().into_iter().flatten();
    all.any(|it| it["type"] == "Ready" && it["status"] == "False")
}

fn secret(name: &str, key: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": format!("{key}-secret")},
    })
}

/// The pod template of a worker with this beside its name.
fn worker(fields: &Value, secret: &str) -> Value {
    let mut worker = json!({"name": "worker", "envFrom": [{"secretRef": {"name": secret}}]});
    merge(&mut worker, fields);
    json!({"podTemplate": {"spec": {"containers": [worker]}}})
}

fn job(stage: &Stage, fault: &Fault, is_wrong: bool) -> Value {
    let mut spec = worker(&json!({}), "bucket");
    merge(
        &mut spec,
        &json!({
            "program": {"name": "counter", "args": {"recordsPerSecond": "100"}},
            "snapshots": {"store": "s3://snapshots/e2e", "endpoint": stage.s3, "interval": "2s"},
            "restart": {"initialBackoff": "1s", "maxBackoff": "2s"},
        }),
    );
    if is_wrong {
        merge(&mut spec, &fault.spec);
    }
    json!({
        "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob",
        "metadata": {"name": fault.name, "namespace": fault.namespace},
        "spec": spec,
    })
}

fn privileged(escalates: bool) -> Value {
    json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": escalates}})
}

/// One that `Ready` tells of, and another spec mends.
fn fault(
    name: &'static str,
    reason: &'static str,
    spec: Value,
    words: &'static [&'static str],
) -> Fault {
    Fault { name, namespace: NAMESPACE, spec, condition: "Ready", reason, words, mend: Mend::Spec }
}

/// Those for which there is no pod, or none that can start.
fn without_pods() -> Vec<Fault> {
    let none = json!({});
    vec![
        fault(
            "image",
            "ImagePullFailed",
            json!({"image": format!("{}:none", image::name("worker"))}),
            &["image-0: ", "worker:none", "; correct spec.image"],
        ),
        fault(
            "node",
            "Unschedulable",
            json!({"podTemplate": {"spec": {"nodeSelector": {"disk": "none"}}}}),
            &["node-0: ", "didn't match", "; change what podTemplate asks of a node"],
        ),
        fault(
            "privileged",
            "PodsForbidden",
            worker(&privileged(true), "bucket"),
            &["privileged-0: ", "violates PodSecurity", "; change podTemplate"],
        ),
        // Without a privilege that goes with it, no API server takes it.
        Fault {
            condition: "SpecValid",
            ..fault(
                "template",
                "Invalid",
                worker(&privileged(false), "bucket"),
                &["spec.podTemplate: ", "allowPrivilegeEscalation"],
            )
        },
        Fault {
            namespace: FULL,
            mend: Mend::Delete("resourcequota/none"),
            ..fault(
                "quota",
                "PodsForbidden",
                none.clone(),
                &["quota-0: ", "exceeded quota: none", "or what the namespace allows"],
            )
        },
        Fault {
            mend: Mend::Object(secret("absent", "writer")),
            ..fault(
                "secret",
                "ConfigError",
                worker(&none, "absent"),
                &["secret-0: ", "\"absent\" not found", "; make what it names"],
            )
        },
    ]
}

/// Those of pods that start.
fn with_pods() -> Vec<Fault> {
    vec![
        fault(
            "memory",
            "OOMKilled",
            worker(&json!({"resources": {"limits": {"memory": "16Mi"}}}), "bucket"),
            &["memory-0: ", "; raise resources.limits.memory"],
        ),
        fault(
            "crash",
            "CrashLooping",
            worker(&json!({"command": ["false"]}), "bucket"),
            &["crash-0: it ended with code 1", "; see kubectl logs crash-0"],
        ),
        Fault {
            condition: "Stalled",
            ..fault("program", "Failed", json!({"program": {"name": "nope"}}), &["nope"])
        },
        Fault {
            condition: "Stalled",
            ..fault(
                "restore",
                "RestoreRefused",
                json!({"restore": {"from": "Snapshot", "request": 1, "uri": NO_SNAPSHOT}}),
                &["restore.uri: ", "is not a snapshot"],
            )
        },
        Fault {
            condition: "Stalled",
            ..fault("key", "Failed", worker(&json!({}), "wrong"), &["s3://snapshots/e2e"])
        },
    ]
}
