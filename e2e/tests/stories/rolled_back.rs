//! A version that does not come up: the job says so, and goes back to the one before. What the
//! workers can see without being replaced is refused before anything is touched.

use anyhow::{Result, ensure};
use millstream_e2e::job::{is, says};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::json;

use crate::{close, open};

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "rolled-back")?;
    let run = job.status()["run"].clone();
    job.patch(&json!({ "program": { "args": { "windw": "10s" } } }))?;
    job.until(30, "arguments that the program does not know are refused", |status| {
        says(status, "Stalled", "True", "UpgradeBlocked")?;
        says(status, "Ready", "True", "AsExpected")
    })?;
    ensure!(job.status()["run"] == run, "the job that ran has restarted");
    job.patch(&json!({ "program": { "args": { "windw": null } } }))?;
    job.until(30, "nothing is wrong any more", |status| {
        says(status, "Stalled", "False", "AsExpected")
    })?;

    let bucket = json!([{ "secretRef": { "name": "bucket" } }]);
    let with = |security: serde_json::Value| {
        let worker = json!({ "name": "worker", "envFrom": bucket, "securityContext": security });
        json!({ "podTemplate": { "spec": { "containers": [worker] } } })
    };
    job.patch(&with(json!({ "privileged": true, "allowPrivilegeEscalation": false })))?;
    job.until(60, "a template that the API server refuses is not taken up", |status| {
        says(status, "Stalled", "True", "UpgradeBlocked")?;
        says(status, "Ready", "True", "AsExpected")
    })?;
    job.patch(&with(serde_json::Value::Null))?;
    job.is_ready(2)?;
    orders.flow(story, 30)?;

    let begun = job.now();
    // Each fits a node, but not both: what asks whether the state fits does not see that.
    let apart = json!([{ "topologyKey": "kubernetes.io/os",
        "labelSelector": { "matchLabels": { "version": "two" } } }]);
    let affinity = json!({ "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": apart } });
    let labels = json!({ "labels": { "version": "two" } });
    job.patch(&json!({ "podTemplate": { "metadata": labels, "spec": { "affinity": affinity } } }))?;
    job.until(90, "the pods do not come up, and the status says why", |status| {
        says(status, "Ready", "False", "Unschedulable")
    })?;
    job.until(120, "it runs again by the version before", |status| {
        says(status, "Stalled", "True", "UpgradeBlocked")?;
        says(status, "Ready", "True", "AsExpected")?;
        is(status, "/restarts", |it| *it == 0)
    })?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("without results: {:.1} s", gap.as_secs_f64()));
    job.until(10, "it says what was given up", |status| {
        is(status, "/conditions", |all| all.to_string().contains("has gone back to generation"))
    })?;
    orders.flow(story, 30)?;

    let next = format!("{}:{}", millstream_e2e::image::name("worker"), millstream_e2e::image::NEXT);
    let none = json!({ "metadata": null, "spec": { "affinity": null } });
    job.patch(&json!({ "image": next, "podTemplate": none }))?;
    job.is_ready(2)?;
    job.until(30, "another version is taken", |status| {
        says(status, "Stalled", "False", "AsExpected")
    })?;
    close(&job, orders)
}
