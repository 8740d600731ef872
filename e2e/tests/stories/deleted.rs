//! What goes with a job, or with a savepoint as an object, is gone from the bucket before the
//! object is; savepoints stay. With a wrong key the status says why nothing is deleted, and a key
//! that is mended is taken. A namespace that is deleted waits for none of it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use millstream_e2e::image;
use millstream_e2e::job::{Job, is, says};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::Value;

/// Where the jobs of this story have their snapshots.
const STORE: &str = "s3://snapshots/e2e";

const JOB: &str = "\
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  program: {name: counter, args: {recordsPerSecond: '2000'}}
  snapshots: {store: 's3://snapshots/e2e', endpoint: 'ENDPOINT', interval: 2s, onDelete: Delete}
  podTemplate:
    spec:
      containers:
      - name: worker
        envFrom: [{secretRef: {name: bucket}}]
";

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let job = applied(story, stage, "deleted", "counts")?;
    let kept = savepoint(&job, "kept", "Retain")?;
    let gone = savepoint(&job, "gone", "Delete")?;
    while_it_runs(&job, &gone)?;

    let late = savepoint(&job, "late", "Delete")?;
    newer(&job)?;
    with_a_wrong_key(&job)?;
    ensure!(list(stage, "counts")? == [kept.clone(), late.clone()], "the savepoints stay");
    in_bucket(stage, &["verify", &kept])?;

    delete(&job, "streamsnapshot/late")?;
    ensure!(list(stage, "counts")? == [kept.clone()], "one of a job that is gone goes too");
    delete(&job, "streamsnapshot/kept")?;
    in_bucket(stage, &["verify", &kept])?;
    story.say("what is retained is there, and whole");

    let plain = applied(story, stage, "deleted", "plain")?;
    newer(&plain)?;
    delete(&plain, "streamjob/plain")?;
    ensure!(objects(stage, "deleted/plain")? == 0, "something of the job is left in the bucket");
    story.say("nothing of a job without savepoints is left in the bucket");
    with_its_namespace(story, stage)
}

fn applied<'a>(
    story: &'a Story,
    stage: &'a Stage,
    namespace: &str,
    name: &'static str,
) -> Result<Job<'a>> {
    let text = JOB.replace("ENDPOINT", &stage.s3).replace("NAMESPACE", namespace);
    stage.apply(&text.replace("NAME", name))?;
    let job = Job::watch(story, stage, namespace, name)?;
    job.is_ready(1)?;
    Ok(job)
}

/// Takes a savepoint; its address.
fn savepoint(job: &Job, name: &str, on_delete: &str) -> Result<String> {
    job.stage.apply(&format!(
        "{{apiVersion: millstream.dev/v1alpha1, kind: StreamSnapshot, metadata: {{name: {name}, \
         namespace: deleted}}, spec: {{jobRef: {{name: counts}}, onDelete: {on_delete}}}}}"
    ))?;
    let completed = "--for=jsonpath={.status.phase}=Completed";
    let object = format!("streamsnapshot/{name}");
    job.kubectl(&["wait", completed, &object, "--timeout=60s"])?;
    job.kubectl(&["get", &object, "--output=jsonpath={.status.uri}"])
}

/// Waits until no start goes on from what is the newest snapshot now.
fn newer(job: &Job) -> Result<()> {
    let epoch = job.status()["lastSnapshot"]["epoch"].as_i64().unwrap_or(0);
    job.until(60, "newer snapshots come", |status| {
        is(status, "/lastSnapshot/epoch", |it| it.as_i64() > Some(epoch + 1))
    })?;
    Ok(())
}

/// Deletes an object, and waits until it is gone.
fn delete(job: &Job, object: &str) -> Result<()> {
    job.kubectl(&["delete", object, "--timeout=120s"])?;
    job.story.say(&format!("{object} is gone"));
    Ok(())
}

