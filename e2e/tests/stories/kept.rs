//! What of a job stays as it is, whatever happens around it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use millstream_e2e::job::{Job, is};
use serde_json::Value;

/// Between two looks at what a job's tasks say of themselves.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What of a job must stay as it is.
#[derive(Debug, PartialEq)]
pub(crate) struct Kept {
    run: Value,
    restarts: Value,
    restored: Value,
    pods: String,
}

impl Kept {
    pub(crate) fn of(job: &Job) -> Result<Self> {
        let status = job.status();
        let uids = "--output=jsonpath={.items[*].metadata.uid}";
        let of_job = format!("--selector=millstream.dev/job={}", job.name());
        let pods = job.kubectl(&["get", "pods", &of_job, uids])?;
        let [run, restarts, restored] =
            ["run", "restarts", "restored"].map(|it| status[it].clone());
        Ok(Self { run, restarts, restored, pods })
    }

    /// As it was.
    pub(crate) fn is_there(&self, job: &Job) -> Result<()> {
        let now = Self::of(job)?;
        ensure!(now == *self, "the job was {self:?}, and is {now:?}");
        Ok(())
    }

    /// An operator takes snapshots of the run that there was.
    pub(crate) fn goes_on(&self, job: &Job, why: &str) -> Result<()> {
        let epoch = job.status()["lastSnapshot"]["epoch"].as_i64();
        job.until(90, &format!("snapshots are taken after {why}"), |status| {
            is(status, "/lastSnapshot/epoch", |it| it.as_i64() > epoch)
        })?;
        job.is_ready(2)?;
        self.is_there(job)
    }
}

/// It was Ready all the time, in the phase in which it was.
pub(crate) fn did_not_flap(job: &Job, since: Instant) -> Result<()> {
    let course = job.course(since);
    ensure!(course.is_empty(), "the job was {course:?}, although it ran all the time");
    Ok(())
}

/// The tasks at these addresses take in records for so long, as they say themselves.
pub(crate) fn runs_on(job: &Job, addresses: &[String], time: Duration) -> Result<()> {
    let cluster = &job.stage.cluster;
    let begun = job.now();
    let mut before = cluster.records_in(addresses)?;
    while job.now() - begun < time {
        job.story.wait(LOOK_EVERY.min(time));
        let now = cluster.records_in(addresses)?;
        ensure!(now > before, "{before} records were taken in, and no more in {LOOK_EVERY:?}");
        before = now;
    }
    job.story.say(&format!("it ran on for {time:?}, to {before} records"));
    Ok(())
}
