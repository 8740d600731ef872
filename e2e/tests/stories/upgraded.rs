//! Another image: the job stops behind a snapshot, its pods are replaced, and it goes on.

use anyhow::{Result, ensure};
use millstream_e2e::image;
use millstream_e2e::job::is;
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::json;

use crate::{close, open};

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "upgraded")?;
    let begun = job.now();
    let next = format!("{}:{}", image::name("worker"), image::NEXT);
    job.patch(&json!({ "image": next }))?;
    job.is_ready(2)?;
    job.has_been(10, begun, &["Upgrading", "Running", "Ready True"])?;
    let images = "jsonpath={.items[*].spec.containers[0].image}";
    let images = job.kubectl(&["get", "pods", &format!("--output={images}")])?;
    ensure!(images == format!("{next} {next}"), "the pods run {images}");
    job.until(10, "it goes on from its snapshot, and no restart is counted", |status| {
        is(status, "/restored/from", |it| it.as_str().is_some_and(|it| it.starts_with("s3://")))?;
        is(status, "/restarts", |it| *it == 0)
    })?;
    orders.flow(story, 30)?;
    orders.flow(story, 30)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    close(&job, orders)
}
