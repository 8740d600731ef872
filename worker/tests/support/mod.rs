//! A directory with a job file in it, and runs of a binary there. Every wait has a bound.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// How long a run may take. It takes a second; a busy machine is given time.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Lines of standard error that wait to be looked at: more than any run says.
const LINES: usize = 4096;

/// Set for a binary that is to be the worker: a test's own binary is asked by it.
pub const ROLE: &str = "MILLSTREAM_TEST_ROLE";

/// A directory with a job file in it.
pub struct Place {
    directory: TempDir,
    binary: PathBuf,
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Ended with this code, and the one line of standard error that says why.
    #[track_caller]
    pub fn refused(&self, code: i32, reason: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.err, format!("error: {reason}\n"));
        assert_eq!(self.out, "");
    }
}

impl Place {
    /// With this job in `job.yaml`. The binary is run there, its store is `state`.
    pub fn new(binary: &Path, job: &str) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap(), binary: binary.to_owned() };
        place.write("job.yaml", job);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Running::start(self, args).end()
    }

    /// Runs until a line of standard error holds this text, then stops as Ctrl-C does.
    pub fn run_until(&self, text: &str, args: &[&str]) -> Ran {
        self.run_until_then(text, args, || ())
    }

    /// As [`Place::run_until`], and does this before it stops the run.
    pub fn run_until_then(&self, text: &str, args: &[&str], then: impl FnOnce()) -> Ran {
        let mut running = Running::start(self, args);
        running.wait_for(text);
        then();
        running.interrupt();
        running.end()
    }

    #[allow(dead_code, reason = "a job in one process ends with it")]
    /// Runs to the end, and does this when a line of standard error holds this text.
    pub fn run_through(&self, text: &str, args: &[&str], then: impl FnOnce()) -> Ran {
        let mut running = Running::start(self, args);
        running.wait_for(text);
        then();
        running.end()
    }

    /// Every file of the store below a job's place, with its bytes, by its name there.
    pub fn objects(&self, job: &str) -> BTreeMap<String, Vec<u8>> {
        let root = self.path("state/default").join(job);
        let mut objects = BTreeMap::new();
        collect(&root, &root, &mut objects);
        objects
    }
}

fn collect(root: &Path, directory: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, into);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            into.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// A run under way.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    out: Receiver<String>,
    seen: String,
}

impl Running {
    pub fn start(place: &Place, args: &[&str]) -> Self {
        Self::start_with(place, args, &[])
    }

    /// The same with more variables.
    pub fn start_with(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(&place.binary);
        command.current_dir(place.directory.path()).args(args).stdin(Stdio::null());
        // A panic says where, and nothing more.
        command.env("MILLSTREAM_LOG", "info").env("RUST_BACKTRACE", "0").env(ROLE, "worker");
        command.envs(variables.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (err, mut out) = (child.stderr.take().unwrap(), child.stdout.take().unwrap());
        let (say_line, lines) = sync_channel(LINES);
        thread::spawn(move || {
            for line in BufReader::new(err).lines() {
                let Ok(()) = say_line.send(line.unwrap()) else { return };
            }
        });
        let (say_out, said_out) = sync_channel(1);
        thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            let _ = say_out.send(text);
        });
        Self { child, lines, out: said_out, seen: String::new() }
    }

    /// The next line; none where there will be no more.
    fn line(&mut self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.seen += &line;
                self.seen.push('\n');
                Some(line)
            }
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                panic!("no word for {PATIENCE:?} after:\n{}", self.seen);
            }
        }
    }

    #[allow(dead_code, reason = "few tests ask")]
    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// As Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal("-INT");
    }

    #[allow(dead_code, reason = "few tests are so impatient")]
    #[expect(clippy::disallowed_methods, reason = "a moment is what is to pass")]
    /// The same once more, by hand: what comes at once is the same signal.
    pub fn interrupt_again(&self) {
        thread::sleep(Duration::from_millis(150));
        self.interrupt();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Returns when a line of standard error holds this text.
    pub fn wait_for(&mut self, text: &str) {
        loop {
            match self.line() {
                Some(line) if line.contains(text) => return,
                Some(_) => {}
                None => panic!("{text:?} is not among:\n{}", self.seen),
            }
        }
    }

    /// Waits for the end.
    pub fn end(mut self) -> Ran {
        while self.line().is_some() {}
        let code = self.child.wait().unwrap().code();
        Ran { code, out: self.out.recv_timeout(PATIENCE).unwrap(), err: self.seen }
    }
}
