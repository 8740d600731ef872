//! `kubectl drain` of a worker's node: the worker says that it leaves, the job takes a snapshot and
//! lets it go, and goes on with another one elsewhere. No restart is counted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_e2e::job::{Job, is};
use millstream_e2e::stage::{SYSTEM, Stage};
use millstream_e2e::story::Story;

use crate::{close, open};

/// Without results, from the last snapshot on one node to the first results from another.
const BOUND: Duration = Duration::from_secs(10);

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "drained")?;
    let budget = "--output=jsonpath={.status.disruptionsAllowed}";
    story.until(30, "one of its workers may be taken", || {
        let allowed = job.kubectl(&["get", "poddisruptionbudget", "turnover", budget])?;
        Ok(if allowed == "1" { Ok(()) } else { Err(allowed) })
    })?;
    let (pod, node) = leaves(&job)?;
    let (before, begun) = (job.status(), job.now());
    let epoch = before["lastSnapshot"]["epoch"].as_i64();
    let drained = stage.cluster.kubectl(&[
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--timeout=90s",
    ]);
    let ended = drained.and_then(|said| {
        ensure!(said.contains(&format!("{pod} evicted")), "{pod} was not evicted: {said}");
        story.say(&format!("{node} is drained of {pod}"));
        goes_on_elsewhere(&job, &pod, &node)
    });
    stage.cluster.kubectl(&["uncordon", &node])?;
    ended?;
    job.until(
        60,
        "it went on behind a snapshot, in a new run, and no restart is counted",
        |status| {
            is(status, "/run", |it| it.as_i64() > before["run"].as_i64())?;
            is(status, "/restored/epoch", |it| it.as_i64() >= epoch)?;
            is(status, "/restarts", |it| *it == before["restarts"])
        },
    )?;
    job.is_ready(2)?;
    orders.flow(story, 30)?;
    orders.flow(story, 30)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    close(&job, orders)?;
    ensure!(gap < BOUND, "there were no results for {gap:?}, over {BOUND:?}");
    Ok(())
}

/// A worker on a node that has not the operator, and that node.
fn leaves(job: &Job) -> Result<(String, String)> {
    let place =
        "--output=jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName}{\"\\n\"}{end}";
    let system = format!("--namespace={SYSTEM}");
    let operator = job.stage.cluster.kubectl(&["get", "pods", &system, place])?;
    let workers = job.kubectl(&["get", "pods", place])?;
    let all = workers.lines().filter_map(|it| it.split_once(' '));
    let mut free = all.filter(|(_, node)| !operator.contains(node));
    let (pod, node) = free.next().context("all workers are where the operator is")?;
    Ok((pod.to_owned(), node.to_owned()))
}

/// Another pod of this name is Ready on another node.
fn goes_on_elsewhere(job: &Job, pod: &str, node: &str) -> Result<()> {
    let place = "--output=jsonpath={.spec.nodeName}";
    job.story.until(60, &format!("{pod} is elsewhere"), || {
        let there = job.kubectl(&["get", "pod", pod, place])?;
        Ok(if there.is_empty() || there == node { Err(there) } else { Ok(()) })
    })?;
    job.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{pod}")])?;
    Ok(())
}
