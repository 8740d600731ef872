//! A job on the stage: what is done to it, and what it says of itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::stage::Stage;
use crate::story::{Story, now};
use crate::watch::{Watch, condition};

/// A job that is watched.
#[derive(Debug)]
pub struct Job<'a> {
    /// The story that it is in.
    pub story: &'a Story,
    /// Where it is told.
    pub stage: &'a Stage,
    namespace: String,
    name: &'static str,
    watch: Watch,
}

impl<'a> Job<'a> {
    /// Watches a job that has been applied.
    ///
    /// # Errors
    /// Where it cannot be watched.
    pub fn watch(
        story: &'a Story,
        stage: &'a Stage,
        namespace: &str,
        name: &'static str,
    ) -> Result<Self> {
        let watch = Watch::start(stage, story.name(), namespace, name)?;
        Ok(Self { story, stage, namespace: namespace.to_owned(), name, watch })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        self.name
    }

    /// kubectl, in the job's namespace.
    ///
    /// # Errors
    /// Where it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let namespace = format!("--namespace={}", self.namespace);
        self.stage.cluster.kubectl(&[&[namespace.as_str()], arguments].concat())
    }

    /// Its status as it was said last.
    pub fn status(&self) -> Value {
        self.watch.last()["status"].take()
    }

    /// Changes its spec.
    ///
    /// # Errors
    /// Where the API server refuses that.
    pub fn patch(&self, spec: &Value) -> Result<()> {
        let patch = serde_json::json!({ "spec": spec }).to_string();
        self.kubectl(&["patch", "streamjob", self.name, "--type=merge", "--patch", &patch])?;
        Ok(())
    }

    /// `kubectl scale`.
    ///
    /// # Errors
    /// Where the API server refuses that.
    pub fn scale(&self, workers: u32) -> Result<()> {
        let (job, workers) = (format!("streamjob/{}", self.name), format!("--replicas={workers}"));
        self.kubectl(&["scale", &job, &workers])?;
        Ok(())
    }

    /// Waits until its status says something.
    ///
    /// # Errors
    /// Where it does not in so many seconds.
    pub fn until(
        &self,
        seconds: u64,
        what: &str,
        look: impl Fn(&Value) -> Result<(), String>,
    ) -> Result<Duration> {
        self.story.until(seconds, what, || Ok(look(&self.status())))
    }

    /// Waits until it is Ready by the spec that was written last, with so many workers.
    ///
    /// # Errors
    /// Where it is not in a minute and a half.
    pub fn is_ready(&self, workers: u64) -> Result<()> {
        let what = format!("Ready with {workers} workers");
        self.story.until(90, &what, || {
            let job = self.watch.last();
            let newest = &job["metadata"]["generation"];
            Ok(ready(&job["status"], workers).and_then(|()| in_force(&job["status"], newest)))
        })?;
        Ok(())
    }

    /// Waits until phases have come, in this order, since then, others between them.
    ///
    /// # Errors
    /// Where they have not in so many seconds.
    pub fn has_been(&self, seconds: u64, since: Instant, phases: &[&str]) -> Result<()> {
        self.story.until(seconds, &format!("it was {}", phases.join(", ")), || {
            let course = self.watch.course(since);
            let mut all = course.iter();
            let found = phases.iter().all(|phase| all.any(|(_, it)| it == phase));
            let seen = || course.iter().map(|(_, it)| it.clone()).collect::<Vec<_>>().join(", ");
            Ok(if found { Ok(()) } else { Err(seen()) })
        })?;
        Ok(())
    }

    /// The phases, and changes of `Ready`, since then.
    pub fn course(&self, since: Instant) -> Vec<String> {
        self.watch.course(since).into_iter().map(|(_, it)| it).collect()
    }

    /// Where its pods are reached.
    ///
    /// # Errors
    /// Where that cannot be asked.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let of_job = format!("--selector=millstream.dev/job={}", self.name);
        let addresses = "--output=jsonpath={.items[*].status.podIP}";
        let all = self.kubectl(&["get", "pods", &of_job, addresses])?;
        Ok(all.split_whitespace().map(str::to_owned).collect())
    }

    /// That all it has said can be true.
    ///
    /// # Errors
    /// Where something cannot.
    pub fn is_honest(&self) -> Result<()> {
        self.watch.is_honest()
    }

    /// This moment.
    pub fn now(&self) -> Instant {
        now()
    }
}

/// That a field of a status is as it should be.
///
/// # Errors
/// Where it is not: with the status.
pub fn is(status: &Value, field: &str, holds: impl Fn(&Value) -> bool) -> Result<(), String> {
    let value = status.pointer(field).unwrap_or(&Value::Null);
    if holds(value) { Ok(()) } else { Err(format!("{field} is {value} in {status}")) }
}

/// That a condition is `True`, `False` or `Unknown`, for this reason.
///
/// # Errors
/// Where it is not: with the status.
pub fn says(status: &Value, name: &str, value: &str, reason: &str) -> Result<(), String> {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_so = |it: &Value| it["type"] == name && it["status"] == value && it["reason"] == reason;
    let found = all.iter().any(is_so);
    if found { Ok(()) } else { Err(format!("{name} is not {value} for {reason} in {status}")) }
}

/// That the message of a condition has these words.
///
/// # Errors
/// Where one is not there: with the message.
pub fn words(status: &Value, condition: &str, words: &[&str]) -> Result<(), String> {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    let told = all.find(|it| it["type"] == condition);
    let message = told.and_then(|it| it["message"].as_str()).unwrap_or_default();
    match words.iter().find(|word| !message.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("{word:?} is not in {message:?}")),
    }
}

/// `kubectl wait --for=condition=Ready` would hold, with so many workers, all ready.
fn ready(status: &Value, workers: u64) -> Result<(), String> {
    is(status, "/ready", |it| *it == format!("{workers}/{workers}"))?;
    is(status, "/workers", |it| *it == workers)?;
    if condition(status, "Ready") == "True" {
        Ok(())
    } else {
        Err(format!("Ready is not True in {status}"))
    }
}

/// The spec of this generation is in force.
fn in_force(status: &Value, generation: &Value) -> Result<(), String> {
    is(status, "/observedGeneration", |it| it == generation)?;
    is(status, "/conditions", |it| {
        let all = it.as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().any(|it| it["type"] == "Ready" && it["observedGeneration"] == *generation)
    })
}
