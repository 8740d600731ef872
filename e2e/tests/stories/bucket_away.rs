//! The bucket is away: the job runs on, and says that it has no snapshots, since when and why. Its
//! output waits. When the bucket is back, all goes on by itself, in the same run.

use anyhow::{Error, Result, ensure};
use millstream_e2e::cluster::run;
use millstream_e2e::job::{Job, is, says, words};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;

use crate::kept::{self, Kept};
use crate::{close, open};

/// The last snapshot is too old by then: of those that are taken each second, three are missing.
const OLD: u64 = 20;
/// A part is tried for two minutes; then the attempt at a snapshot has failed.
const FAILED: u64 = 150;

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "bucket-away")?;
    job.until(60, "snapshots are healthy", |status| {
        says(status, "SnapshotsHealthy", "True", "AsExpected")
    })?;
    let (kept, begun, addresses) = (Kept::of(&job)?, job.now(), job.addresses()?);
    run(stage.cluster.script("s3.sh").arg("kill"))?;
    story.say("the bucket is away");
    let taken_in = || stage.cluster.records_in(&addresses);
    let told = taken_in().and_then(|before| {
        is_told(&job)?;
        let now = taken_in()?;
        ensure!(now > before, "{before} records were taken in, and no more without the bucket");
        Ok(())
    });
    let still = job.status();
    run(stage.cluster.script("s3.sh").arg("start"))?;
    story.say("the bucket is back");
    told?;
    is(&still, "/phase", |it| it == "Running").map_err(Error::msg)?;
    says(&still, "Ready", "True", "AsExpected").map_err(Error::msg)?;
    orders.flow(story, 60)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    job.until(60, "snapshots are healthy again", |status| {
        says(status, "SnapshotsHealthy", "True", "AsExpected")
    })?;
    kept.goes_on(&job, "the bucket is back")?;
    kept::did_not_flap(&job, begun)?;
    let events = job.kubectl(&["events", "--for=streamjob/turnover", "--types=Warning"])?;
    for reason in ["SnapshotOld", "SnapshotFailed"] {
        ensure!(events.contains(reason), "no event {reason}: {events}");
    }
    close(&job, orders)
}

/// The job says that its last snapshot is old, and what keeps the next one; then that this one has
/// failed.
fn is_told(job: &Job) -> Result<()> {
    let healthy = "SnapshotsHealthy";
    job.until(OLD, "it says that its last snapshot is old, and why", |status| {
        says(status, healthy, "False", "SnapshotOld")?;
        words(status, healthy, &["the last one was published at ", "S3 is asked again and again: "])
    })?;
    says_message(job);
    job.until(FAILED, "it says that a snapshot has failed", |status| {
        says(status, healthy, "False", "SnapshotFailed")
    })?;
    says_message(job);
    Ok(())
}

fn says_message(job: &Job) {
    let status = job.status();
    let mut all = status["conditions"].as_array().into_iter().flatten();
    let healthy = all.find(|it| it["type"] == "SnapshotsHealthy");
    job.story.say(&healthy.map(|it| it["message"].to_string()).unwrap_or_default());
}
