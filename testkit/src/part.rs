//! [`Part`]: a process with a folder of its own, gone without a trace when the test is.
//!
//! Started by the parts of this crate. Invariant: when the test process ends, in whatever way, the
//! part's process is killed and its folder removed: a guard waits for the end of a pipe that only
//! the test process holds open.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// Reads process ids, the last of which counts, until the end of its input; none is an empty line.
/// `$@` is what to remove: the folder, and whatever the part keeps elsewhere.
const GUARD: &str = r#"while read -r line; do pid=$line; done
[ -z "$pid" ] || kill -9 "$pid"; sleep 0.1; rm -rf "$@""#;

/// How often it is looked whether a part is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How many looks a part is given: two minutes, for a machine that does much else.
const LOOKS: u32 = 6000;

/// Ports that no system gives to whoever connects: on Linux those begin at 32768.
const SERVERS: Range<u16> = 16_000..32_000;

/// A process with a folder of its own.
pub(crate) struct Part {
    name: &'static str,
    process: Child,
    guard: Child,
    /// Open as long as the part is wanted.
    wanted: Option<ChildStdin>,
    folder: PathBuf,
}

/// A folder for a part: removed by its guard.
pub(crate) fn folder(name: &str) -> TempDir {
    tempfile::Builder::new().prefix(&format!("millstream-{name}-")).tempdir().unwrap()
}

fn spawn(mut command: Command, folder: &Path) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    command.current_dir(folder).stdin(Stdio::null()).process_group(0);
    command.stdout(log.try_clone().unwrap()).stderr(log);
    // Temporary files of its own lie in the folder too.
    command.env("TMPDIR", folder);
    command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"))
}

impl Part {
    /// Starts a command. Its output goes to `log` in the folder; `outside` is what it keeps
    /// elsewhere.
    pub(crate) fn start(
        name: &'static str,
        folder: TempDir,
        command: Command,
        outside: &[PathBuf],
    ) -> Self {
        let folder = folder.keep();
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, "guard"]).arg(&folder).args(outside);
        // Outside the terminal's group: Ctrl-C is for the test, whose end the guard then sees.
        guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = guard.spawn().unwrap();
        let mut wanted = guard.stdin.take().expect("it is piped");
        let process = spawn(command, &folder);
        writeln!(wanted, "{}", process.id()).unwrap();
        Self { name, process, guard, wanted: Some(wanted), folder }
    }

    /// Kills the process; its files stay.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.tell_guard("");
    }

    /// Starts a command after [`Part::kill`], in the same folder.
    pub(crate) fn restart(&mut self, command: Command) {
        self.process = spawn(command, &self.folder);
        self.tell_guard(&self.process.id().to_string());
    }

    fn tell_guard(&self, process: &str) {
        let mut wanted = self.wanted.as_ref().expect("it is taken at the end alone");
        writeln!(wanted, "{process}").unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until the part is ready. `Err` with its last words where it ends before that.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<(), String> {
        for _ in 0..LOOKS {
            if ready() {
                return Ok(());
            }
            if self.process.try_wait().unwrap().is_some() {
                return Err(format!("{} ended:\n{}", self.name, self.last_words()));
            }
            #[expect(clippy::disallowed_methods, reason = "another process rings no bell here")]
            thread::sleep(LOOK_EVERY);
        }
        Err(format!("{} does not become ready:\n{}", self.name, self.last_words()))
    }

    fn last_words(&self) -> String {
        let log = fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.wanted.take());
        let _ = self.guard.wait();
        let _ = self.process.wait();
    }
}

/// Ports of loopback that nothing listens on, one after the other. Another process may take one
/// before it is used: whoever starts a part tries again with others.
///
/// None is one of those that the system gives to whoever connects: there, a client that tries to
/// reach a server that is not up yet can be given the server's port, which then cannot start.
///
/// # Panics
/// Where there are none.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listen = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    for _ in 0..LOOKS {
        let first = rand::random_range(SERVERS);
        let ports: [u16; N] = std::array::from_fn(|at| first + u16::try_from(at).unwrap());
        // All held at once: else the first may be taken while the last is tried.
        let held = ports.map(listen);
        if held.iter().all(Result::is_ok) {
            return ports;
        }
    }
    panic!("no {N} free ports in a row in {SERVERS:?}");
}
