//! Each condition about the flow of records turns bad for a real cause, says it, and turns good
//! again: a partition whose clock stands, no orders at all, more records than can be counted. A job
//! that waits for a volume says so, one that has an end comes to it, one that is paused is left
//! alone. `kubectl get` has a value in each column.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_e2e::cluster::run;
use millstream_e2e::inside;
use millstream_e2e::job::{Job, is, says, words};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::{Value, json};

use crate::{close, merge, open};

const NAMESPACE: &str = "conditions";
/// What is found of the flow of records changes a condition when it held for a minute, and is
/// written at the next look at the job, half a minute later at most.
const SETTLED: u64 = 100;
/// The same, of a job that first has work to do.
const SETTLED_LATER: u64 = 150;
/// For what a job says of its spec or its pods.
const SOON: u64 = 60;
/// In which a job that is paused would have taken an edit up.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// Where a volume lies on each node.
const VOLUME: &str = "/var/lib/volume-of-conditions";
const NODES: [&str; 3] = ["node-0", "node-1", "node-2"];

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let apply = |name: &'static str, spec: &Value| {
        stage.apply(&counter(stage, name, spec).to_string())?;
        Job::watch(story, stage, NAMESPACE, name)
    };
    // As many records as can be made: those that are asked for beyond it wait.
    let many = json!({"program": {"args": {"recordsPerSecond": "1000000000", "keys": "300000"}}});
    let counts = apply("counts", &many)?;
    let volume = apply(
        "volume",
        &json!({"state": {"localVolume": {"size": "1Gi", "storageClassName": "none"}}}),
    )?;
    let ends = apply("ends", &json!({"program": {"args": {"records": "20000"}}}))?;
    comes_to_its_end(&ends)?;
    waits_for_its_volume(&volume)?;
    let (job, mut orders) = open(story, stage, NAMESPACE)?;
    is_behind(&counts)?;
    job.until(SETTLED, "all is well with the orders", |status| {
        says(status, "SourceCaughtUp", "True", "AsExpected")?;
        says(status, "WatermarkAdvancing", "True", "AsExpected")?;
        says(status, "Backpressured", "False", "AsExpected")
    })?;

    orders.ask(inside::STAND)?;
    job.until(SETTLED, "a partition holds the watermark", |status| {
        says(status, "WatermarkAdvancing", "False", "HeldBySplit")?;
        words(status, "WatermarkAdvancing", &["orders-conditions-0 of orders holds it at 2026-01-"])
    })?;
    orders.ask(inside::FLOW)?;
    orders.flow(story, 30)?;
    job.until(SOON, "the watermark advances again", |status| {
        says(status, "WatermarkAdvancing", "True", "AsExpected")
    })?;
    orders.ask(inside::PAUSE)?;
    job.until(SETTLED, "all inputs are idle", |status| {
        says(status, "WatermarkAdvancing", "True", "Idle")?;
        words(status, "WatermarkAdvancing", &["all inputs are idle"])
    })?;
    orders.ask(inside::FLOW)?;
    orders.flow(story, 30)?;

    is_paused(&counts)?;
    counts.until(
        SETTLED_LATER,
        "it counts no more than is asked for, and waits for nobody",
        |status| {
            says(status, "Backpressured", "False", "AsExpected")?;
            says(status, "SourceCaughtUp", "True", "AsExpected")
        },
    )?;
    has_all_columns(&counts)?;
    for job in [&counts, &volume, &ends] {
        job.is_honest()?;
    }
    close(&job, orders)
}

/// A job that counts, with this beside what all of them have.
fn counter(stage: &Stage, name: &str, spec: &Value) -> Value {
    let worker = json!({"name": "worker", "envFrom": [{"secretRef": {"name": "bucket"}}]});
    let mut whole = json!({
        "program": {"name": "counter"},
        "snapshots": {"store": "s3://snapshots/e2e", "endpoint": stage.s3, "interval": "2s"},
        "podTemplate": {"spec": {"containers": [worker]}},
    });
    merge(&mut whole, spec);
    json!({
        "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": whole,
    })
}

/// A job with an end says that it is complete, and has no pods any more.
fn comes_to_its_end(ends: &Job) -> Result<()> {
    ends.until(90, "a job with an end comes to it", |status| {
        is(status, "/phase", |it| it == "Finished")?;
        says(status, "Complete", "True", "Finished")?;
        says(status, "Ready", "False", "Finished")?;
        is(status, "/workers", |it| *it == 0)
    })?;
    Ok(())
}

