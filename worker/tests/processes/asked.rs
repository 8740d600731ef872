//! What is asked of a job that runs here, by commands and by a second run, and what is there to
//! answer.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use millstream_testkit::free_ports;

use crate::support::{PATIENCE, Place, Running};
use crate::{JOB, SLOWER, output, place, signal, wanted, workers};

/// Looks again and again, until this is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(100));
    }
}

fn savepoints(place: &Place) -> usize {
    let job = format!("file://{}", place.path("state/default/spread").display());
    let listed = place.run(&["snapshots", "list", &job]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    listed.out.matches("(savepoint)").count()
}

pub(crate) fn who_asks_a_run_that_hangs_is_told_so_and_waits_no_longer_than_wanted() {
    let place = place();
    let mut running =
        Running::start(&place, &[&["run", "job.yaml", "--threads", "1"][..], &SLOWER].concat());
    running.wait_for("seen 5000 of");
    running.signal("-STOP");
    let began = Instant::now();
    let asked = place.run(&["savepoint", "job.yaml", "--timeout", "7s"]);
    let took = began.elapsed();
    assert_eq!(asked.code, Some(5), "{asked:?}");
    assert!(took >= Duration::from_secs(7) && took < Duration::from_secs(20), "{took:?}");
    let silent = format!("process {} does not answer: it is stopped, or hangs", running.id());
    let said = format!(
        "{silent}\nerror: no answer within 7s (--timeout): {silent}. What was asked for is not \
         withdrawn, and may still take effect\n"
    );
    assert_eq!(asked.err, said);
    assert_eq!(savepoints(&place), 0);
    running.signal("-CONT");
    until("it has taken effect", || savepoints(&place) == 1);
    running.interrupt();
    assert_eq!(running.end().code, Some(0));
}

pub(crate) fn who_asks_a_job_that_fails_is_told_why_and_waits_no_longer_than_wanted() {
    let place = place();
    let sets = ["--set", "spec.program.name=fails", "--set", "spec.restart.initialBackoff=1m"];
    let mut running = Running::start(&place, &[&["run", "job.yaml"][..], &sets].concat());
    running.wait_for("restarts (attempt 1, in ");
    let asked = place.run(&["savepoint", "job.yaml", "--timeout", "4s"]);
    assert_eq!(asked.code, Some(5), "{asked:?}");
    let waits = "still waiting: the job failed, and is to restart (attempt 1); it failed last \
                 because operator ";
    let first = asked.err.lines().next().unwrap();
    assert!(first.starts_with(waits) && first.contains("no zero"), "{asked:?}");
    assert!(asked.err.contains("error: no answer within 4s (--timeout): still"), "{asked:?}");
    assert_eq!(asked.err.lines().count(), 2, "once: {asked:?}");
    // It does not run, so that a stop ends it at once.
    let stopped = place.run(&["stop", "job.yaml"]);
    assert_eq!(stopped.code, Some(4), "{stopped:?}");
    let why = "stopped without a snapshot (it was restarting: operator ";
    assert!(stopped.err.contains(why), "{stopped:?}");
    assert_eq!(running.end().code, Some(4));
    let refused = place.run(&["stop", "job.yaml", "--timeout", "0s"]);
    assert!(refused.code == Some(2) && refused.err.contains("a duration above 0"), "{refused:?}");
}

pub(crate) fn after_a_refusal_the_workers_are_those_that_were_there() {
    let place = place();
    let [third] = free_ports();
    let health = format!("127.0.0.1:{}", third - 2);
    let args = ["run", "job.yaml", "--workers", "1", "--threads", "2", "--health", &health];
    let mut running = Running::start(&place, &[&args[..], &SLOWER].concat());
    running.wait_for("seen 5000 of");
    let before = workers(&place);
    assert_eq!(before.len(), 1);
    let _taken = TcpListener::bind(("127.0.0.1", third)).unwrap();
    let refused = place.run(&["scale", "job.yaml", "--workers", "3"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let said = format!("error: --health: worker 2 cannot use 127.0.0.1:{third}: ");
    assert!(refused.err.starts_with(&said), "{refused:?}");
    assert_eq!(workers(&place), before);
    let refused = place.run(&["scale", "job.yaml", "--workers", "361"]);
    let said = "--workers: is 361, with 2 threads each: write a number from 1 to 360: \
                spec.keyGroups is 720, and each thread needs one";
    refused.refused(2, said);
    assert_eq!(workers(&place), before);
    // What only the new workers can know.
    place.write("unfit", "");
    let refused = place.run(&["scale", "job.yaml", "--workers", "2"]);
    let said = "from 1 to 2 workers\nerror: it is not to be built now\n";
    assert_eq!((refused.code, &*refused.err), (Some(2), said));
    assert_eq!(workers(&place), before);
    fs::remove_file(place.path("unfit")).unwrap();
    // It still moves to what can be.
    let scaled = place.run(&["scale", "job.yaml", "--workers", "2"]);
    assert_eq!(scaled.code, Some(0), "{scaled:?}");
    assert_eq!(workers(&place).len(), 2);
    running.interrupt();
    assert_eq!(running.end().code, Some(0));
}

pub(crate) fn a_second_run_is_refused_unless_it_is_to_take_over() {
    let wanted = wanted();
    let place = place();
    let args = [&["run", "job.yaml", "--threads", "1"][..], &SLOWER].concat();
    let mut first = Running::start(&place, &args);
    first.wait_for("seen 5000 of");
    let before = place.objects("spread");
    let claims = |objects: &BTreeMap<String, Vec<u8>>| {
        let entries = objects.values().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        entries.filter(|text| text.contains("\"claim\"")).count()
    };
    for more in [&[][..], &["--workers", "2"], &["--fresh"], &["--set", "spec.program.name=slow"]] {
        let refused = place.run(&[&["run", "job.yaml"][..], more].concat());
        let said = format!(
            "process {} runs default/spread on this machine, so that nothing was touched. `stop` \
             with the same file stops that one after a snapshot; --take-over lets this run take \
             the job from it; another job needs another metadata.name, or another store",
            first.id()
        );
        refused.refused(3, &said);
    }
    assert_eq!((claims(&before), claims(&place.objects("spread"))), (1, 1));
    // Nor does anything go that the first one relies on.
    let job = format!("file://{}", place.path("state/default/spread").display());
    for command in [&["snapshots", "delete", &job, "--yes"], &["snapshots", "mark", &job, "--yes"]]
    {
        let said = format!(
            "process {} runs this job on this machine, so that nothing was touched: `stop` it \
             first",
            first.id()
        );
        place.run(command).refused(2, &said);
    }
    let mut second = Running::start(&place, &[&args[..], &["--take-over"]].concat());
    second.wait_for("resumes from snapshot");
    let first = first.end();
    assert!(first.code == Some(3) && first.err.contains("a newer run of this job"), "{first:?}");
    // What a process that was killed leaves behind does not hinder the next one.
    second.signal("-KILL");
    assert_eq!(second.end().code, None);
    let third = place.run(&args);
    assert!(third.err.contains("resumes from snapshot"), "{}", third.err);
    assert_eq!(output(&place, &third), wanted);
}

/// A place whose binary can be removed, and its folder for temporary files.
fn removable() -> (Place, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("own-worker");
    let own = std::env::current_exe().unwrap();
    if fs::hard_link(&own, &binary).is_err() {
        fs::copy(&own, &binary).unwrap();
    }
    (Place::new(&binary, JOB), folder)
}

fn run_with(place: &Place, temporary: &Path, args: &[&str]) -> Running {
    Running::start_with(place, args, &[("TMPDIR", temporary.to_str().unwrap())])
}

pub(crate) fn workers_are_replaced_when_their_folder_and_their_binary_are_gone() {
    let wanted = wanted();
    let (place, folder) = removable();
    let temporary = folder.path().join("temporary");
    fs::create_dir(&temporary).unwrap();
    let args = [&["run", "job.yaml", "--workers", "2", "--threads", "1"][..], &SLOWER].concat();
    let mut running = run_with(&place, &temporary, &args);
    running.wait_for("seen 5000 of");
    fs::remove_dir_all(&temporary).unwrap();
    fs::remove_file(folder.path().join("own-worker")).unwrap();
    // Another one lies there now, which cannot be the worker of this run.
    fs::copy("/bin/false", folder.path().join("own-worker")).unwrap();
    signal("-KILL", workers(&place)[1]);
    running.wait_for("resumes from snapshot");
    assert_eq!(workers(&place).len(), 2);
    // Where nothing can be made, it is said once, and mended when it can.
    fs::remove_dir_all(&temporary).unwrap();
    fs::write(&temporary, "").unwrap();
    signal("-KILL", workers(&place)[0]);
    running.wait_for("cannot start worker ");
    sleep(Duration::from_secs(2));
    fs::remove_file(&temporary).unwrap();
    running.wait_for("resumes from snapshot");
    let ran = running.end();
    let untold = "which is tried again and again: cannot make a folder in ";
    let told: Vec<_> = ran.err.lines().filter(|line| line.contains("cannot start")).collect();
    let place_of = temporary.display().to_string();
    assert!(told.len() == 1 && told[0].contains(untold), "{told:?}");
    assert!(told[0].contains(&place_of), "{told:?}");
    assert_eq!(output(&place, &ran), wanted);
}
