//! A version that cannot go on from the state, or whose image is not there, is refused before the
//! old pods are touched; one that fits is taken.

use anyhow::{Result, ensure};
use millstream_e2e::image;
use millstream_e2e::job::{is, says};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::{Value, json};

use crate::{close, open};

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "upgrade-blocked")?;
    let next = format!("{}:{}", image::name("worker"), image::NEXT);
    let (run, pods) = (job.status()["run"].clone(), pods(&job.kubectl(&PODS)?));
    let begun = job.now();

    let unfit = json!({ "name": "counter", "args": { "brokers": null, "orders": null,
        "turnover": null } });
    job.patch(&json!({ "image": next, "program": unfit }))?;
    job.until(90, "a version whose state is another is refused", |status| {
        says(status, "Stalled", "True", "UpgradeBlocked")?;
        is(status, "/conditions", |all| all.to_string().contains("per-shop"))
    })?;
    let args = json!({ "brokers": stage.kafka, "orders": "orders-upgrade-blocked",
        "turnover": "turnover-upgrade-blocked" });
    let fit = json!({ "name": "turnover", "args": args });
    job.patch(&json!({ "image": "docker.io/millstream/worker:nowhere", "program": fit }))?;
    job.until(150, "an image that is not there is refused", |status| {
        says(status, "Stalled", "True", "UpgradeBlocked")?;
        is(status, "/conditions", |all| all.to_string().contains("correct spec.image"))
    })?;

    job.until(10, "it has run on all the while", |status| {
        says(status, "Ready", "True", "AsExpected")?;
        is(status, "/run", |it| *it == run)?;
        is(status, "/restarts", |it| *it == 0)
    })?;
    let now = self::pods(&job.kubectl(&PODS)?);
    ensure!(now == pods, "the pods are {now:?}, and were {pods:?}");
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    orders.flow(story, 30)?;

    job.patch(&json!({ "image": next }))?;
    job.is_ready(2)?;
    job.until(30, "one that fits is taken", |status| {
        says(status, "Stalled", "False", "AsExpected")?;
        is(status, "/restarts", |it| *it == 0)
    })?;
    let left = job.kubectl(&["get", "jobs.batch", "--output=name"])?;
    ensure!(left.is_empty(), "what has asked is left: {left}");
    close(&job, orders)
}

const PODS: [&str; 4] = ["get", "pods", "--selector=millstream.dev/role=worker", "--output=json"];

/// The UIDs of pods.
fn pods(listed: &str) -> Vec<Value> {
    let listed: Value = serde_json::from_str(listed).unwrap_or_default();
    let all = listed["items"].as_array().cloned().unwrap_or_default();
    all.into_iter().map(|pod| pod["metadata"]["uid"].clone()).collect()
}
