//! A job with snapshots in S3 from its first pod to its deletion: it is Ready, loses a worker and
//! comes back, is scaled up and down while it runs, does not notice that the operator is deleted,
//! is suspended and resumed, and goes back to a savepoint that it was asked for.

use std::io::Write;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use millstream_e2e::cluster::Cluster;
use millstream_e2e::image;
use millstream_e2e::story::{Story, tell};
use serde_json::Value;

/// A namespace that takes restricted pods alone, the bucket's keys, and the job.
const OBJECTS: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: plants
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: Secret
metadata: {name: bucket, namespace: plants}
stringData: {AWS_ACCESS_KEY_ID: writer, AWS_SECRET_ACCESS_KEY: writer-secret}
---
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: counts, namespace: plants}
spec:
  program: {name: counter, args: {recordsPerSecond: '2000'}}
  workers: 2
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
metadata: {name: before, namespace: plants}
spec: {jobRef: {name: counts}}
";

fn main() -> ExitCode {
    tell("a_job_lives", story)
}

fn story(story: &Story) -> Result<()> {
    let cluster = Cluster::start()?;
    story.say("the cluster is up");
    let told = chapters(story, &cluster);
    if told.is_err() {
        for look in [
            ["--namespace=plants", "describe", "streamjob,statefulset,pod"].as_slice(),
            &["--namespace=system", "logs", "deployment/millstream", "--tail=60"],
        ] {
            eprintln!("{}", cluster.kubectl(look).unwrap_or_else(|error| format!("{error:#}")));
        }
    }
    told
}

fn chapters(story: &Story, cluster: &Cluster) -> Result<()> {
    install(story, cluster)?;
    let job = Job { story, cluster };
    job.until(60, "Ready with two workers", |status| ready(status, 2))?;
    job.until(60, "it has a snapshot", |status| {
        is(status, "/lastSnapshot/epoch", |it| it.as_i64() > Some(0))
    })?;
    loses_a_worker(&job)?;
    is_scaled(&job)?;
    loses_the_operator(&job)?;
    is_suspended(&job)?;
    goes_back_to_a_savepoint(&job)?;
    is_counted(&job)?;
    cluster.kubectl(&["--namespace=plants", "delete", "streamjob", "counts", "--timeout=60s"])?;
    story.until(90, "its objects are gone", || {
        let left = cluster.kubectl(&[
            "--namespace=plants",
            "get",
            "statefulset,service,pod,pdb,networkpolicy",
            "--output=name",
        ])?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })?;
    Ok(())
}

