//! [`Life`]: a process of what is tested, from its start to its end or until it is killed.
//!
//! Started by a test, which hears what it says on standard error. Invariants: every wait has a
//! bound; a process never outlives its `Life`, nor the process of the test, in whatever way that
//! ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Lines that wait to be read: more than any process says. One that says more is held up, not lost.
const LINES: usize = 1 << 16;

/// How long anything may take that is waited for. It takes seconds; a busy machine is given time.
const PATIENCE: Duration = Duration::from_mins(3);

/// Kills the process, unless it is told to leave it: `$1` is its id.
const GUARD: &str = r#"read -r leave || kill -9 "$1""#;

/// A process.
pub struct Life {
    child: Child,
    lines: Receiver<String>,
    said: String,
    guard: Child,
    /// Open as long as the test lives.
    wanted: ChildStdin,
}

/// How a process ended.
#[derive(Debug)]
pub struct End {
    /// Its exit code; none if it was killed.
    pub code: Option<i32>,
    /// All that it said on standard error.
    pub said: String,
}

impl Life {
    /// Starts a command, outside of the terminal's group: Ctrl-C is for the test.
    ///
    /// # Panics
    /// Where it cannot be started.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard", &child.id().to_string()]).process_group(0);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = guard.spawn().unwrap();
        let wanted = guard.stdin.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let (sender, lines) = sync_channel(LINES);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, said: String::new(), guard, wanted }
    }

    /// Waits until it says this; false where it ends before.
    ///
    /// # Panics
    /// Where it does neither for three minutes.
    pub fn wait_for(&mut self, text: &str) -> bool {
        let said = self.wait(PATIENCE, |line| line.contains(text));
        said.unwrap_or_else(|| panic!("for {PATIENCE:?} no {text:?} after:\n{}", self.said))
    }

    /// Lets it go on for so long; false where it ends before.
    pub fn go_on(&mut self, time: Duration) -> bool {
        self.wait(time, |_| false).is_none()
    }

    /// What it has said, as far as it was waited for.
    pub fn said(&self) -> &str {
        &self.said
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, as `kill -NAME` does.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(mut self) -> End {
        // It fails for one that has ended: its code tells.
        let _ = self.child.kill();
        self.finish()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// Where it does not for three minutes.
    pub fn end(self) -> End {
        self.finish()
    }

    fn finish(mut self) -> End {
        let ended = self.wait(PATIENCE, |_| false);
        assert_eq!(ended, Some(false), "for {PATIENCE:?} it does not end:\n{}", self.said);
        // Its standard error is closed, so it has nothing left to do but to exit.
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
        let _ = writeln!(self.wanted, "leave");
        let _ = self.guard.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Life {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Life::start(command)
    }

    #[test]
    fn what_a_process_says_is_heard_and_how_it_ends_is_told() {
        let mut life = shell("echo one >&2; echo two >&2; exit 7");
        assert!(life.wait_for("one"));
        assert_eq!(life.said(), "one\n");
        assert!(!life.wait_for("three"), "it ends");
        let end = life.end();
        assert_eq!((end.code, end.said.as_str()), (Some(7), "one\ntwo\n"));
    }

    #[test]
    fn a_process_is_killed_and_one_that_has_ended_was_not() {
        let mut life = shell("echo here >&2; exec sleep 1000");
        assert!(life.wait_for("here"));
        assert!(life.go_on(Duration::from_millis(1)));
        assert_eq!(life.kill().code, None);
        let mut life = shell("exit 3");
        assert!(!life.go_on(PATIENCE));
        assert_eq!(life.kill().code, Some(3));
    }
}
