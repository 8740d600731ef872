//! A cluster of three nodes for as long as this value lives: `e2e/cluster/serve.sh`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// A cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    /// Closed, it takes the cluster away.
    input: Option<ChildStdin>,
    server: Child,
    variables: BTreeMap<String, String>,
}

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a command to its end; its output, or why it failed.
///
/// # Errors
/// Where it cannot be started, or fails: with what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Cluster {
    /// Starts one; half a minute.
    ///
    /// # Errors
    /// Where it does not come up: why is on standard error.
    pub fn start() -> Result<Self> {
        let mut server = Command::new(repository().join("e2e/cluster/serve.sh"))
            .env_remove("MILLSTREAM_CLUSTER")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start e2e/cluster/serve.sh")?;
        let input = server.stdin.take();
        let said = server.stdout.take().context("it says nothing")?;
        let mut variables = BTreeMap::new();
        for line in BufReader::new(said).lines() {
            let line = line?;
            if line == "READY" {
                return Ok(Self { input, server, variables });
            }
            if let Some((name, value)) = line.split_once('=') {
                variables.insert(name.to_owned(), value.to_owned());
            }
        }
        bail!("the cluster did not start")
    }

    /// What the API server was asked for until now: a value for each request that has begun, and
    /// one for each that has ended.
    ///
    /// # Errors
    /// Where its log cannot be read.
    pub fn requests(&self) -> Result<Vec<serde_json::Value>> {
        self.requests_behind(0)
    }

    /// The same, behind so many bytes of the log.
    ///
    /// # Errors
    /// Where its log cannot be read, or was begun anew since.
    pub fn requests_behind(&self, bytes: u64) -> Result<Vec<serde_json::Value>> {
        let path = self.audit_log()?;
        let told = || format!("cannot read {path}");
        let mut file = File::open(path).with_context(told)?;
        ensure!(bytes <= file.metadata()?.len(), "{path} was begun anew");
        file.seek(SeekFrom::Start(bytes))?;
        let mut log = Vec::new();
        file.read_to_end(&mut log).with_context(told)?;
        // The last line may be on its way, and the first one was on it.
        let end = log.iter().rposition(|it| *it == b'\n').map_or(0, |at| at + 1);
        let begin =
            if bytes == 0 { 0 } else { log.iter().position(|it| *it == b'\n').unwrap_or(0) };
        let lines = log[begin..end].split(|it| *it == b'\n').filter(|it| !it.is_empty());
        lines.map(|it| Ok(serde_json::from_slice(it)?)).collect()
    }

    /// How many bytes its log has.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn requests_bytes(&self) -> Result<u64> {
        Ok(File::open(self.audit_log()?)?.metadata()?.len())
    }

    fn audit_log(&self) -> Result<&str> {
        self.variables.get("AUDIT_LOG").map(String::as_str).context("there is no AUDIT_LOG")
    }

    /// A script in `e2e/cluster/`, for this cluster.
    pub fn script(&self, name: &str) -> Command {
        let mut command = Command::new(repository().join("e2e/cluster").join(name));
        command.envs(&self.variables).stdin(Stdio::null());
        command
    }

    /// Runs kubectl; what it prints.
    ///
    /// # Errors
    /// Where it fails: with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run(self.script("kubectl.sh").args(arguments))
    }

    /// Runs kubectl, and reads what it prints as JSON.
    ///
    /// # Errors
    /// Where it fails, or prints something else.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = self.kubectl(&[arguments, &["--output=json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} prints no JSON"))
    }

    /// Kills all processes of a pod, by its UID, as `kill -9` does.
    ///
    /// # Errors
    /// Where there are none.
    pub fn kill_in_pod(&self, uid: &str) -> Result<()> {
        let kill = "found=1; for it in /proc/[0-9]*; do
            if grep -qs \"pod$0/\" \"$it/cgroup\" && [ \"$(cat \"$it/comm\")\" != pause ]; then
                kill -9 \"${it#/proc/}\" && found=0
            fi
        done; exit $found";
        run(self.script("enter.sh").args(["bash", "-c", kill, uid]))?;
        Ok(())
    }

    /// Sends a signal to a part of the cluster. One that ends begins anew a second later.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn signal(&self, part: &str, signal: &str) -> Result<()> {
        run(self.script("enter.sh").args(["pkill", &format!("-{signal}"), "-x", part]))?;
        Ok(())
    }

    /// How many records all tasks at these addresses have taken in, as they say it themselves: the
    /// API server is not asked.
    ///
    /// # Errors
    /// Where one does not answer.
    pub fn records_in(&self, addresses: &[String]) -> Result<u64> {
        let ask = "exec 3<>/dev/tcp/$0/9100
            printf 'GET /metrics HTTP/1.1\\r\\nHost: worker\\r\\nConnection: close\\r\\n\\r\\n' >&3
            cat <&3";
        let mut records = 0;
        for address in addresses {
            let said =
                run(self.script("enter.sh").args(["timeout", "5", "bash", "-c", ask, address]))?;
            let lines =
                said.lines().filter(|it| it.starts_with("millstream_task_records_in_total{"));
            let counts = lines.filter_map(|it| it.rsplit_once(' ')?.1.parse::<u64>().ok());
            records += counts.sum::<u64>();
        }
        Ok(records)
    }

    /// Runs helm, in the repository's folder.
    ///
    /// # Errors
    /// Where it fails: with what it said.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.script("enter.sh");
        run(command.arg("helm").args(arguments).current_dir(repository()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.server.wait();
    }
}
