//! The process that starts a job's workers: how it ends, and that nothing of it is left then.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use support::Place;

const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: counts}
spec:
  program: {name: counter, args: {recordsPerSecond: '10000'}}
  snapshots: {store: 'file://state', interval: 300ms}
";

const RUN: [&str; 6] = ["run", "job.yaml", "--workers", "3", "--threads", "1"];

/// How often, and how many times, it is looked whether a process is gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: u32 = 200;

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_millstream-worker"))
}

fn place() -> Place {
    let place = Place::new(binary(), JOB);
    fs::create_dir(place.path("tmp")).unwrap();
    place
}

/// Starts it in a group of its own.
fn start(place: &Place) -> Child {
    let mut command = Command::new(binary());
    command.args(RUN).current_dir(folder(place)).process_group(0);
    command.env("TMPDIR", place.path("tmp")).env("MILLSTREAM_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn folder(place: &Place) -> PathBuf {
    place.path("job.yaml").parent().unwrap().canonicalize().unwrap()
}

/// How many processes of workers there are.
fn workers(place: &Place) -> usize {
    let folder = folder(place);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of_place = processes.filter(|process| {
        fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"serve"))
            && fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
    });
    of_place.count()
}

fn signal(signal: &str, target: &str) {
    assert!(Command::new("kill").args([signal, "--", target]).status().unwrap().success());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "moments of another process, and a bounded wait")]
fn no_worker_and_no_folder_outlives_one_that_is_killed_as_it_starts() {
    let place = place();
    for after in [5, 10, 20, 30, 50, 80, 100, 150, 200, 300] {
        let mut child = start(&place);
        sleep(Duration::from_millis(after));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let gone = (0..LOOKS).any(|_| {
        sleep(LOOK_EVERY);
        workers(&place) == 0
    });
    assert!(gone, "{} are left", workers(&place));
    // The next one clears up.
    let mut child = start(&place);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("starts from an empty state")));
    let folders = fs::read_dir(place.path("tmp")).unwrap().flatten();
    let of_workers =
        folders.filter(|it| it.file_name().to_string_lossy().starts_with("millstream-worker-"));
    assert_eq!(of_workers.count(), 3);
    signal("-KILL", &child.id().to_string());
    child.wait().unwrap();
}

#[test]
fn a_signal_to_all_processes_of_its_group_is_one_to_it() {
    for name in ["-INT", "-TERM"] {
        let place = place();
        let mut child = start(&place);
        let mut said = String::new();
        for line in BufReader::new(child.stderr.take().unwrap()).lines() {
            let line = line.unwrap();
            // Once, as `timeout` does it: a second one later on stops at once.
            if line.contains("starts from an empty state") {
                signal(name, &child.id().to_string());
                signal(name, &format!("-{}", child.id()));
            }
            said += &line;
            said.push('\n');
        }
        assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
        assert!(said.contains("stopped after snapshot ") && !said.contains(" WARN "), "{said}");
        assert_eq!(workers(&place), 0);
        // Where jobs are asked there is nobody any more.
        let left = fs::read_dir(place.path("tmp")).unwrap().flatten();
        let left: Vec<_> = left.filter(|it| fs::remove_dir(it.path()).is_err()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// What one says until it ends, which is told of its terminal's end twice as soon as it runs.
fn hung_up(mut child: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("starts from an empty state") {
            for _ in 0..2 {
                signal("-HUP", &format!("-{}", child.id()));
            }
        }
        // It goes on: so it is to be told otherwise.
        if line.contains(" INFO counts  in ") {
            signal("-TERM", &child.id().to_string());
        }
        said += &line;
        said.push('\n');
    }
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_terminal_that_is_closed_is_a_stop_behind_a_snapshot_unless_it_is_to_be_outlived() {
    let closed = "stopping after a last snapshot: the terminal is closed";
    let place = place();
    let (code, said) = hung_up(start(&place));
    assert!(code == Some(0) && said.contains(closed) && !said.contains(" WARN "), "{said}");
    assert!(said.contains("stopped after snapshot "), "{said}");
    assert_eq!(workers(&place), 0);
    let place = self::place();
    let mut command = Command::new("nohup");
    command.arg(binary()).args(RUN).current_dir(folder(&place)).process_group(0);
    command.env("TMPDIR", place.path("tmp")).env("MILLSTREAM_LOG", "info");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (code, said) = hung_up(command.spawn().unwrap());
    assert!(code == Some(0) && !said.contains(closed) && !said.contains(" WARN "), "{said}");
    assert!(said.contains("stopped after snapshot "), "{said}");
}

#[test]
fn a_job_that_had_finished_before_says_so_and_nothing_else() {
    let place = place();
    let sets = ["--set", "spec.program.args.records=1000"];
    let args = [&RUN[..], &sets].concat();
    assert_eq!(place.run(&args).code, Some(0));
    for _ in 0..10 {
        let ran = place.run(&args);
        assert!(ran.err.contains("had finished before"), "{ran:?}");
        assert!(ran.code == Some(0) && !ran.err.contains(" WARN "), "{ran:?}");
    }
}
