//! Going back to an older snapshot beside newer output: what is refused, and what the message and
//! [the page](../../docs/operate/local-runs.md) say to remove is all that is to be removed.
//!
//! This binary is a user's binary as well: with [`ROLE`] set it has the program below.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]
#![expect(clippy::unnecessary_wraps, reason = "every program returns a result")]

#[path = "support/suite.rs"]
mod suite;
#[expect(dead_code, reason = "other tests need the rest of it")]
mod support;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use millstream_worker::connector::files::FileSink;
use millstream_worker::connector::generator::Generator;
use millstream_worker::{Job, Result, programs};
use serde_json::Value;

use support::{Place, ROLE, Ran};

const RECORDS: u64 = 60_000;

/// Numbers into files, by two tasks, in two seconds.
fn numbers(job: &mut Job) -> Result<()> {
    let numbers = Generator::new(|n| n).splits(2).records(RECORDS).records_per_second(30_000.0);
    job.source("numbers", numbers).sink("files", FileSink::json("out"));
    Ok(())
}

const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: trial}
spec:
  snapshots: {store: 'file://state', interval: 50ms}
";

const RUN: &[&str] = &["run", "job.yaml", "--threads", "2"];

/// A job that has finished, and a snapshot before its last one.
struct Finished {
    place: Place,
    uri: String,
    epoch: u64,
    newest: u64,
}

/// How often a job is run until its last snapshot has output of its own: that before it may have
/// been cut behind the last record.
const ATTEMPTS: u32 = 10;

impl Finished {
    fn new() -> Self {
        for _ in 0..ATTEMPTS {
            let job = Self::once();
            let epochs = files(&job.place).into_iter().map(|path| epoch_of(&path));
            if epochs.max() == Some(job.newest) {
                return job;
            }
        }
        panic!("the last snapshot of {ATTEMPTS} runs was empty");
    }

    fn once() -> Self {
        let place = Place::new(&env::current_exe().unwrap(), JOB);
        assert_eq!(place.run(RUN).code, Some(0));
        assert_eq!(results(&place), (0..RECORDS).collect::<Vec<_>>());
        let job = format!("file://{}", place.path("state/default/trial").display());
        let listed = place.run(&["snapshots", "list", "--json", &job]).out;
        let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
        let [.., older, last] = &listed[..] else { panic!("{listed:?}") };
        assert!(older["final"] == false && older["committed"] == true, "{listed:?}");
        assert!(last["final"] == true && last["bytes"].is_u64(), "{listed:?}");
        let epoch = |snapshot: &Value| snapshot["epoch"].as_u64().unwrap();
        let uri = older["uri"].as_str().unwrap().to_owned();
        Self { uri, epoch: epoch(older), newest: epoch(last), place }
    }

    fn go_back(&self) -> Ran {
        let uri = format!("spec.restore.uri={}", self.uri);
        let request = "spec.restore.request=1";
        let more = ["--set", "spec.restore.from=Snapshot", "--set", &uri, "--set", request];
        self.place.run(&[RUN, &more].concat())
    }

    fn refused(&self, ran: &Ran) {
        let Self { epoch, newest, .. } = self;
        let reason = format!(
            "error: trial: operator files: recover: out holds results up to snapshot {newest}, and \
             the job goes on at snapshot {epoch}: results since then would be there twice. Was an \
             old store put back, or an older snapshot restored? To go on all the same, remove \
             every out/default.trial.files-<run>-<epoch>-<task>-<number>.ndjson whose epoch is \
             above {epoch}, and out/.pending/default%2Ftrial/files/done-*"
        );
        assert_eq!((ran.code, ran.err.lines().last()), (Some(2), Some(&*reason)), "{ran:?}");
    }
}

fn files(place: &Place) -> Vec<PathBuf> {
    let all = fs::read_dir(place.path("out")).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.is_file()).collect()
}

/// The epoch in the name of a file.
fn epoch_of(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split('-').nth(2).unwrap().parse().unwrap()
}

fn results(place: &Place) -> Vec<u64> {
    let texts = files(place).into_iter().map(|path| fs::read_to_string(path).unwrap());
    let numbers =
        texts.flat_map(|text| text.lines().map(|n| n.parse().unwrap()).collect::<Vec<_>>());
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers
}

/// Removes what the message says: the files of later epochs, and all notes.
fn by_the_message() {
    let job = Finished::new();
    let place = &job.place;
    job.refused(&job.go_back());
    for path in files(place) {
        if epoch_of(&path) > job.epoch {
            fs::remove_file(path).unwrap();
        }
    }
    job.refused(&job.go_back());
    for task in 0..2 {
        let note = format!("out/.pending/default%2Ftrial/files/done-{task}");
        fs::remove_file(place.path(&note)).unwrap();
    }
    let ran = job.go_back();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(results(place), (0..RECORDS).collect::<Vec<_>>(), "each there once");
}

/// Removes the whole directory: what was visible at the snapshot is not looked for.
fn with_an_empty_directory() {
    let job = Finished::new();
    let before = results(&job.place);
    fs::remove_dir_all(job.place.path("out")).unwrap();
    let ran = job.go_back();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let since = results(&job.place);
    assert!(since.len() < before.len(), "only what came behind the snapshot: {}", since.len());
}

/// Beginning anew beside earlier results is told once, though each of two tasks finds notes.
fn anew_beside_old_results() {
    let job = Finished::new();
    let ran = job.place.run(&[RUN, &["--fresh"]].concat());
    let said = format!(
        " WARN sink files: out holds results of this job up to snapshot {}, and the job begins \
         anew: results are there twice unless every \
         out/default.trial.files-<run>-<epoch>-<task>-<number>.ndjson that is there now is \
         removed\n",
        job.newest
    );
    assert_eq!((ran.code, ran.err.matches(&said).count()), (Some(0), 1), "{ran:?}");
    assert_eq!(ran.err.matches("WARN").count(), 1, "{ran:?}");
    assert_eq!(results(&job.place).len() as u64, 2 * RECORDS);
}

const TESTS: &[(&str, fn())] =
    suite::tests![by_the_message, with_an_empty_directory, anew_beside_old_results];

fn main() -> ExitCode {
    if env::var_os(ROLE).is_some() {
        return millstream_worker::main(programs![numbers]);
    }
    suite::run(TESTS)
}
