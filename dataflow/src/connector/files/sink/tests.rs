//! The sink of files as the engine drives it: cuts, commits, crashes between the two.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use millstream_protocol::id::{Epoch, Run, TaskIndex};
use millstream_protocol::key_group::KeyGroups;
use serde::Deserialize;

use super::*;
use crate::batch::Batch;
use crate::clock::SystemClock;
use crate::error::Kind;
use crate::sink::{Committer, Recovery, Writer};
use crate::task::TaskInfo;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    celsius: u32,
}

/// One task of a sink.
struct Task<F: Encode> {
    writer: FileWriter<F>,
    committer: FileCommitter,
}

fn ctx(info: TaskInfo, run: u64) -> SinkContext {
    let clock = Arc::new(SystemClock::new());
    SinkContext { info, run: Run(run), job: "ns/job".into(), history: Arc::default(), clock }
}

fn from(epoch: u64, pending: &[FilePending]) -> Recovery<FilePending> {
    Recovery { epoch: Epoch(epoch), committed: false, pending: pending.to_vec() }
}

impl<F: Encode> Task<F> {
    fn open(sink: &FileSink<F>, id: &str, run: u64, task: u32, parallelism: u32) -> Self {
        let info = TaskInfo {
            operator: id.into(),
            task: TaskIndex(task),
            parallelism,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        };
        let ctx = ctx(info, run);
        let (writer, committer) = sink.open(ctx).unwrap();
        Self { writer, committer }
    }

    fn write(&mut self, records: Vec<F::Record>) {
        self.writer.write(Batch::untimed(records)).unwrap();
    }

    /// Cuts, and does what comes before the snapshot is published.
    fn prepare(&mut self, epoch: u64) -> Option<FilePending> {
        let prepared = self.writer.prepare(Epoch(epoch)).unwrap();
        if let Some(durable) = prepared.durable {
            durable().unwrap();
        }
        prepared.pending
    }

    fn commit(&self, pending: &FilePending) -> Result<()> {
        run(self.committer.commit(Epoch(1), pending.clone()))
    }

    fn recover(&self, pending: &[FilePending]) -> Result<()> {
        run(self.committer.recover(from(1, pending)))
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn files(pending: &FilePending) -> &PendingFiles {
    match pending {
        FilePending::Files(files) => files,
        FilePending::Objects(_) => panic!("the sink writes to a directory"),
    }
}

/// The files in a directory, without those that wait.
fn shown(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    let named = files.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named.map(|(name, path)| (name, fs::read_to_string(path).unwrap())).collect()
}

/// The files that wait, without the notes of what is committed.
fn waiting(directory: &Path, sink: &str) -> Vec<String> {
    let path = directory.join(".pending/ns%2Fjob").join(sink);
    let entries = fs::read_dir(path).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with("done-"));
    names.sort();
    names
}

fn json(directory: &Path) -> FileSink<Json<u32>> {
    FileSink::json(directory)
}

#[test]
fn a_file_appears_whole_when_its_epoch_is_committed_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Task::open(&json(dir.path()), "out", 3, 0, 1);
    assert_eq!(task.prepare(1), None, "an epoch without records leaves nothing");
    task.write(vec![1, 2]);
    task.write(vec![3]);
    let pending = task.prepare(2).unwrap();
    task.write(vec![4]);
    assert!(shown(dir.path()).is_empty());
    task.commit(&pending).unwrap();
    let expected =
        BTreeMap::from([("ns.job.out-3-2-0-0.ndjson".to_owned(), "1\n2\n3\n".to_owned())]);
    assert_eq!(shown(dir.path()), expected);
    task.commit(&pending).unwrap();
    assert_eq!(shown(dir.path()), expected);
    assert_eq!(waiting(dir.path(), "out"), ["3-0-1.ndjson"]);
}

