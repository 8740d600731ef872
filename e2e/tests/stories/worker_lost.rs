//! A worker's process is killed: the job goes on from its last snapshot, in a new run.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::job::is;
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::Value;

use crate::{close, open};

/// From the loss to results.
const BOUND: Duration = Duration::from_secs(10);

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "worker-lost")?;
    job.until(60, "it has a snapshot", |status| {
        is(status, "/lastSnapshot/epoch", |it| it.as_i64() > Some(0))
    })?;
    let (before, begun) = (job.status(), job.now());
    let pod = job.kubectl(&["get", "pod", "turnover-1", "--output=jsonpath={.metadata.uid}"])?;
    stage.cluster.kill_in_pod(&pod)?;
    job.until(60, "it has come back", |status| {
        is(status, "/run", |it| it.as_i64() > before["run"].as_i64())?;
        is(status, "/restarts", |it| it.as_i64() > before["restarts"].as_i64())?;
        is(status, "/restored/from", |it| it.as_str().is_some_and(|it| it.starts_with("s3://")))
    })?;
    job.is_ready(2)?;
    job.has_been(10, begun, &["Restarting", "Restoring", "Running"])?;
    job.has_been(10, begun, &["Ready False", "Ready True"])?;
    orders.flow(story, 30)?;
    orders.flow(story, 30)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    ensure!(gap < BOUND, "there were no results for {gap:?}, over {BOUND:?}");
    job.until(40, "it tells of its restart, step by step", |status| {
        is(status, "/lastRestart/reason", |it| it == "WorkerLost")?;
        for step in ["detectedAt", "workersReadyAt", "restoredAt", "runningAt"] {
            is(status, &format!("/lastRestart/{step}"), Value::is_string)?;
        }
        Ok(())
    })?;
    story.say(&format!("its timeline: {}", job.status()["lastRestart"]));
    let told = job.kubectl(&["events", "--for=streamjob/turnover", "--types=Warning"])?;
    ensure!(told.contains("WorkerLost"), "no event tells of it: {told}");
    close(&job, orders)
}
