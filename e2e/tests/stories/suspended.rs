//! Suspended, a job has no pods and does nothing; resumed, it goes on from where it was.

use anyhow::Result;
use millstream_e2e::job::{is, says};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::json;

use crate::{close, open};

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "suspended")?;
    let begun = job.now();
    job.patch(&json!({ "suspend": true }))?;
    job.until(90, "it is suspended", |status| {
        is(status, "/phase", |it| it == "Suspended")?;
        is(status, "/workers", |it| *it == 0)?;
        says(status, "Ready", "False", "Suspended")
    })?;
    job.has_been(5, begun, &["Suspended"])?;
    story.until(30, "its pods are gone", || {
        let pods = job.kubectl(&["get", "pods", "--output=name"])?;
        Ok(if pods.trim().is_empty() { Ok(()) } else { Err(pods) })
    })?;
    let last = job.status()["lastSnapshot"]["uri"].clone();
    job.patch(&json!({ "suspend": false }))?;
    job.is_ready(2)?;
    job.until(10, "it goes on from its last snapshot", |status| {
        is(status, "/restored/from", |it| *it == last)?;
        is(status, "/restarts", |it| *it == 0)
    })?;
    orders.flow(story, 30)?;
    close(&job, orders)
}
