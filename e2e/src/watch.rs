//! What a job says of itself, version by version, and whether it can be true.
//!
//! Received from: `kubectl get --watch`, again where it ends, as it does when the API server is
//! away. Handed to: [`crate::job::Job`], and what conditions say to [`crate::said`]. Invariant:
//! every version that the API server gave is checked; whoever reads the last one sees all that came
//! before as checked.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Deserializer, Value};

use crate::said::Telling;
use crate::stage::Stage;
use crate::story::{now, pause};

/// Before a watch that has ended begins anew.
const AGAIN: Duration = Duration::from_secs(1);

/// The conditions of a job: all are there from the first status on.
const CONDITIONS: [&str; 11] = [
    "Ready",
    "SpecValid",
    "SnapshotsHealthy",
    "StateRestored",
    "SourceCaughtUp",
    "WatermarkAdvancing",
    "Complete",
    "Reconciling",
    "Stalled",
    "Backpressured",
    "ReconciliationPaused",
];

/// Watches a job.
#[derive(Debug)]
pub struct Watch {
    kubectl: Arc<Mutex<Kubectl>>,
    seen: Arc<Mutex<Seen>>,
}

/// The process that watches.
#[derive(Debug, Default)]
struct Kubectl {
    process: Option<Child>,
    is_over: bool,
}

#[derive(Debug)]
struct Seen {
    last: Value,
    /// When each phase came, and each change of the condition `Ready`.
    course: Vec<(Instant, String)>,
    lies: Vec<String>,
    telling: Telling,
}

impl Watch {
    /// From now on.
    ///
    /// # Errors
    /// Where kubectl cannot be started.
    pub fn start(stage: &Stage, story: &str, namespace: &str, name: &str) -> Result<Self> {
        let mut command = stage.cluster.script("kubectl.sh");
        command.args(["get", "streamjob", name, "--watch", "--output=json"]);
        command.arg(format!("--namespace={namespace}"));
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let telling = stage.said.by(story);
        let (last, course, lies) = (Value::Null, Vec::new(), Vec::new());
        let seen = Arc::new(Mutex::new(Seen { last, course, lies, telling }));
        let kubectl = Arc::new(Mutex::new(Kubectl::default()));
        let mut output = begin(&mut command, &kubectl)?;
        let (told, of) = (Arc::clone(&seen), Arc::clone(&kubectl));
        std::thread::spawn(move || {
            while let Some(said) = output {
                let versions = Deserializer::from_reader(BufReader::new(said)).into_iter::<Value>();
                for version in versions.map_while(Result::ok) {
                    locked(&told).take(version);
                }
                pause(AGAIN);
                output = begin(&mut command, &of).ok().flatten();
            }
        });
        Ok(Self { kubectl, seen })
    }

    fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&locked(&self.seen))
    }

    /// The job as it was said last.
    pub fn last(&self) -> Value {
        self.seen(|it| it.last.clone())
    }

    /// The phases, and changes of `Ready`, since then.
    pub fn course(&self, since: Instant) -> Vec<(Instant, String)> {
        self.seen(|it| it.course.iter().filter(|(at, _)| *at >= since).cloned().collect())
    }

    /// That nothing was said which cannot be true.
    ///
    /// # Errors
    /// Where something was.
    pub fn is_honest(&self) -> Result<()> {
        match self.seen(|it| it.lies.first().cloned()) {
            None => Ok(()),
            Some(lie) => bail!("the status lied: {lie}"),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut kubectl = locked(&self.kubectl);
        kubectl.is_over = true;
        if let Some(process) = &mut kubectl.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn locked<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches, in place of a process that has ended; what it says, or nothing where that is over.
fn begin(command: &mut Command, kubectl: &Mutex<Kubectl>) -> Result<Option<ChildStdout>> {
    let mut kubectl = locked(kubectl);
    if kubectl.is_over {
        return Ok(None);
    }
    let mut next = command.spawn().context("cannot start kubectl")?;
    let output = next.stdout.take();
    if let Some(mut before) = kubectl.process.replace(next) {
        let _ = before.wait();
    }
    Ok(output)
}

impl Seen {
    fn take(&mut self, job: Value) {
        // A watch that is broken off ends with why.
        if job["kind"] != "StreamJob" {
            return;
        }
        let (before, status) = (&self.last["status"], &job["status"]);
        if !status.is_null() {
            self.lies.extend(lies(before, &job));
            self.telling.takes(status);
            for (what, old, new) in [
                ("", phase(before), phase(status)),
                ("Ready ", condition(before, "Ready"), condition(status, "Ready")),
            ] {
                if old != new {
                    self.course.push((now(), format!("{what}{new}")));
                }
            }
        }
        self.last = job;
    }
}

fn phase(status: &Value) -> String {
    status["phase"].as_str().unwrap_or("none").to_owned()
}

/// `True`, `False` or `Unknown`.
pub fn condition(status: &Value, name: &str) -> String {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let it = all.iter().find(|it| it["type"] == name);
    it.and_then(|it| it["status"].as_str()).unwrap_or("missing").to_owned()
}

/// What of a status cannot be true, whatever happens.
fn lies(before: &Value, job: &Value) -> Vec<String> {
    let status = &job["status"];
    let mut lies = Vec::new();
    let mut say = |is_lie: bool, what: &str| {
        if is_lie {
            lies.push(format!("{what}: {status}, before it {before}"));
        }
    };
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let there: BTreeSet<_> = all.iter().filter_map(|it| it["type"].as_str()).collect();
    say(there != CONDITIONS.into_iter().collect(), "a condition is missing, or too many");
    let number = |status: &Value, at: &str| status.pointer(at).and_then(Value::as_i64);
    let generation = number(job, "/metadata/generation");
    say(number(status, "/observedGeneration") > generation, "a generation is seen that is not");
    for rises in ["/observedGeneration", "/run", "/restarts", "/lastSnapshot/epoch"] {
        let (old, new) = (number(before, rises), number(status, rises));
        say(old.is_some() && new < old, &format!("{rises} has fallen"));
    }
    let (workers, ready) = (number(status, "/workers"), number(status, "/readyWorkers"));
    say(ready > workers, "more workers are ready than there are");
    let shown = status["ready"].as_str().and_then(|it| it.split_once('/'));
    let shown = shown.and_then(|(ready, wanted)| Some((ready.parse().ok()?, wanted.parse().ok()?)));
    let wanted = shown.map(|it: (i64, i64)| it.1);
    say(
        shown.map(|it| it.0) != Some(ready.unwrap_or(0)),
        "ready is another number than readyWorkers",
    );
    if condition(status, "Ready") == "True" {
        say(status["phase"] != "Running", "Ready is True, and the job does not run");
        say(ready != wanted || ready < Some(1), "Ready is True, and a worker is not ready");
    }
    if status["phase"] == "Suspended" {
        say(workers != Some(0), "it is Suspended, and has workers");
    }
    lies
}
