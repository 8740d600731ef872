//! The processes of a job's workers, and what becomes of a job when one of them dies.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::place::{Place, RESTARTS, RUNNING, parts};

/// What the process of a worker has among its arguments, before its number.
const NUMBER_BEHIND: &str = "/millstream-worker-";

/// The processes of a coordinator's workers, by the workers' numbers.
pub(crate) fn workers(coordinator: u32) -> BTreeMap<u32, u32> {
    let mut found = BTreeMap::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = process.file_name().to_string_lossy().parse() else { continue };
        let Ok(status) = fs::read_to_string(process.path().join("status")) else { continue };
        if !status.lines().any(|line| line == format!("PPid:\t{coordinator}")) {
            continue;
        }
        let Ok(line) = fs::read_to_string(process.path().join("cmdline")) else { continue };
        let number = line.split_once(NUMBER_BEHIND).and_then(|(_, rest)| rest.split_once('-'));
        if let Some(worker) = number.and_then(|(number, _)| number.parse().ok()) {
            found.insert(worker, id);
        }
    }
    found
}

/// Whether the process was there to be sent the signal.
pub(crate) fn signal(signal: &str, process: u32) -> bool {
    let mut kill = Command::new("kill");
    kill.args([signal, &process.to_string()]).stderr(Stdio::null());
    kill.status().unwrap().success()
}

pub(crate) fn a_worker_that_dies_costs_its_survivors_no_read_of_the_bucket() {
    let parts = parts();
    let place = Place::new(&parts, "survivors");
    let feed = place.feed();
    let mut life = place.start_with(&["--workers", "3", "--threads", "1"], &[]);
    assert!(life.wait_for(RUNNING), "it ended:\n{}", life.said());
    // The disk of the machine is there for the first that dies, and gone with the second.
    for (dies, has_disk) in [(0, true), (1, false)] {
        place.commits(&mut life, 2);
        let (before, asked) = (life.said().len(), place.proxy.seen().len());
        // So that none takes its place too soon.
        life.signal("STOP");
        assert!(signal("-KILL", workers(life.id())[&dies]));
        if !has_disk {
            place.forget_copies(dies);
        }
        life.signal("CONT");
        assert!(life.wait_for(RESTARTS), "it ended:\n{}", life.said());
        place.commits(&mut life, 2);

        let said = &life.said()[before..];
        for worker in 0..3 {
            let read = format!(": worker {worker} read snapshot ");
            let line = said.lines().find(|line| line.contains(&read));
            let line = line.unwrap_or_else(|| panic!("nothing of worker {worker}:\n{said}"));
            let reads_none = line.contains(", 0 B from the store");
            assert_eq!(reads_none, worker != dies || has_disk, "{line}");
            assert!(
                !line.contains(": 0 B from the disk") || !reads_none,
                "nothing to read: {line}"
            );
        }
        let seen = place.proxy.seen();
        let read = seen[asked..].iter().filter(|it| it.method == "GET");
        for request in read.filter(|request| request.target.contains("/parts/")) {
            let own = format!("/{dies}-");
            assert!(!has_disk && request.target.contains(&own), "{}", request.target);
        }
    }
    feed.finish();
    let end = life.end();
    assert_eq!(end.code, Some(0), "{end:?}");
    place.check_all(&parts, "survivors");
}
