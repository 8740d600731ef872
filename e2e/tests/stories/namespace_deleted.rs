//! A namespace is deleted with a job in it that runs: it goes away, the operator says nothing of it
//! any more, and goes on with others.

use std::time::Duration;

use anyhow::{Result, ensure};
use millstream_e2e::job::{Job, is};
use millstream_e2e::stage::{RELEASE, SYSTEM, Stage};
use millstream_e2e::story::Story;
use serde_json::{Value, json};

use crate::kept::Kept;
use crate::{close, open};

/// The one that is deleted.
const GONE: &str = "namespace-deleted-gone";
/// Its pods have a minute for a last snapshot, which nobody asks them for.
const BOUND: u64 = 60;
/// A job is looked at every half minute, and again soon after a failure.
const SILENCE: Duration = Duration::from_secs(35);

pub(crate) fn story(story: &Story, stage: &Stage) -> Result<()> {
    let (job, orders) = open(story, stage, "namespace-deleted")?;
    stage.namespace(GONE)?;
    for object in objects(stage) {
        stage.apply(&object.to_string())?;
    }
    let gone = Job::watch(story, stage, GONE, "counts")?;
    gone.is_ready(2)?;
    gone.until(60, "it has a snapshot", |status| {
        is(status, "/lastSnapshot/uri", Value::is_string)
    })?;
    let kept = Kept::of(&job)?;
    stage.cluster.kubectl(&["delete", "namespace", GONE, "--wait=false"])?;
    let took = story.until(BOUND, "the namespace is gone", || {
        let left = stage.cluster.kubectl(&["get", "namespace", GONE, "--ignore-not-found"])?;
        Ok(if left.trim().is_empty() { Ok(()) } else { Err(left) })
    })?;
    gone.is_honest()?;
    drop(gone);
    let before = complaints(stage)?;
    story.say(&format!("{} lines of the operator's log tell of it", before.len()));
    ensure!(before.len() as u64 <= 5 + took.as_secs(), "the operator said {before:#?}");
    story.wait(SILENCE);
    let after = complaints(stage)?;
    ensure!(after == before, "the operator still says {:#?}", &after[before.len()..]);
    orders.flow(story, 30)?;
    kept.goes_on(&job, "another namespace is gone")?;
    close(&job, orders)
}

/// A job of two workers, and a savepoint of it.
fn objects(stage: &Stage) -> [Value; 2] {
    let worker = json!({"name": "worker", "envFrom": [{"secretRef": {"name": "bucket"}}]});
    let job = json!({
        "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamJob",
        "metadata": {"name": "counts", "namespace": GONE},
        "spec": {
            "program": {"name": "counter", "args": {"recordsPerSecond": "1000"}},
            "workers": 2,
            "snapshots": {"store": "s3://snapshots/e2e", "endpoint": stage.s3, "interval": "1s"},
            "podTemplate": {"spec": {"containers": [worker]}},
        },
    });
    let savepoint = json!({
        "apiVersion": "millstream.dev/v1alpha1", "kind": "StreamSnapshot",
        "metadata": {"name": "before", "namespace": GONE},
        "spec": {"jobRef": {"name": "counts"}},
    });
    [job, savepoint]
}

/// What the operator warns of in that namespace.
fn complaints(stage: &Stage) -> Result<Vec<String>> {
    let operator = format!("deployment/{RELEASE}");
    let log = ["logs", &operator, &format!("--namespace={SYSTEM}"), "--tail=-1"];
    let log = stage.cluster.kubectl(&log)?;
    let is_bad = |line: &&str| line.contains("WARN") || line.contains("ERROR");
    let of_it = log.lines().filter(|it| it.contains(GONE)).filter(is_bad);
    Ok(of_it.map(str::to_owned).collect())
}
