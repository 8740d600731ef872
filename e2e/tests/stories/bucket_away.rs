//! The bucket is away: the job runs on, and says that it has no snapshots, since when and why. Its
//! output waits. When the bucket is back, all goes on by itself, in the same run.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::cluster::run;
use millstream_e2e::job::{Job, is, says};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;

use crate::kept::{Kept, runs_on};
use crate::{close, open};

/// How long it is away at least, after the job has said so.
const AWAY: Duration = Duration::from_secs(30);
/// The last snapshot is over three intervals of a second old, and a job is looked at every 30 s.
const SAID: u64 = 40;

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "bucket-away")?;
    job.until(60, "snapshots are healthy", |status| {
        says(status, "SnapshotsHealthy", "True", "AsExpected")
    })?;
    let (kept, begun, addresses) = (Kept::of(&job)?, job.now(), job.addresses()?);
    run(stage.cluster.script("s3.sh").arg("kill"))?;
    story.say("the bucket is away");
    let told = is_told(&job).and_then(|()| runs_on(&job, &addresses, AWAY));
    let still = job.status();
    run(stage.cluster.script("s3.sh").arg("start"))?;
    story.say("the bucket is back");
    told?;
    is(&still, "/phase", |it| it == "Running").map_err(anyhow::Error::msg)?;
    says(&still, "Ready", "True", "AsExpected").map_err(anyhow::Error::msg)?;
    orders.flow(story, 60)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    job.until(60, "snapshots are healthy again", |status| {
        says(status, "SnapshotsHealthy", "True", "AsExpected")
    })?;
    kept.goes_on(&job, "the bucket is back")?;
    kept.did_not_flap(&job, begun)?;
    let events = job.kubectl(&["events", "--for=streamjob/turnover", "--types=Warning"])?;
    let is_told = ["SnapshotOld", "SnapshotFailed"].iter().any(|it| events.contains(it));
    ensure!(is_told, "no event tells of it: {events}");
    close(&job, orders)
}

/// The job says that its snapshots are not as they should be, and why.
fn is_told(job: &Job) -> Result<()> {
    job.until(SAID, "it says that it has no snapshots", |status| {
        says(status, "SnapshotsHealthy", "False", "SnapshotOld")
            .or_else(|_| says(status, "SnapshotsHealthy", "False", "SnapshotFailed"))
    })?;
    let status = job.status();
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let healthy = all.iter().find(|it| it["type"] == "SnapshotsHealthy");
    let message = healthy.map(|it| it["message"].to_string()).unwrap_or_default();
    job.story.say(&format!("it says {message}"));
    Ok(())
}