fn while_it_runs(job: &Job, gone: &str) -> Result<()> {
    let run = job.status()["run"].clone();
    let object = "streamsnapshot/gone";
    job.kubectl(&["delete", object, "--wait=false"])?;
    // It may have been the newest one, which stays until there is another.
    job.kubectl(&["wait", "--for=delete", object, "--timeout=120s"])?;
    let why = in_bucket(job.stage, &["verify", gone]).err().map(|it| format!("{it:#}"));
    let is_gone = why.as_ref().is_some_and(|why| why.contains("is not a snapshot that is kept"));
    ensure!(is_gone, "the savepoint is there: {why:?}");
    job.is_ready(1)?;
    ensure!(job.status()["run"] == run, "the job has restarted");
    let none = job.kubectl(&["get", "jobs.batch", "--output=name"])?;
    ensure!(none.is_empty(), "the job does it itself: {none}");
    job.story.say("a savepoint is gone, and its job runs on");
    Ok(())
}

fn with_a_wrong_key(job: &Job) -> Result<()> {
    job.stage.apply(&secret("nobody"))?;
    job.kubectl(&["delete", "streamjob/counts", "--wait=false"])?;
    job.until(120, "a wrong key is told of", |status| {
        is(status, "/phase", |it| it == "Deleting")?;
        says(status, "Ready", "False", "Deleting")?;
        is(status, "/conditions", |all| all.to_string().contains("could not be deleted"))
    })?;
    job.story.until(60, "and so does an event", || {
        let events = job.kubectl(&["events", "--for=streamjob/counts", "--output=json"])?;
        let is_told = events.contains("SnapshotsNotDeleted");
        Ok(if is_told { Ok(()) } else { Err("no event".to_owned()) })
    })?;
    let pods =
        job.kubectl(&["get", "pods", "--output=name", "--selector=millstream.dev/role=worker"])?;
    ensure!(pods.is_empty(), "pods are there while snapshots are deleted: {pods}");
    job.stage.apply(&secret("writer"))?;
    job.kubectl(&["wait", "--for=delete", "streamjob/counts", "--timeout=120s"])?;
    job.story.say("with the right key the job is gone");
    Ok(())
}

fn secret(key: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Secret, metadata: {{name: bucket, namespace: deleted}}, \
         stringData: {{AWS_ACCESS_KEY_ID: {key}, AWS_SECRET_ACCESS_KEY: {key}-secret}}}}"
    )
}

/// Nothing can be started in a namespace that goes: what lies in the bucket stays.
fn with_its_namespace(story: &Story, stage: &Stage) -> Result<()> {
    let namespace = "deleted-too";
    stage.namespace(namespace)?;
    let job = applied(story, stage, namespace, "counts")?;
    newer(&job)?;
    stage.cluster.kubectl(&["delete", "namespace", namespace, "--timeout=120s"])?;
    ensure!(objects(stage, "deleted-too/counts")? > 0, "the snapshots are gone");
    story.say("a namespace does not wait for snapshots");
    Ok(())
}

/// The addresses of the snapshots that a job of this namespace has in the bucket.
fn list(stage: &Stage, job: &str) -> Result<Vec<String>> {
    let all = in_bucket(stage, &["list", &format!("{STORE}/deleted/{job}"), "--json"])?;
    let all: Vec<Value> = serde_json::from_str(&all).context("it prints no JSON")?;
    Ok(all.iter().filter_map(|it| Some(it["uri"].as_str()?.to_owned())).collect())
}

/// How many objects of a job are in the bucket: the command says what it would delete.
fn objects(stage: &Stage, place: &str) -> Result<u64> {
    let place = format!("{STORE}/{place}");
    let said = in_bucket(stage, &["delete", &place, "--if-there"]).err();
    let said = said.context("it deletes without --yes")?.to_string();
    let number = said.split_once("would remove all ").and_then(|it| it.1.split_once(' '));
    let number = number.and_then(|it| it.0.parse().ok());
    number.with_context(|| format!("it says {said}"))
}

/// `millstream-worker snapshots ..` in the cluster's sandbox.
fn in_bucket(stage: &Stage, arguments: &[&str]) -> Result<String> {
    let mut command: Command = stage.cluster.script("enter.sh");
    command.args(["env", "AWS_ACCESS_KEY_ID=writer", "AWS_SECRET_ACCESS_KEY=writer-secret"]);
    command.arg(image::built()?.join("millstream-worker")).arg("snapshots").args(arguments);
    millstream_e2e::cluster::run(command.arg(format!("--endpoint={}", stage.s3)))
}
