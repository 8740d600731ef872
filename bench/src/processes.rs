//! A job of this program's own, run by `run --workers` as a user would.
//!
//! Used by the cases of [`crate::costs`] and the workloads of [`crate::ours`] that need more than
//! one process. This program is the workers' as well: with [`ROLE`] set it has the programs below.
//! Invariant: a job does not outlive its [`JobRun`].

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use millstream_worker::programs;

use crate::costs::latency::beats;
use crate::costs::recovery::large_state;
use crate::ours::shuffle_grpc::shuffle_grpc;
use crate::runner::THIS_PROGRAM;

/// Set where this program is to be a worker's.
pub const ROLE: &str = "MILLSTREAM_BENCH_WORKER";

/// What the job is called, and its file.
pub(crate) const JOB: &str = "bench";
const JOB_FILE: &str = "job.yaml";
/// How often it is looked for what a job does.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// How often at most: four minutes.
const LOOKS_MAX: u32 = 120_000;

/// What a process with [`ROLE`] does.
pub fn worker() -> ExitCode {
    millstream_worker::main(programs![beats, large_state, shuffle_grpc])
}

/// What to run: a program of [`worker`], its arguments, and how often it takes a snapshot.
pub(crate) struct Spec<'a> {
    pub(crate) program: &'a str,
    pub(crate) args: &'a [(&'a str, String)],
    pub(crate) interval: &'a str,
}

impl Spec<'_> {
    /// Writes the job's file into a folder, which also takes its snapshots.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        let Self { program, args, interval } = self;
        let args = args.iter().map(|(name, value)| format!("{name}: '{value}'"));
        let args = args.collect::<Vec<_>>().join(", ");
        let job = format!(
            "apiVersion: millstream.dev/v1alpha1\n\
             kind: StreamJob\n\
             metadata: {{name: {JOB}}}\n\
             spec:\n  \
               program: {{name: {program}, args: {{{args}}}}}\n  \
               snapshots: {{store: 'file://store', interval: {interval}}}\n  \
               restart: {{initialBackoff: 100ms}}\n"
        );
        fs::write(folder.join(JOB_FILE), job).context("write the job's file")
    }
}

/// A job under way.
pub(crate) struct JobRun<'a> {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    folder: &'a Path,
}

impl<'a> JobRun<'a> {
    /// Starts what [`Spec::write`] wrote, on so many workers of a thread each.
    pub(crate) fn start(folder: &'a Path, workers: u32) -> anyhow::Result<Self> {
        let mut command = command(folder, "run");
        command.args(["--threads", "1", "--workers", &workers.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start the job")?;
        let stderr = child.stderr.take().context("its standard error")?;
        Ok(Self { child, lines: BufReader::new(stderr).lines(), folder })
    }

    /// Returns when so many lines have held this text; with all that was said since the last time.
    pub(crate) fn wait_for(&mut self, text: &str, times: usize) -> anyhow::Result<String> {
        let mut said = String::new();
        let mut left = times;
        while left > 0 {
            let Some(line) = self.lines.next() else { bail!("the job ended: {said}") };
            let line = line?;
            // Processes that speak at the same moment may do so in one line.
            left = left.saturating_sub(line.matches(text).count());
            said += &line;
            said.push('\n');
        }
        Ok(said)
    }

    /// Looks again and again until there is something to see.
    pub(crate) fn wait_until<T>(
        &mut self,
        mut look: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        for _ in 0..LOOKS_MAX {
            if let Some(seen) = look()? {
                return Ok(seen);
            }
            ensure!(self.child.try_wait()?.is_none(), "the job ended: {}", self.last_words());
            std::thread::park_timeout(LOOK_EVERY);
        }
        bail!("the job does not come to it")
    }

    /// Lets it go on with another number of workers; returns what the command says.
    pub(crate) fn scale(&self, workers: u32) -> anyhow::Result<String> {
        let mut command = command(self.folder, "scale");
        let output = command.args(["--workers", &workers.to_string()]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "it does not scale: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Kills one of its workers.
    pub(crate) fn kill_worker(&self, worker: u32) -> anyhow::Result<()> {
        let parent = format!("PPid:\t{}", self.child.id());
        let name = format!("/millstream-worker-{worker}-");
        for process in fs::read_dir("/proc")?.flatten() {
            let path = process.path();
            let read = |file| fs::read_to_string(path.join(file)).unwrap_or_default();
            if read("status").lines().any(|line| line == parent) && read("cmdline").contains(&name)
            {
                return signal("-KILL", &process.file_name().to_string_lossy());
            }
        }
        bail!("worker {worker} is not there")
    }

    /// Stops it behind a last snapshot.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        signal("-TERM", &self.child.id().to_string())?;
        self.finish()
    }

    /// Sees it to its end.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let said = self.last_words();
        ensure!(self.child.wait()?.success(), "it does not end well: {said}");
        Ok(())
    }

    fn last_words(&mut self) -> String {
        let said: Vec<_> = self.lines.by_ref().map_while(Result::ok).collect();
        said.join("\n")
    }
}

impl Drop for JobRun<'_> {
    fn drop(&mut self) {
        // Both fail for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path, what: &str) -> Command {
    let mut command = Command::new(THIS_PROGRAM);
    command.args([what, JOB_FILE]).current_dir(folder);
    command.env(ROLE, "1").env("MILLSTREAM_LOG", "info");
    command
}

fn signal(signal: &str, process: &str) -> anyhow::Result<()> {
    ensure!(Command::new("kill").args([signal, process]).status()?.success(), "cannot signal");
    Ok(())
}
