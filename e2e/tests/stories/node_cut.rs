//! A node with a worker on it is cut off: the job goes on elsewhere. The worker runs on behind the
//! cut, and nothing that it wrote counts when its node comes back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millstream_e2e::cluster::run;
use millstream_e2e::job::{Job, is};
use millstream_e2e::stage::{SYSTEM, Stage};
use millstream_e2e::story::Story;

use crate::{close, open};

/// From the cut to results.
const BOUND: Duration = Duration::from_mins(1);
/// Those that can be cut off.
const NODES: [&str; 2] = ["node-1", "node-2"];
/// The pod that is lost.
const POD: &str = "turnover-1";

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "node-cut")?;
    let node = place(&job)?;
    let (before, begun, lost) = (job.status(), job.now(), uid(&job)?);
    run(stage.cluster.script("cut.sh").arg(node))?;
    story.say(&format!("{node} is cut off, and {POD} with it"));
    job.until(120, "it runs in a new run", |status| {
        is(status, "/run", |it| it.as_i64() > before["run"].as_i64())?;
        is(status, "/phase", |it| it == "Running")
    })?;
    job.is_ready(2)?;
    orders.flow(story, 30)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    ensure!(uid(&job)? != lost, "the pod is the one that was cut off");
    ensure!(tasks(stage, node)? > 0, "nothing runs on behind the cut");

    run(stage.cluster.script("heal.sh").arg(node))?;
    story.until(60, &format!("{node} is Ready again"), || {
        let ready = "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        let said = stage.cluster.kubectl(&["get", "node", node, ready])?;
        Ok(if said == "True" { Ok(()) } else { Err(said) })
    })?;
    story.until(90, "what ran on there is gone", || {
        let left = tasks(stage, node)?;
        Ok(if left == 0 { Ok(()) } else { Err(format!("{left} tasks run")) })
    })?;
    orders.flow(story, 30)?;
    close(&job, orders)?;
    ensure!(gap < BOUND, "there were no results for {gap:?}, over {BOUND:?}");
    Ok(())
}

/// Sees to it that the pod is on a node that can be cut off, and the operator is not there.
fn place(job: &Job) -> Result<&'static str> {
    let stage = job.stage;
    let of_operator = stage.cluster.kubectl(&[
        &format!("--namespace={SYSTEM}"),
        "get",
        "pods",
        "--selector=app.kubernetes.io/name=millstream-operator",
        "--output=jsonpath={.items[*].spec.nodeName}",
    ])?;
    let node = NODES.into_iter().find(|it| !of_operator.contains(it));
    let node = node.context("the operator is on both nodes that can be cut off")?;
    let of_pod = || job.kubectl(&["get", "pod", POD, "--output=jsonpath={.spec.nodeName}"]);
    if of_pod()? != node {
        let others: Vec<_> = ["node-0"].into_iter().chain(NODES).filter(|it| *it != node).collect();
        stage.cluster.kubectl(&[&["cordon"], others.as_slice()].concat())?;
        job.kubectl(&["delete", "pod", POD, "--grace-period=0", "--force"])?;
        job.story.until(60, &format!("{POD} is on {node}"), || {
            let there = of_pod()?;
            Ok(if there == node { Ok(()) } else { Err(there) })
        })?;
        stage.cluster.kubectl(&[&["uncordon"], others.as_slice()].concat())?;
        job.until(60, "the job has restarted", |status| {
            is(status, "/restarts", |it| it.as_i64() > Some(0))
        })?;
        job.is_ready(2)?;
    }
    Ok(node)
}

fn uid(job: &Job) -> Result<String> {
    job.kubectl(&["get", "pod", POD, "--output=jsonpath={.metadata.uid}"])
}

/// How many workers run on a node, whatever the API server knows.
fn tasks(stage: &Stage, node: &str) -> Result<usize> {
    let mut list = stage.cluster.script("enter.sh");
    let list = list.args(["--node", node, "ctr", "--namespace=k8s.io", "task", "list"]);
    Ok(run(list)?.lines().filter(|it| it.contains("RUNNING")).count())
}
