//! The chart is upgraded, taken away, installed for one namespace, and installed as it was: the job
//! runs on, in the same run and the same pods. Told behind those that need the operator.

use anyhow::{Result, ensure};
use millstream_e2e::job::Job;
use millstream_e2e::stage::{RELEASE, SYSTEM, Stage};
use millstream_e2e::story::Story;
use serde_json::{Value, json};

use crate::kept::Kept;
use crate::{close, open};

/// The namespace that the second release looks after.
const WATCHED: &str = "chart";
/// One that it does not look after.
const OTHER: &str = "chart-other";
/// The second release, and its namespace.
const NARROW: &str = "narrow";

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, WATCHED)?;
    let kept = Kept::of(&job)?;
    stage.install(RELEASE, SYSTEM, &["logFormat=text", "podLabels.team=plants", "replicas=2"])?;
    kept.goes_on(&job, "the chart was upgraded")?;

    is_uninstalled(story, stage, RELEASE, SYSTEM)?;
    kept.is_there(&job)?;
    stage.namespace(OTHER)?;
    stage.apply(&unwatched(stage).to_string())?;
    let other = Job::watch(story, stage, OTHER, "counts")?;
    let narrow = [&format!("watchNamespaces={{{WATCHED}}}"), "crds.install=false"];
    stage.install(NARROW, NARROW, &narrow)?;
    kept.goes_on(&job, "another release looks after its namespace")?;
    has_no_rights_elsewhere(stage)?;
    ensure!(other.status().is_null(), "a job in {OTHER} was looked at: {}", other.status());

    is_uninstalled(story, stage, NARROW, NARROW)?;
    kept.is_there(&job)?;
    stage.install(RELEASE, SYSTEM, &[])?;
    kept.goes_on(&job, "the chart was installed again")?;
    other.is_ready(1)?;
    orders.flow(story, 60)?;
    for namespace in [OTHER, NARROW] {
        stage.cluster.kubectl(&["delete", "namespace", namespace, "--wait=false"])?;
    }
    close(&job, orders)
}

/// What is left is what users have made, and how it is made.
fn is_uninstalled(story: &Story, stage: &Stage, release: &str, namespace: &str) -> Result<()> {
    stage.cluster.helm(&[
        "uninstall",
        release,
        &format!("--namespace={namespace}"),
        "--wait",
        "--timeout=60s",
    ])?;
    let pods = ["get", "pods", &format!("--namespace={namespace}"), "--output=name"];
    story.until(40, &format!("the operator of {release} is gone"), || {
        let left = stage.cluster.kubectl(&pods)?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })?;
    let kept = "crd/streamjobs.millstream.dev";
    stage.cluster.kubectl(&["get", kept, "crd/streamsnapshots.millstream.dev"])?;
    Ok(())
}

/// A job in a namespace that the second release does not look after.
fn unwatched(stage: &Stage) -> Value {
    let worker = json!({"name": "worker", "envFrom": [{"secretRef": {"name": "bucket"}}]});
    json!({
        "apiVersion": "millstream.dev/v1alpha1",
        "kind": "StreamJob",
        "metadata": {"name": "counts", "namespace": OTHER},
        "spec": {
            "program": {"name": "counter", "args": {"recordsPerSecond": "100"}},
            "snapshots": {"store": "s3://snapshots/e2e", "endpoint": stage.s3, "interval": "2s"},
            "podTemplate": {"spec": {"containers": [worker]}},
        },
    })
}

/// The second release has a `ClusterRole` for each kind of users alone, and binds none.
fn has_no_rights_elsewhere(stage: &Stage) -> Result<()> {
    let of = format!("--selector=app.kubernetes.io/instance={NARROW}");
    let names = |kinds: &str| {
        stage.cluster.kubectl(&["get", kinds, "--all-namespaces", &of, "--output=name"])
    };
    let users = ["edit", "view"]
        .map(|it| format!("clusterrole.rbac.authorization.k8s.io/{NARROW}-millstream-{it}\n"));
    let there = names("clusterroles,clusterrolebindings")?;
    ensure!(there == users.concat(), "the second release has {there}");
    let namespaces = "--output=jsonpath={.items[*].metadata.namespace}";
    let roles = stage.cluster.kubectl(&["get", "roles", "--all-namespaces", &of, namespaces])?;
    ensure!(roles == format!("{WATCHED} {NARROW}"), "it has roles in {roles}");
    Ok(())
}
