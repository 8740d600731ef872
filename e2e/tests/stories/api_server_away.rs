//! The API server does not answer for a minute, and is then killed: the job runs on. The operator
//! has lost its Lease meanwhile, and stopped; with the API server it comes back, and goes on with
//! what runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::stage::Stage;
use millstream_e2e::story::Story;

use crate::kept::{Kept, runs_on};
use crate::{close, open};

/// The program of the API server.
const API_SERVER: &str = "kube-apiserver";
/// By then the operator has stopped: ten seconds after its last renewal, and what it had begun.
const STOPPED: Duration = Duration::from_secs(20);
/// How long it is away besides.
const AWAY: Duration = Duration::from_secs(40);
/// From the answers of the API server to results, in seconds.
const BOUND: u64 = 30;

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "api-server-away")?;
    let (kept, begun, addresses) = (Kept::of(&job)?, job.now(), job.addresses()?);
    stage.cluster.signal(API_SERVER, "STOP")?;
    story.say("the API server does not answer");
    let away = runs_on(&job, &addresses, STOPPED).and_then(|()| {
        let before = orders.visible();
        runs_on(&job, &addresses, AWAY)?;
        Ok((before, orders.visible()))
    });
    stage.cluster.signal(API_SERVER, "KILL")?;
    story.until(60, "the API server answers again", || {
        Ok(stage
            .cluster
            .kubectl(&["get", "--raw", "/readyz"])
            .map(drop)
            .map_err(|it| it.to_string()))
    })?;
    let (before, now) = away?;
    ensure!(now == before, "{before} results were visible, and then {now}, without the Lease");
    orders.flow(story, BOUND)?;
    let gap = orders.longest_gap(begun);
    story.say(&format!("the longest time without results: {:.1} s", gap.as_secs_f64()));
    kept.goes_on(&job, "the API server is back")?;
    // A node that could not say that it is well is NotReady for a moment, and so are its pods.
    story.say(&format!("its course: {:?}", job.course(begun)));
    close(&job, orders)
}
