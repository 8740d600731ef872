//! The operator is killed while it does nothing, and in the middle of each transition. The job
//! runs on, and the next operator goes on with what was asked.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::image;
use millstream_e2e::job::{Job, is};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::json;

use crate::{close, open};

/// When the operator is killed, after something was asked for: at different steps of it.
const MOMENTS: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(600),
    Duration::from_millis(1200),
    Duration::from_millis(300),
];

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "operator-lost")?;
    is_adopted(&job)?;
    let [rescale, upgrade, suspend, restart] = MOMENTS;

    job.scale(3)?;
    is_killed(&job, "in the middle of a rescale", rescale)?;
    job.is_ready(3)?;

    let next = format!("{}:{}", image::name("worker"), image::NEXT);
    job.patch(&json!({ "image": next }))?;
    is_killed(&job, "in the middle of an upgrade", upgrade)?;
    job.is_ready(3)?;

    job.patch(&json!({ "suspend": true }))?;
    is_killed(&job, "while the job is suspended", suspend)?;
    job.until(90, "it is suspended", |status| is(status, "/phase", |it| it == "Suspended"))?;
    job.patch(&json!({ "suspend": false }))?;
    job.is_ready(3)?;

    let run = job.status()["run"].as_i64();
    job.kubectl(&["delete", "pod", "turnover-1", "--grace-period=0", "--force"])?;
    is_killed(&job, "while the job restarts", restart)?;
    job.until(90, "it runs in a new run", |status| is(status, "/run", |it| it.as_i64() > run))?;
    job.is_ready(3)?;
    orders.flow(story, 60)?;
    close(&job, orders)
}

/// The job runs on, and the next operator takes it over as it is.
fn is_adopted(job: &Job) -> Result<()> {
    let before = job.status();
    let epoch = before["lastSnapshot"]["epoch"].as_i64();
    is_killed(job, "while nothing is asked of it", Duration::ZERO)?;
    job.until(90, "the next operator takes snapshots of the same run", |status| {
        is(status, "/lastSnapshot/epoch", |it| it.as_i64() > epoch)
    })?;
    job.is_ready(2)?;
    let after = job.status();
    for field in ["run", "restarts"] {
        let (before, after) = (&before[field], &after[field]);
        ensure!(after == before, "{field} was {before} and is {after}");
    }
    Ok(())
}

fn is_killed(job: &Job, when: &str, after: Duration) -> Result<()> {
    job.story.wait(after);
    job.stage.kill_operator()?;
    job.story.say(&format!("the operator is killed {when}"));
    Ok(())
}