#[test]
fn a_crash_between_prepare_and_commit_loses_nothing_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let sink = json(dir.path());
    // Two tasks of run 1: of each, a file that the snapshot names and one that it does not.
    let mut pending = Vec::new();
    for task in 0..2 {
        let mut task = Task::open(&sink, "out", 1, task, 2);
        task.write(vec![1]);
        pending.push(task.prepare(1).unwrap());
        task.write(vec![2]);
        assert!(task.prepare(2).is_some());
    }
    // Task 0 had even begun to commit.
    run(Task::open(&sink, "out", 1, 0, 2).committer.commit(Epoch(1), pending[0].clone())).unwrap();
    assert_eq!(waiting(dir.path(), "out").len(), 3);

    let first = Task::open(&sink, "out", 2, 0, 2);
    first.recover(&pending[..1]).unwrap();
    let left = waiting(dir.path(), "out");
    assert_eq!(left, ["1-1-0.ndjson", "1-1-1.ndjson"], "what task 1 left is not its business");
    Task::open(&sink, "out", 2, 1, 2).recover(&pending[1..]).unwrap();
    assert!(waiting(dir.path(), "out").is_empty());
    assert_eq!(shown(dir.path()).into_values().collect::<Vec<_>>(), ["1\n", "1\n"]);
}

#[test]
fn whoever_reads_the_files_may_take_them_away() {
    let dir = tempfile::tempdir().unwrap();
    let sink = json(dir.path());
    let mut task = Task::open(&sink, "out", 1, 0, 1);
    task.write(vec![1]);
    let pending = task.prepare(1).unwrap();
    task.commit(&pending).unwrap();
    fs::remove_file(dir.path().join("ns.job.out-1-1-0-0.ndjson")).unwrap();
    let task = Task::open(&sink, "out", 2, 0, 1);
    task.recover(std::slice::from_ref(&pending)).unwrap();
    // The log of another job of that name must not take the old one's notes for its own; and what
    // is missing there stays missed.
    let other = Task::open(&sink, "out", 1, 0, 1);
    run(other.committer.recover(from(0, &[]))).unwrap();
    for _ in 0..2 {
        assert_eq!(other.commit(&pending).unwrap_err().kind(), Kind::Corrupt);
    }
}

#[test]
fn an_older_history_does_not_go_on_beside_newer_results() {
    let dir = tempfile::tempdir().unwrap();
    let sink = json(dir.path());
    let mut task = Task::open(&sink, "out", 1, 0, 1);
    for (epoch, record) in [(1, 1), (2, 2)] {
        task.write(vec![record]);
        let pending = task.prepare(epoch).unwrap();
        task.commit(&pending).unwrap();
    }
    let recover =
        |epoch| run(Task::open(&sink, "out", 2, 0, 1).committer.recover(from(epoch, &[])));
    recover(2).unwrap();
    let error = recover(1).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let files = dir.path().join("ns.job.out-<run>-<epoch>-<task>-<number>.ndjson");
    let notes = dir.path().join(".pending/ns%2Fjob/out/done-*");
    let expected = format!(
        "{} holds results up to snapshot 2, and the job goes on at snapshot 1: results since then \
         would be there twice. Was an old store put back, or an older snapshot restored? To go on \
         all the same, remove every {} whose epoch is above 1, and {}",
        dir.path().display(),
        files.display(),
        notes.display()
    );
    assert_eq!(error.to_string(), expected);
    // A task looks at the notes of all.
    let other = Task::open(&sink, "out", 2, 1, 2);
    let error = run(other.committer.recover(from(1, &[]))).unwrap_err();
    assert_eq!(error.to_string(), expected);
    // One that begins anew is told, and whoever goes back after it is still refused.
    recover(0).unwrap();
    assert_eq!(recover(1).unwrap_err().to_string(), expected);
    // One in another log counts from there.
    let other = Task::open(&sink, "out", 1, 0, 1);
    run(other.committer.recover(from(0, &[]))).unwrap();
    recover(1).unwrap();
}

#[test]
fn a_kill_between_a_move_and_the_next_leaves_readers_free_to_take_files() {
    let dir = tempfile::tempdir().unwrap();
    let sink = json(dir.path()).roll_bytes(1);
    let mut task = Task::open(&sink, "out", 1, 0, 1);
    task.write(vec![1]);
    task.write(vec![2]);
    let pending = task.prepare(1).unwrap();
    assert_eq!(files(&pending).files.len(), 2);
    // A directory in the second one's place ends the commit behind the first.
    let second = Path::new(&files(&pending).files[1].target);
    fs::create_dir(second).unwrap();
    assert!(task.commit(&pending).is_err());
    fs::remove_file(&files(&pending).files[0].target).unwrap();
    fs::remove_dir(second).unwrap();
    Task::open(&sink, "out", 2, 0, 1).recover(std::slice::from_ref(&pending)).unwrap();
    assert_eq!(shown(dir.path()).into_values().collect::<Vec<_>>(), ["2\n"]);
}