fn install(story: &Story, cluster: &Cluster) -> Result<()> {
    let endpoint = millstream_e2e::cluster::run(cluster.script("s3.sh").arg("start"))?;
    for target in ["worker", "operator"] {
        image::give(cluster, target)?;
        story.say(&format!("the nodes have the {target}'s image"));
    }
    let mut arguments = vec!["install".to_owned(), "millstream".into(), "charts/millstream".into()];
    arguments.extend(
        ["--namespace=system", "--create-namespace", "--wait", "--timeout=60s"].map(Into::into),
    );
    for (value, target) in [("image", "operator"), ("workerImage", "worker")] {
        arguments.push(format!("--set={value}.repository={}", image::name(target)));
        arguments.push(format!("--set={value}.tag={}", image::TAG));
    }
    cluster.helm(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    story.say("the chart is installed");
    apply(cluster, &OBJECTS.replace("ENDPOINT", endpoint.trim()))
}

fn apply(cluster: &Cluster, text: &str) -> Result<()> {
    let mut kubectl = cluster.script("kubectl.sh");
    let mut kubectl = kubectl.args(["apply", "--filename=-"]).stdin(Stdio::piped()).spawn()?;
    kubectl.stdin.take().context("it reads nothing")?.write_all(text.as_bytes())?;
    ensure!(kubectl.wait()?.success(), "kubectl apply failed");
    Ok(())
}

/// A pod dies: the tasks go on from the last snapshot, in a new run.
fn loses_a_worker(job: &Job) -> Result<()> {
    let before = job.status()?;
    let run = before["run"].as_i64().unwrap_or(0);
    job.kubectl(&["delete", "pod", "counts-1", "--grace-period=0", "--force"])?;
    job.until(60, "it has come back from the loss of a worker", |status| {
        is(status, "/run", |it| it.as_i64() > Some(run))?;
        is(status, "/restarts", |it| it.as_i64() > before["restarts"].as_i64())?;
        is(status, "/restored/from", |it| it.as_str().is_some_and(|it| it.starts_with("s3://")))?;
        ready(status, 2)
    })?;
    job.until(60, "it tells of its restart, step by step, and of its pace", |status| {
        is(status, "/lastRestart/reason", |it| it == "WorkerLost")?;
        for step in ["detectedAt", "workersReadyAt", "restoredAt", "runningAt"] {
            is(status, &format!("/lastRestart/{step}"), Value::is_string)?;
        }
        is(status, "/restoreCandidate/uri", |it| *it == status["lastSnapshot"]["uri"])?;
        is(status, "/throughput/recordsIn", |it| it.as_i64() > Some(0))
    })?;
    let told = job.kubectl(&["events", "--for=streamjob/counts", "--types=Warning"])?;
    ensure!(told.contains("WorkerLost"), "no event tells of it: {told}");
    Ok(())
}

/// Pods come first and go last.
fn is_scaled(job: &Job) -> Result<()> {
    for workers in [3, 1] {
        job.kubectl(&["scale", "streamjob/counts", &format!("--replicas={workers}")])?;
        job.until(90, &format!("it runs on {workers} workers"), |status| ready(status, workers))?;
    }
    Ok(())
}

/// The job runs on, and the next operator takes it over as it is.
fn loses_the_operator(job: &Job) -> Result<()> {
    let before = job.status()?;
    let epoch = before["lastSnapshot"]["epoch"].as_i64();
    job.cluster.kubectl(&[
        "--namespace=system",
        "delete",
        "pod",
        "--selector=app.kubernetes.io/name=millstream-operator",
        "--grace-period=0",
        "--force",
    ])?;
    job.cluster.kubectl(&[
        "--namespace=system",
        "rollout",
        "status",
        "deployment/millstream",
        "--timeout=60s",
    ])?;
    job.until(90, "the next operator takes snapshots of the same run", |status| {
        is(status, "/lastSnapshot/epoch", |it| it.as_i64() > epoch)?;
        ready(status, 1)
    })?;
    let after = job.status()?;
    for field in ["run", "restarts"] {
        ensure!(
            after[field] == before[field],
            "{field} was {} and is {}",
            before[field],
            after[field]
        );
    }
    Ok(())
}

/// Without pods, and back from where it was.
fn is_suspended(job: &Job) -> Result<()> {
    let suspend = |it: bool| {
        let patch = format!("{{\"spec\":{{\"suspend\":{it}}}}}");
        job.kubectl(&["patch", "streamjob", "counts", "--type=merge", "--patch", &patch])
    };
    suspend(true)?;
    job.until(90, "it is suspended, and has no pods", |status| {
        is(status, "/phase", |it| it == "Suspended")?;
        is(status, "/workers", |it| it == 0)
    })?;
    suspend(false)?;
    job.until(90, "it has resumed", |status| {
        is(status, "/restored/from", |it| it.as_str().is_some_and(|it| it.starts_with("s3://")))?;
        ready(status, 1)
    })
}

/// A savepoint stays when newer snapshots come; a later spec may name it.
fn goes_back_to_a_savepoint(job: &Job) -> Result<()> {
    apply(job.cluster, SAVEPOINT)?;
    let get = ["--namespace=plants", "get", "streamsnapshot", "before"];
    let taken = || -> Result<Value> { Ok(job.cluster.json(&get)?["status"].clone()) };
    job.story.until(60, "the savepoint is there", || {
        Ok(is(&taken()?, "/phase", |it| it == "Completed"))
    })?;
    let uri = taken()?["uri"].clone();
    let patch = r#"{"spec":{"restore":{"from":"Snapshot","snapshotName":"before","request":1}}}"#;
    job.kubectl(&["patch", "streamjob", "counts", "--type=merge", "--patch", patch])?;
    job.until(90, "it has gone back to the savepoint", |status| {
        is(status, "/restored/from", |it| *it == uri)?;
        ready(status, 1)
    })
}

/// By the operator that has looked after it since the first one was deleted.
fn is_counted(job: &Job) -> Result<()> {
    let path = "/api/v1/namespaces/system/services/millstream-metrics:9100/proxy/metrics";
    let metrics = job.cluster.kubectl(&["get", "--raw", path])?;
    for counted in [
        "leader 1",
        "coordinators 1",
        "jobs{phase=\"Running\"} 1",
        "transition_seconds_count{transition=\"suspend\"} 1",
        "transition_seconds_count{transition=\"resume\"} 1",
    ] {
        let line = format!("millstream_operator_{counted}");
        ensure!(metrics.lines().any(|it| it == line), "no {line} in {metrics}");
    }
    Ok(())
}

struct Job<'a> {
    story: &'a Story,
    cluster: &'a Cluster,
}

impl Job<'_> {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["--namespace=plants"], arguments].concat())
    }

    fn status(&self) -> Result<Value> {
        let job = self.cluster.json(&["--namespace=plants", "get", "streamjob", "counts"])?;
        Ok(job["status"].clone())
    }

    fn until(
        &self,
        seconds: u64,
        what: &str,
        look: impl Fn(&Value) -> Result<(), String>,
    ) -> Result<()> {
        let story = self.story;
        story.until(seconds, what, || Ok(look(&self.status()?)))?;
        Ok(())
    }
}

fn is(status: &Value, field: &str, holds: impl Fn(&Value) -> bool) -> Result<(), String> {
    let value = status.pointer(field).unwrap_or(&Value::Null);
    if holds(value) { Ok(()) } else { Err(format!("{field} is {value} in {status}")) }
}

/// `kubectl wait --for=condition=Ready` would hold, with so many workers, all ready.
fn ready(status: &Value, workers: u64) -> Result<(), String> {
    is(status, "/ready", |it| *it == format!("{workers}/{workers}"))?;
    is(status, "/workers", |it| *it == workers)?;
    is(status, "/conditions", |it| {
        let all = it.as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = all.iter().find(|it| it["type"] == "Ready");
        ready.is_some_and(|ready| {
            ready["status"] == "True" && ready["observedGeneration"] == status["observedGeneration"]
        })
    })
}
