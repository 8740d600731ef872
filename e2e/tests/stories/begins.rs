//! A job is applied, and is Ready: `kubectl wait` says so, and its results come. So is another one
//! that fills its topic.

use anyhow::{Result, ensure};
use millstream_e2e::job::{Job, is};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;

use crate::{close, open};

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "begins")?;
    job.kubectl(&["wait", "--for=condition=Ready", "--timeout=5s", "streamjob/turnover"])?;
    job.until(60, "it has a snapshot, and a pace", |status| {
        is(status, "/lastSnapshot/uri", |it| {
            it.as_str().is_some_and(|it| it.starts_with("s3://"))
        })?;
        is(status, "/restoreCandidate/uri", |it| *it == status["lastSnapshot"]["uri"])?;
        is(status, "/throughput/recordsIn", |it| it.as_i64() > Some(0))?;
        is(status, "/run", |it| *it == 1)?;
        is(status, "/restarts", |it| *it == 0)
    })?;
    let shown = job.kubectl(&["get", "sj", "turnover"])?;
    story.say(&format!("kubectl get sj:\n{shown}"));
    ensure!(shown.contains("Running") && shown.contains("2/2"), "kubectl shows {shown}");
    close(&job, orders)?;
    stage.apply(&stage.example("orders", "begins")?)?;
    let feeds = Job::watch(story, stage, "begins", "orders")?;
    feeds.is_ready(1)?;
    feeds.until(60, "a job puts orders into the topic", |status| {
        is(status, "/throughput/recordsOut", |it| it.as_i64() > Some(0))
    })?;
    feeds.is_honest()?;
    job.kubectl(&["delete", "streamjob", "turnover", "orders", "--timeout=60s"])?;
    story.until(90, "its objects are gone", || {
        let all = "statefulset,service,pod,poddisruptionbudget,networkpolicy";
        let left = job.kubectl(&["get", all, "--output=name"])?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })?;
    Ok(())
}