/// A volume that its claim asks for, and nobody makes.
fn waits_for_its_volume(volume: &Job) -> Result<()> {
    volume.until(SOON, "a job says that its volume is not there", |status| {
        says(status, "Ready", "False", "VolumePending")?;
        words(status, "Ready", &["volume-0: ", "; make the volume or the StorageClass"])
    })?;
    let columns = columns(volume)?;
    let message = columns.iter().find(|(name, _)| name == "MESSAGE").map(|it| it.1.as_str());
    ensure!(message.is_some_and(|it| it.starts_with("volume-0: ")), "kubectl shows {columns:?}");
    let stage = volume.stage;
    for node in NODES {
        let make = ["--node", node, "install", "-d", "-m", "1777", VOLUME];
        run(stage.cluster.script("enter.sh").args(make))?;
    }
    stage.apply(
        &json!({
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": NAMESPACE},
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "storageClassName": "none", "hostPath": {"path": VOLUME},
            },
        })
        .to_string(),
    )?;
    let ready = volume.is_ready(1);
    stage.cluster.kubectl(&["delete", "persistentvolume", NAMESPACE, "--wait=false"])?;
    ready
}

/// More is asked of a job than it can do: it says by how much it is behind.
fn is_behind(counts: &Job) -> Result<()> {
    counts.is_ready(1)?;
    counts.until(SETTLED_LATER, "a job that is asked for too much is behind", |status| {
        says(status, "SourceCaughtUp", "False", "Behind")?;
        words(
            status,
            "SourceCaughtUp",
            &["split-", " of numbers is behind: ", " records wait in it"],
        )
    })?;
    Ok(())
}

/// While an annotation says so, a job is left alone, and runs on.
fn is_paused(counts: &Job) -> Result<()> {
    let annotate = |what| counts.kubectl(&["annotate", "streamjob", "counts", what]);
    annotate("millstream.dev/pause=true")?;
    counts.until(SOON, "it is left alone", |status| {
        says(status, "ReconciliationPaused", "True", "Paused")
    })?;
    let few = json!({"program": {"args": {"recordsPerSecond": "1000"}}});
    counts.patch(&few)?;
    let before = counts.status()["run"].clone();
    counts.story.wait(LEFT_ALONE);
    let now = counts.status();
    ensure!(now["run"] == before && now["phase"] == "Running", "a job that is paused is {now}");
    annotate("millstream.dev/pause-")?;
    counts.until(SOON, "it is looked after again", |status| {
        says(status, "ReconciliationPaused", "False", "AsExpected")
    })?;
    counts.is_ready(1)
}

/// What `kubectl get -o wide` shows, by column.
fn columns(job: &Job) -> Result<Vec<(String, String)>> {
    let shown = job.kubectl(&["get", "sj", job.name(), "--output=wide"])?;
    job.story.say(&format!("kubectl get sj -o wide:\n{shown}"));
    let (head, line) = shown.trim_end().split_once('\n').context("it shows no line")?;
    let mut starts: Vec<usize> = Vec::new();
    for (at, letter) in head.char_indices() {
        if letter != ' ' && head[..at].chars().last().is_none_or(|it| it == ' ') {
            starts.push(at);
        }
    }
    let ends = starts.iter().skip(1).copied().chain([usize::MAX]);
    let cut = |text: &str, from: usize, to: usize| {
        text.get(from..to.min(text.len())).unwrap_or_default().trim().to_owned()
    };
    Ok(starts
        .iter()
        .zip(ends)
        .map(|(from, to)| (cut(head, *from, to), cut(line, *from, to)))
        .collect())
}

/// Of a job that runs, from a snapshot: but for why it is not ready.
fn has_all_columns(counts: &Job) -> Result<()> {
    let columns = columns(counts)?;
    let names: Vec<_> = columns.iter().map(|it| it.0.as_str()).collect();
    let wanted = [
        "NAME",
        "PHASE",
        "READY",
        "SNAPSHOT",
        "LAG",
        "RESTARTS",
        "AGE",
        "RUN",
        "RESTORED-FROM",
        "MESSAGE",
    ];
    ensure!(names == wanted, "kubectl shows {names:?}");
    for (name, value) in &columns[..columns.len() - 1] {
        let is_there = !value.is_empty() && value != "<none>" && value != "<unknown>";
        ensure!(is_there, "the column {name} has no value: {columns:?}");
    }
    Ok(())
}
