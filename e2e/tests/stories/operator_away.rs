//! There is no operator for two minutes: the job runs on, without snapshots and without the output
//! that waits for them. The next one goes on with what runs, and the status does not flap.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::job::{Job, is};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;
use serde_json::Value;

use crate::kept::{self, Kept, runs_on};
use crate::{RATE, close, open};

/// How long there is none.
const AWAY: Duration = Duration::from_mins(2);
/// What had been published before it went becomes visible.
const LAST_RESULTS: Duration = Duration::from_secs(3);
/// From the next one's process to results, in seconds.
const BOUND: u64 = 20;

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "operator-away")?;
    let (kept, begun, addresses) = (Kept::of(&job)?, job.now(), job.addresses()?);
    stage.operators(story, 0)?;
    story.wait(LAST_RESULTS);
    let before = orders.visible();
    let away = runs_on(&job, &addresses, AWAY);
    let now = orders.visible();
    stage.operators(story, 1)?;
    away?;
    ensure!(now == before, "{before} results were visible, and then {now}, without a snapshot");
    orders.flow(story, BOUND)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    kept.goes_on(&job, "the next operator has begun")?;
    kept::did_not_flap(&job, begun)?;
    has_its_pace(&job)?;
    close(&job, orders)
}

/// What had passed before the next operator began is no pace of now.
fn has_its_pace(job: &Job) -> Result<()> {
    let field = "/throughput/recordsIn";
    job.until(60, "its pace is known", |status| is(status, field, Value::is_i64))?;
    let pace = job.status().pointer(field).and_then(Value::as_u64).unwrap_or_default();
    ensure!((RATE / 2..RATE * 2).contains(&pace), "{pace} records a second, of {RATE} orders");
    Ok(())
}
