//! [`Life`]: one process of the job, from its start to its end or until it is killed.
//!
//! Started by [`crate::story`]; what it says on standard error comes through a thread, so that
//! every wait is for a line or the end of them, with a bound. Invariant: a process never outlives
//! its `Life`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use crate::story::Failed;

/// Lines that wait to be read. A process that says more is held up, not lost.
const LINES: usize = 1024;
/// How long anything may take that is waited for, on a machine with much else to do.
const BOUND: Duration = Duration::from_mins(1);

/// What every process says once its tasks run.
const RUNNING: [&str; 2] = ["resumes from snapshot", "starts from an empty state"];
/// What none may say, unless another process takes its job.
const RESTARTS: &str = " restarts (attempt ";

/// How a process ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Its exit code; none if it was killed.
    pub(crate) code: Option<i32>,
    /// All that it said.
    pub(crate) said: String,
}

impl End {
    /// Whether it went on from a snapshot.
    pub(crate) fn resumed(&self) -> bool {
        self.said.contains(RUNNING[0])
    }
}

/// A process of the job.
pub(crate) struct Life {
    child: Child,
    lines: Receiver<String>,
    said: String,
    /// Another process takes its job, so it may fail and restart before it learns why.
    disturbed: bool,
}

impl Life {
    /// Starts the job in a file with so many threads.
    pub(crate) fn start(job: &Path, threads: u32, rate: u64) -> Result<Self, Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("run")
            .arg(job)
            // One test has two of them at a time.
            .arg("--take-over")
            .args(["--threads", &threads.to_string()])
            .args(["--set", &format!("spec.program.args.rate={rate}")])
            .env("MILLSTREAM_LOG", "info")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = child.stderr.take().expect("it was piped");
        let (sender, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, said: String::new(), disturbed: false })
    }

    /// Lets it fail: somebody else will take its job.
    pub(crate) fn disturb(&mut self) {
        self.disturbed = true;
    }

    /// Waits until its tasks run; false if it ended before.
    pub(crate) fn wait_running(&mut self) -> Result<bool, Failed> {
        self.wait(BOUND, |line| RUNNING.iter().any(|said| line.contains(said)))
            .and_then(|wait| wait.ok_or_else(|| self.slow("run")))
    }

    /// Lets it go on for so long; false if it ended before.
    pub(crate) fn go_on(&mut self, time: Duration) -> Result<bool, Failed> {
        Ok(self.wait(time, |_| false)?.is_none())
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> Result<End, Failed> {
        self.child.kill()?;
        self.end()
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> Result<End, Failed> {
        if self.wait(BOUND, |_| false)?.is_none() {
            return Err(self.slow("end"));
        }
        // Its standard error is closed, so it has nothing left to do but to exit.
        let code = self.child.wait()?.code();
        Ok(End { code, said: std::mem::take(&mut self.said) })
    }

    /// Waits for a line: true when it came, false when there are no more, none after the time.
    #[expect(clippy::disallowed_methods, reason = "the bound of a wait for another process")]
    fn wait(
        &mut self,
        time: Duration,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<Option<bool>, Failed> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said += &line;
                    self.said.push('\n');
                    if line.contains(RESTARTS) && !self.disturbed {
                        let said = &self.said;
                        return Err(Failed(format!("the job failed by itself; it said:\n{said}")));
                    }
                    if is_it(&line) {
                        return Ok(Some(true));
                    }
                }
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Ok(Some(false)),
            }
        }
    }

    fn slow(&self, what: &str) -> Failed {
        Failed(format!("it did not {what} within {BOUND:?}; it said:\n{}", self.said))
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Both fail for one that has ended: all is well then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
