//! A savepoint as an object stays when newer snapshots come, and a later spec may name it. It is
//! told late: what the operator counts is compared with what this story did.

use anyhow::{Result, ensure};
use millstream_e2e::job::{Job, is};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::{Value, json};

const OBJECTS: &str = "\
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: counts, namespace: savepoint}
spec:
  program: {name: counter, args: {recordsPerSecond: '2000'}}
  snapshots: {store: 's3://snapshots/e2e', endpoint: 'ENDPOINT', interval: 2s}
  podTemplate:
    spec:
      containers:
      - name: worker
        envFrom: [{secretRef: {name: bucket}}]
";

const SAVEPOINT: &str = "\
apiVersion: millstream.dev/v1alpha1
kind: StreamSnapshot
metadata: {name: before, namespace: savepoint}
spec: {jobRef: {name: counts}}
";

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    stage.apply(&OBJECTS.replace("ENDPOINT", &stage.s3))?;
    let job = Job::watch(story, stage, "savepoint", "counts")?;
    job.is_ready(1)?;
    stage.apply(SAVEPOINT)?;
    let get = ["--namespace=savepoint", "get", "streamsnapshot", "before"];
    let taken = || -> Result<Value> { Ok(stage.cluster.json(&get)?["status"].clone()) };
    story.until(60, "the savepoint is there", || {
        Ok(is(&taken()?, "/phase", |it| it == "Completed"))
    })?;
    let uri = taken()?["uri"].clone();
    let epoch = job.status()["lastSnapshot"]["epoch"].as_i64();
    job.until(60, "newer snapshots come", |status| {
        is(status, "/lastSnapshot/epoch", |it| it.as_i64() > epoch.map(|it| it + 4))
    })?;
    job.patch(&json!({
        "restore": { "from": "Snapshot", "snapshotName": "before", "request": 1 }
    }))?;
    job.until(90, "it has gone back to the savepoint", |status| {
        is(status, "/restored/from", |it| *it == uri)
    })?;
    job.is_ready(1)?;
    job.is_honest()?;
    is_counted(stage)
}

/// By an operator that looks after this job, and leads.
fn is_counted(stage: &Stage) -> Result<()> {
    let path = "/api/v1/namespaces/system/services/millstream-metrics:9100/proxy/metrics";
    let metrics = stage.cluster.kubectl(&["get", "--raw", path])?;
    for counted in ["leader 1", "coordinators 1", "jobs{phase=\"Running\"} 1"] {
        let line = format!("millstream_operator_{counted}");
        ensure!(metrics.lines().any(|it| it == line), "no {line} in {metrics}");
    }
    Ok(())
}
