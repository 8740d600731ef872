//! The stories, all on one cluster: `make e2e` tells them, each in a namespace of its own.
//!
//!     MILLSTREAM_E2E=1 cargo test --test stories -- [NAME]..
//!
//! Two are told at a time; those that do something to the operator, which all share, come last and
//! alone. In the cluster's sandbox the same program feeds Kafka ([`millstream_e2e::inside`]).

mod api_server_away;
mod begins;
mod bucket_away;
mod chart;
mod chart_upgraded;
mod conditions;
mod deleted;
mod drained;
mod faults;
mod kept;
mod namespace_deleted;
mod node_cut;
mod operator_away;
mod operator_lost;
mod rescaled;
mod rights;
mod rolled_back;
mod said;
mod savepoint;
mod suspended;
mod upgrade_blocked;
mod upgraded;
mod worker_lost;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use millstream_e2e::inside;
use millstream_e2e::job::Job;
use millstream_e2e::orders::Orders;
use millstream_e2e::said::EVENT;
use millstream_e2e::stage::{SYSTEM, Stage};
use millstream_e2e::story::{Story, tell};
use serde_json::Value;

/// A story by its name, which is that of its namespace.
type Told = (&'static str, fn(&Story, &Stage) -> Result<()>);

/// What may be told beside others.
const TOGETHER: [Told; 11] = [
    ("begins", begins::story),
    ("worker-lost", worker_lost::story),
    ("rescaled", rescaled::story),
    ("upgraded", upgraded::story),
    ("rolled-back", rolled_back::story),
    ("suspended", suspended::story),
    ("faults", faults::story),
    ("deleted", deleted::story),
    ("upgrade-blocked", upgrade_blocked::story),
    ("namespace-deleted", namespace_deleted::story),
    ("conditions", conditions::story),
];
/// What needs the operator, or a part of the cluster, for itself.
const ALONE: [Told; 9] = [
    ("drained", drained::story),
    ("node-cut", node_cut::story),
    ("bucket-away", bucket_away::story),
    ("api-server-away", api_server_away::story),
    ("operator-lost", operator_lost::story),
    ("operator-away", operator_away::story),
    ("savepoint", savepoint::story),
    ("chart", chart::story),
    ("chart-upgraded", chart_upgraded::story),
];
/// What looks back at all others.
const LAST: [Told; 2] = [("rights", rights::story), ("said", said::story)];
/// So many at a time: each has a job of two pods.
const AT_ONCE: usize = 2;
/// Orders a second, where a story does not say otherwise.
const RATE: u64 = 2000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|it| it == inside::COMMAND) {
        return inside(&arguments[1..]);
    }
    if std::env::var("MILLSTREAM_E2E").as_deref() != Ok("1") {
        eprintln!("stories: NOT RUN: they need root and a cluster; `make e2e` tells them");
        return ExitCode::SUCCESS;
    }
    let names: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|it| !it.starts_with('-')).collect();
    let is_needed = |name| {
        names.contains(&"rights") && rights::NEEDS.contains(&name)
            || names.contains(&"said") && said::NEEDS.contains(&name)
    };
    let is_asked = |name| names.is_empty() || names.contains(&name) || is_needed(name);
    let asked = |all: &[Told]| all.iter().copied().filter(|it| is_asked(it.0)).collect::<Vec<_>>();
    let is_good = tell("stage", |story| {
        let stage = Stage::set(story)?;
        let told = tell_all(&stage, asked(&TOGETHER), AT_ONCE)
            & tell_all(&stage, asked(&ALONE), 1)
            & tell_all(&stage, asked(&LAST), 1);
        anyhow::ensure!(told, "a story has failed: see above");
        Ok(())
    });
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn inside(arguments: &[String]) -> ExitCode {
    match inside::run(arguments) {
        Ok(said) => {
            println!("{}{said}", inside::COMPLETE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}{error:#}", inside::FAILED);
            ExitCode::FAILURE
        }
    }
}

/// Tells these stories, so many at a time; whether all came to a good end.
fn tell_all(stage: &Stage, stories: Vec<Told>, at_once: usize) -> bool {
    let left = Mutex::new(stories.into_iter());
    let is_good = AtomicBool::new(true);
    let next = || left.lock().ok().and_then(|mut it| it.next());
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some((name, story)) = next() {
                    if !tell(name, |told| in_namespace(told, stage, name, story)) {
                        is_good.store(false, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    is_good.into_inner()
}

/// Tells a story in its namespace, which is deleted; where it fails, shows what there was.
fn in_namespace(
    told: &Story,
    stage: &Stage,
    name: &str,
    story: fn(&Story, &Stage) -> Result<()>,
) -> Result<()> {
    stage.namespace(name)?;
    let ended = story(told, stage);
    if ended.is_err() {
        let namespace = format!("--namespace={name}");
        for look in [
            [&namespace, "describe", "streamjob,streamsnapshot,statefulset,pod"].as_slice(),
            &[&namespace, "logs", "--selector=millstream.dev/role=worker", "--tail=40"],
            &[&format!("--namespace={SYSTEM}"), "logs", "deployment/millstream", "--tail=60"],
        ] {
            let shown = stage.cluster.kubectl(look);
            eprintln!("{}", shown.unwrap_or_else(|error| format!("{error:#}")));
        }
    }
    events(stage, name)?;
    stage.cluster.kubectl(&["delete", "namespace", name, "--wait=false"])?;
    ended
}

/// Remembers what was told of jobs by events.
fn events(stage: &Stage, namespace: &str) -> Result<()> {
    let namespace_of = format!("--namespace={namespace}");
    let all = stage.cluster.json(&["get", "events.events.k8s.io", &namespace_of])?;
    let telling = stage.said.by(namespace);
    for event in all["items"].as_array().into_iter().flatten() {
        if event["regarding"]["kind"] == "StreamJob" {
            telling.add(EVENT, event["reason"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}

/// Puts fields over others.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.as_str()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Orders come in, and the job of `examples/kubernetes` is applied and Ready; results come.
fn open<'a>(story: &'a Story, stage: &'a Stage, name: &str) -> Result<(Job<'a>, Orders)> {
    let orders = Orders::start(story, stage, name, RATE)?;
    stage.apply(&stage.example("turnover", name)?)?;
    let job = Job::watch(story, stage, name, "turnover")?;
    job.is_ready(2)?;
    orders.flow(story, 30)?;
    Ok((job, orders))
}

/// All results are there, each once; nothing was said that cannot be true.
fn close(job: &Job, orders: Orders) -> Result<()> {
    orders.end(job.story)?;
    job.is_honest()
}
