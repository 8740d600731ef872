//! [`Life`]: one process of the job. What it says comes through a thread, so that every wait has a
//! bound. Invariant: a process never outlives its `Life`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Lines that wait to be read. A process that says more is held up, not lost.
const LINES: usize = 1024;
/// How long anything may take that is waited for, on a machine with much else to do.
const BOUND: Duration = Duration::from_mins(2);

/// What every process says once its tasks run.
pub(crate) const RUNNING: &str = "s from ";

/// How a process ended.
#[derive(Debug)]
pub(crate) struct End {
    /// Its exit code; none if it was killed.
    pub(crate) code: Option<i32>,
    /// All that it said.
    pub(crate) said: String,
}

/// A process of the job.
pub(crate) struct Life {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

impl Life {
    pub(crate) fn start(job: &Path, threads: u32, rate: f64, sets: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("run")
            .arg(job)
            .args(["--threads", &threads.to_string()])
            .args(["--set", &format!("spec.program.args.rate={rate}")])
            .args(sets.iter().flat_map(|set| ["--set", set]))
            .env("MILLSTREAM_LOG", "info,librdkafka=off")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = sync_channel(LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits until it says this.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let said = self.wait(BOUND, |line| line.contains(text));
        assert_eq!(said, Some(true), "{text:?} is not among:\n{}", self.said);
    }

    /// Lets it go on for so long.
    pub(crate) fn go_on(&mut self, time: Duration) {
        let ended = self.wait(time, |_| false);
        assert_eq!(ended, None, "it ended by itself:\n{}", self.said);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.code().is_none(), "it had ended before: {status}:\n{}", self.said);
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> End {
        let ended = self.wait(BOUND, |_| false);
        assert_eq!(ended, Some(false), "it does not end:\n{}", self.said);
        let code = self.child.wait().unwrap().code();
        End { code, said: std::mem::take(&mut self.said) }
    }

    /// Waits for a line: true when it came, false when there are no more, none after the time.
    #[expect(clippy::disallowed_methods, reason = "the bound of a wait for another process")]
    fn wait(&mut self, time: Duration, is_it: impl Fn(&str) -> bool) -> Option<bool> {
        let until = Instant::now() + time;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said += &line;
                    self.said.push('\n');
                    if is_it(&line) {
                        return Some(true);
                    }
                }
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => return Some(false),
            }
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Both fail for one that has ended: all is well then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
