//! The processes of a job's workers.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

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
