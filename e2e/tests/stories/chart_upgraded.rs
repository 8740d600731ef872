//! The chart of the last release is upgraded to that of this tree, with another worker's image than
//! before: a job that runs keeps its run, its pods and their image.

use anyhow::{Result, ensure};
use millstream_e2e::image::{NEXT, TAG, name};
use millstream_e2e::stage::{RELEASE, SYSTEM, Stage};
use millstream_e2e::story::Story;

use crate::kept::{self, Kept};
use crate::{close, open};

/// The chart as it was released last: `cargo xtask release-crds` puts it there.
const RELEASED: &str = "e2e/released/millstream";

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    stage.install_from(RELEASED, RELEASE, SYSTEM, &[])?;
    story.say("the last release is installed");
    let told = upgraded(story, stage);
    stage.install(RELEASE, SYSTEM, &[])?;
    told
}

fn upgraded(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "chart-upgraded")?;
    let (kept, begun) = (Kept::of(&job)?, job.now());
    let next = format!("workerImage.tag={NEXT}");
    stage.install(RELEASE, SYSTEM, &[next.as_str()])?;
    kept.goes_on(&job, "the chart was upgraded")?;
    kept::did_not_flap(&job, begun)?;
    let images = "--output=jsonpath={.items[*].spec.containers[0].image}";
    let images = job.kubectl(&["get", "pods", images])?;
    let before = format!("{}:{TAG}", name("worker"));
    ensure!(images == format!("{before} {before}"), "the pods run {images}");
    orders.flow(story, 30)?;
    close(&job, orders)
}
