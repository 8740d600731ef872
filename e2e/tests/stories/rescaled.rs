//! `kubectl scale`, from 2 workers to 4 and to 1: pods come first and go last.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::job::is;
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;

use crate::{close, open};

/// Without results, while the tasks of the next size are made.
const BOUND: Duration = Duration::from_secs(10);

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "rescaled")?;
    for workers in [4, 1] {
        let begun = job.now();
        job.scale(workers)?;
        job.is_ready(workers.into())?;
        orders.flow(story, 30)?;
        orders.flow(story, 30)?;
        let gap = orders.longest_gap(begun);
        story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
        ensure!(gap < BOUND, "there were no results for {gap:?}, over {BOUND:?}");
    }
    story.until(60, "there is one pod", || {
        let pods = job.kubectl(&["get", "pods", "--output=name"])?;
        Ok(if pods.trim() == "pod/turnover-0" { Ok(()) } else { Err(pods) })
    })?;
    job.until(10, "no restart is counted", |status| is(status, "/restarts", |it| *it == 0))?;
    close(&job, orders)
}
