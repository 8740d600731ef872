//! The jobs, and what they say of themselves.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::cluster::Cluster;
use millstream_e2e::story::Story;
use serde_json::{Value, json};

/// Where they are.
pub(crate) const NAMESPACE: &str = "thousand";
/// The folder of their store: in the sandbox it is in memory.
const STORE: &str = "/run/thousand";
/// How many there are, where nobody says otherwise.
const JOBS: u64 = 1000;
/// All of them are asked for at once, which takes the API server a while.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// In what order kubectl prints what of them is looked at.
const SHOWN: &str = "{range .items[*]}{.metadata.name} {.status.run} {.status.restarts} \
                     {.status.lastSnapshot.epoch} {.status.phase}{'\\n'}{end}";

/// The jobs.
pub(crate) struct Jobs<'a> {
    cluster: &'a Cluster,
    pub(crate) count: u64,
}

/// One of them, by its status.
#[derive(Debug)]
pub(crate) struct Job {
    run: u64,
    restarts: u64,
    epoch: u64,
    phase: String,
}

impl<'a> Jobs<'a> {
    /// None is there yet; their namespace is.
    pub(crate) fn new(cluster: &'a Cluster) -> Result<Self> {
        cluster.kubectl(&["create", "namespace", NAMESPACE])?;
        let count = match std::env::var("MILLSTREAM_JOBS") {
            Ok(count) => count.parse().context("MILLSTREAM_JOBS is a number")?,
            Err(_) => JOBS,
        };
        Ok(Self { cluster, count })
    }

    /// Creates all.
    pub(crate) fn create(&self) -> Result<()> {
        let items: Vec<Value> = (0..self.count).map(job).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let mut kubectl = self.cluster.script("kubectl.sh");
        let kubectl = kubectl.args(["create", "--filename=-"]).stdin(Stdio::piped());
        let mut kubectl = kubectl.stdout(Stdio::null()).spawn()?;
        let mut input = kubectl.stdin.take().context("it reads nothing")?;
        input.write_all(list.to_string().as_bytes())?;
        drop(input);
        ensure!(kubectl.wait()?.success(), "kubectl create failed");
        Ok(())
    }

    /// All of them, as they are now.
    pub(crate) fn all(&self) -> Result<BTreeMap<String, Job>> {
        let (namespace, shown) = (format!("--namespace={NAMESPACE}"), format!("jsonpath={SHOWN}"));
        let text = self.cluster.kubectl(&[&namespace, "get", "sj", "--output", &shown])?;
        let jobs = text.lines().map(|line| {
            let parts: Vec<&str> = line.split(' ').collect();
            let [name, run, restarts, epoch, phase] = parts[..] else {
                anyhow::bail!("kubectl prints {line:?}");
            };
            let number = |text: &str| text.parse().unwrap_or(0);
            let (run, restarts, epoch) = (number(run), number(restarts), number(epoch));
            Ok((name.to_owned(), Job { run, restarts, epoch, phase: phase.to_owned() }))
        });
        jobs.collect()
    }

    fn are(
        &self,
        story: &Story,
        is: impl Fn(&str, &Job) -> bool,
    ) -> Result<std::result::Result<(), String>> {
        story.wait(ASK_EVERY);
        let count = self.all()?.iter().filter(|(name, job)| is(name, job)).count() as u64;
        Ok(if count == self.count { Ok(()) } else { Err(format!("{count} have")) })
    }

    /// Whether all have so many snapshots.
    pub(crate) fn have(
        &self,
        story: &Story,
        snapshots: u64,
    ) -> Result<std::result::Result<(), String>> {
        self.are(story, |_, job| job.epoch >= snapshots)
    }

    /// Whether all have later snapshots than before.
    pub(crate) fn are_later(
        &self,
        story: &Story,
        before: &BTreeMap<String, Job>,
    ) -> Result<std::result::Result<(), String>> {
        self.are(story, |name, job| before.get(name).is_some_and(|it| job.epoch > it.epoch))
    }
}

/// That all run as they began, without a restart.
pub(crate) fn are_well(jobs: &BTreeMap<String, Job>) -> Result<()> {
    for (name, job) in jobs {
        let is_well = job.phase == "Running" && (job.run, job.restarts) == (1, 0);
        ensure!(is_well, "{name} is {job:?}");
    }
    Ok(())
}

/// The n-th job: a record a second, counted by ten keys, and a snapshot every ten seconds. Its pods
/// are for a scheduler that is not there.
fn job(n: u64) -> Value {
    let pod = json!({
        "schedulerName": "nobody",
        "volumes": [{"name": "store", "hostPath": {"path": STORE}}],
        "containers": [{
            "name": "worker",
            "volumeMounts": [{"name": "store", "mountPath": STORE}],
        }],
    });
    json!({
        "apiVersion": "millstream.dev/v1alpha1",
        "kind": "StreamJob",
        "metadata": {"name": format!("job-{n:04}"), "namespace": NAMESPACE},
        "spec": {
            "program": {"name": "counter", "args": {"keys": "10", "recordsPerSecond": "1"}},
            "workers": 1,
            "threadsPerWorker": 1,
            "snapshots": {"store": format!("file://{STORE}"), "interval": "10s"},
            "podTemplate": {"spec": pod},
        },
    })
}
