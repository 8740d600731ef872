//! A job is applied, and is Ready: `kubectl wait` says so, and its results come.

use anyhow::{Result, ensure};
use millstream_e2e::job::is;
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
    ensure!(shown.contains("Running") && shown.contains("2/2"), "kubectl shows {shown}");
    close(&job, orders)?;
    job.kubectl(&["delete", "streamjob", "turnover", "--timeout=60s"])?;
    story.until(90, "its objects are gone", || {
        let all = "statefulset,service,pod,poddisruptionbudget,networkpolicy";
        let left = job.kubectl(&["get", all, "--output=name"])?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })?;
    Ok(())
}