#[test]
fn sinks_that_share_a_directory_leave_each_other_alone() {
    let dir = tempfile::tempdir().unwrap();
    let sink = json(dir.path());
    let mut one = Task::open(&sink, "one", 1, 0, 1);
    let mut two = Task::open(&sink, "two", 1, 0, 1);
    one.write(vec![1]);
    two.write(vec![2]);
    let pending = [one.prepare(1).unwrap(), two.prepare(1).unwrap()];
    Task::open(&sink, "one", 2, 0, 1).recover(&[]).unwrap();
    assert!(waiting(dir.path(), "one").is_empty());
    two.commit(&pending[1]).unwrap();
    assert_eq!(shown(dir.path()).len(), 1);
    // The other's file is gone, and that is said.
    let error = one.commit(&pending[0]).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("1-0-0.ndjson"), "{error}");
}

#[test]
fn nothing_is_ever_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let sink = json(dir.path()).prefix("part");
    let mut one = Task::open(&sink, "one", 1, 0, 1);
    let mut two = Task::open(&sink, "two", 1, 0, 1);
    one.write(vec![1]);
    two.write(vec![2]);
    let pending = [one.prepare(1).unwrap(), two.prepare(1).unwrap()];
    one.commit(&pending[0]).unwrap();
    let error = two.commit(&pending[1]).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("part-1-1-0-0.ndjson exists"), "{error}");
    // A job that begins anew counts from the same numbers, and passes over what is there.
    let mut again = Task::open(&sink, "one", 1, 0, 1);
    again.write(vec![3]);
    let pending = again.prepare(1).unwrap();
    again.commit(&pending).unwrap();
    let names: Vec<_> = shown(dir.path()).into_keys().collect();
    assert_eq!(names, ["part-1-1-0-0.ndjson", "part-1-1-0-1.ndjson"]);
}

#[test]
fn files_roll_by_size_and_each_csv_file_has_its_header() {
    let dir = tempfile::tempdir().unwrap();
    let readings = |count: usize| vec![Reading { sensor: "a,b".into(), celsius: 20 }; count];
    let sink = FileSink::csv(dir.path()).roll_bytes(40).prefix("r");
    let mut task = Task::open(&sink, "out", 1, 0, 1);
    task.write(readings(2));
    task.write(readings(1));
    task.write(readings(1));
    let pending = task.prepare(1).unwrap();
    task.commit(&pending).unwrap();
    let rows = |rows: usize| format!("sensor,celsius\n{}", "\"a,b\",20\n".repeat(rows));
    let files: Vec<_> = shown(dir.path()).into_iter().collect();
    let expected = [("r-1-1-0-0.csv".to_owned(), rows(3)), ("r-1-1-0-1.csv".to_owned(), rows(1))];
    assert_eq!(files, expected);

    let sink = FileSink::csv(dir.path().join("bare")).without_header().delimiter(b';');
    let mut task = Task::open(&sink, "out", 1, 0, 1);
    task.write(readings(1));
    let pending = task.prepare(1).unwrap();
    task.commit(&pending).unwrap();
    assert_eq!(shown(&dir.path().join("bare")).into_values().collect::<Vec<_>>(), ["a,b;20\n"]);
}

#[test]
fn a_file_that_does_not_get_to_disk_fails_the_snapshot_and_the_task() {
    let dir = tempfile::tempdir().unwrap();
    let mut task = Task::open(&json(dir.path()), "out", 1, 0, 1);
    task.write(vec![1]);
    let prepared = task.writer.prepare(Epoch(1)).unwrap();
    fs::remove_file(&files(&prepared.pending.unwrap()).files[0].pending).unwrap();
    let error = prepared.durable.unwrap()().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "a newer run may have removed it: {error}");
    let error = task.writer.prepare(Epoch(2)).err().unwrap();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("1-0-0.ndjson"), "{error}");
}

#[test]
fn a_directory_or_prefix_that_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let info = TaskInfo {
        operator: "out".into(),
        task: TaskIndex(0),
        parallelism: 1,
        key_groups: KeyGroups::default(),
        counters: Arc::default(),
    };
    let ctx = ctx(info, 1);
    let error = json(&file).open(ctx.clone()).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("cannot create"), "{error}");
    let error = json(dir.path()).prefix("a/b").open(ctx).err().unwrap();
    assert!(error.to_string().starts_with("prefix: "), "{error}");
}
