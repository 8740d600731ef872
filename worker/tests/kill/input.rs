//! The input: two folders of files, written once, the same for every seed.
//!
//! Invariants, on which the job's output being the same in every run rests: no record is late,
//! since times are out of order by less than [`DISORDER_MS`] within a file; and all records of a
//! key lie in one file of each folder, so that they keep their order whoever reads it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Times are out of order by less than this within a file.
pub(crate) const DISORDER_MS: u64 = 400;
/// Files per folder: more than threads, so that tasks own several and change them.
const FILES: u64 = 5;
/// Records per folder.
pub(crate) const RECORDS: u64 = 30_000;
/// Event time between the records of a file, but for disorder.
const STEP_MS: u64 = 10;
/// Keys per file, of which [`ACTIVE_KEYS`] have records at a time: the others' sessions end.
const KEYS: u64 = 16;
const ACTIVE_KEYS: u64 = 4;
/// Records of a file between two changes of the active keys.
const PHASE_RECORDS: u64 = 200;
/// 2026-01-01T00:00:00Z.
const START_MS: u64 = 1_767_225_600_000;

/// The folders, each the input of one source.
pub(crate) const FOLDERS: [&str; 2] = ["left", "right"];

/// Writes the input below a directory.
pub(crate) fn write(directory: &Path) -> io::Result<()> {
    for (number, folder) in (0..).zip(FOLDERS) {
        let folder = directory.join(folder);
        fs::create_dir_all(&folder)?;
        for file in 0..FILES {
            fs::write(folder.join(format!("{file}.ndjson")), lines(number, file))?;
        }
    }
    Ok(())
}

/// The lines of one file: `[key, time in ms, value]`.
fn lines(folder: u64, file: u64) -> String {
    let mut rng = SmallRng::seed_from_u64(folder * FILES + file);
    let mut lines = String::new();
    for i in 0..RECORDS / FILES {
        let phase = i / PHASE_RECORDS;
        let key = (phase * (ACTIVE_KEYS + 1) + rng.random_range(0..ACTIVE_KEYS)) % KEYS;
        let at = START_MS + i * STEP_MS + rng.random_range(0..DISORDER_MS);
        let value = rng.random_range(0..1000);
        let _ = writeln!(lines, "[{},{at},{value}]", file * KEYS + key);
    }
    lines
}
