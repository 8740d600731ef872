//! The operator: the binary that cargo has built, as a process in the sandbox with the rights that
//! the chart gives it; and what it costs.

use std::fmt;
use std::fs::{self, File};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::cluster::{Cluster, run};
use millstream_e2e::image::built;
use millstream_e2e::stage::{RELEASE, SYSTEM};
use millstream_e2e::story::Story;
use serde_json::json;
use tempfile::TempDir;

/// Where it answers.
const HEALTH: &str = "127.0.0.1:9180";
/// A look at it starts two processes.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Linux counts a process' time in these, whatever the machine.
const TICKS_PER_SECOND: u64 = 100;

/// What Linux calls it: no name is longer.
const NAME: &str = "millstream-oper";

#[expect(clippy::disallowed_methods, reason = "another process rings no bell")]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

/// By which profile it is built: that of this program.
pub(crate) fn profile() -> &'static str {
    if cfg!(debug_assertions) { "the profile dev" } else { "an optimised profile" }
}

/// The chart, without its pods.
pub(crate) struct Installed<'a> {
    cluster: &'a Cluster,
    folder: TempDir,
}

impl<'a> Installed<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Result<Self> {
        let namespace = format!("--namespace={SYSTEM}");
        cluster.helm(&[
            "install",
            RELEASE,
            "charts/millstream",
            &namespace,
            "--create-namespace",
            "--set=replicas=0",
        ])?;
        for kind in ["streamjobs", "streamsnapshots"] {
            let kind = format!("crd/{kind}.millstream.dev");
            let established = "--for=condition=Established";
            cluster.kubectl(&["wait", established, "--timeout=60s", &kind])?;
        }
        let token = ["create", "token", RELEASE, "--duration=24h", &namespace];
        let token = cluster.kubectl(&token)?.trim().to_owned();
        let mut config = cluster.json(&["config", "view", "--raw"])?;
        config["users"][0]["user"] = json!({ "token": token });
        let folder = TempDir::new().context("cannot make a temporary folder")?;
        fs::write(folder.path().join("kubeconfig"), config.to_string())?;
        Ok(Self { cluster, folder })
    }
}

/// One that runs. It ends with this value.
pub(crate) struct Operator<'a> {
    installed: &'a Installed<'a>,
    /// What has entered the sandbox for it.
    entered: Child,
    /// Its process; empty where there is none.
    id: String,
}

/// What a process holds, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    /// Since it began.
    pub(crate) most: u64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [now, most] = [self.now, self.most].map(|bytes| bytes as f64 / 1e6);
        write!(f, "{now:.1} MB, {most:.1} MB")
    }
}

impl<'a> Operator<'a> {
    pub(crate) fn start(installed: &'a Installed<'a>) -> Result<Self> {
        let path = |name| installed.folder.path().join(name);
        let log = File::options().create(true).append(true).open(path("log"))?;
        let entered = installed
            .cluster
            .script("enter.sh")
            // With as few open files as many a container begins with.
            .args(["prlimit", "--nofile=1024:", "env"])
            .arg(format!("KUBECONFIG={}", path("kubeconfig").display()))
            .arg(built()?.join("millstream-operator"))
            .args(["--namespace", SYSTEM, "--lease", RELEASE, "--health", HEALTH])
            .args(["--pod-name", "operator-0", "--worker-image", "worker:1"])
            .args(["--worker-fs-group", "65532", "--log-format", "json"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the operator")?;
        let mut operator = Self { installed, entered, id: String::new() };
        let entered = operator.entered.id().to_string();
        // The one that it has forked in the sandbox.
        for _ in 0..50 {
            let found = Command::new("pgrep").args(["--parent", &entered]).output()?;
            String::from_utf8_lossy(&found.stdout).trim().clone_into(&mut operator.id);
            if operator.id.lines().count() == 1 && operator.is_there() {
                return Ok(operator);
            }
            pause();
        }
        anyhow::bail!("the operator does not start: {}", operator.last_words())
    }

    /// Whether it is at work; what has entered the sandbox for it has another name.
    fn is_there(&self) -> bool {
        self.proc("comm").is_ok_and(|it| it.trim() == NAME)
    }

    fn proc(&self, file: &str) -> Result<String> {
        let path = format!("/proc/{}/{file}", self.id);
        fs::read_to_string(path).with_context(|| format!("it has ended: {}", self.last_words()))
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.installed.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let id = std::mem::take(&mut self.id);
        run(Command::new("kill").args(["-9", &id]))?;
        self.entered.wait()?;
        Ok(())
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = self.proc("status")?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|it| it.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kib.map(|it| it * 1024).with_context(|| format!("no {name} in {status}"))
        };
        Ok(Memory { now: value("VmRSS:")?, most: value("VmHWM:")? })
    }

    /// How long it has been at work.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = self.proc("stat")?;
        // Its name stands in brackets, whatever is in it.
        let fields = stat.rsplit_once(") ").map(|(_, it)| it.split(' ').collect::<Vec<_>>());
        let ticks = fields.and_then(|it| {
            let [user, system] = [it.get(11)?, it.get(12)?].map(|it| it.parse::<u64>().ok());
            Some(user? + system?)
        });
        let ticks = ticks.with_context(|| format!("no times in {stat}"))?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    /// Whether it works.
    pub(crate) fn leads(&self, story: &Story) -> Result<std::result::Result<(), String>> {
        self.shows(story, "millstream_operator_leader 1")
    }

    /// Whether so many jobs run.
    pub(crate) fn runs(&self, story: &Story, jobs: u64) -> Result<std::result::Result<(), String>> {
        self.shows(story, &format!("millstream_operator_jobs{{phase=\"Running\"}} {jobs}"))
    }

    /// Whether it has this line among its metrics.
    fn shows(&self, story: &Story, line: &str) -> Result<std::result::Result<(), String>> {
        story.wait(ASK_EVERY);
        ensure!(self.is_there(), "it has ended: {}", self.last_words());
        let mut curl = self.installed.cluster.script("enter.sh");
        curl.args(["curl", "--silent", "--fail", "--max-time", "5"]);
        let shown = run(curl.arg(format!("http://{HEALTH}/metrics")))?;
        if shown.lines().any(|it| it == line) {
            return Ok(Ok(()));
        }
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let near: Vec<&str> = shown.lines().filter(|it| it.starts_with(name)).collect();
        Ok(Err(near.join(", ")))
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            // It may have ended.
            let _ = self.kill();
        }
    }
}
