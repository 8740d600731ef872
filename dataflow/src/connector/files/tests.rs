//! The reader of the files source as the engine drives it: positions, growth, restores, failures.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_protocol::id::TaskIndex;
use millstream_protocol::key_group::KeyGroups;

use super::*;
use crate::error::{Error, Kind};
use crate::source::{Emit, Malformed, OnMalformed, Place, Poll, Reader, Word};
use crate::task::{Doorbell, TaskInfo};
use crate::time::Timestamp;

/// Looks so often that tests need not wait, and so seldom that they show it where they do.
const LOOK: Duration = Duration::from_millis(1);

/// What a source's task is between the barriers: a reader, and what came out of it.
struct Task<F: Format> {
    reader: FilesReader<F>,
    emit: Emit<F::Record>,
    bell: Doorbell,
    last: Poll,
    failed: u64,
}

impl<F: Format> Task<F> {
    fn open(source: &Files<F>, restored: &[(String, FilePosition)]) -> Result<Self> {
        Self::open_as("in", source, restored, (0, 1))
    }

    fn open_as(
        operator: &str,
        source: &Files<F>,
        restored: &[(String, FilePosition)],
        (task, parallelism): (u32, u32),
    ) -> Result<Self> {
        let bell = Doorbell::default();
        bell.belongs_here();
        let info = TaskInfo {
            operator: operator.into(),
            task: TaskIndex(task),
            parallelism,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        };
        let mine = restored.iter().filter(|(id, _)| source.owner(id, parallelism) == task);
        let ctx = SourceContext {
            info,
            restored: mine.cloned().collect(),
            is_restored: !restored.is_empty(),
            doorbell: bell.clone(),
        };
        let reader = source.open(ctx)?;
        Ok(Self { reader, emit: Emit::new(), bell, last: Poll::Ready, failed: 0 })
    }

    /// Polls until the condition holds.
    fn until(&mut self, mut holds: impl FnMut(&Self) -> bool) -> Result<()> {
        for _ in 0..10_000 {
            self.bell.clear();
            self.last = self.reader.poll(&mut self.emit)?;
            if holds(self) {
                return Ok(());
            }
            if self.last != Poll::Ready {
                self.bell.wait(Duration::from_millis(10));
            }
        }
        panic!("it never came: {:?} after {} records", self.last, self.emit.records.len());
    }

    /// Polls until there are so many records.
    fn records(&mut self, count: usize) -> Result<Vec<F::Record>> {
        let mut records = Vec::new();
        self.until(|_| true)?;
        loop {
            records.append(&mut self.emit.records);
            self.emit.stretches.clear();
            self.failed += std::mem::take(&mut self.emit.failed);
            if records.len() >= count || self.last == Poll::Finished {
                return Ok(records);
            }
            self.until(|task| !task.emit.records.is_empty() || task.last == Poll::Finished)?;
        }
    }

    fn all(&mut self) -> Result<Vec<F::Record>> {
        self.records(usize::MAX)
    }

    fn positions(&self) -> Vec<(String, FilePosition)> {
        let positions = self.reader.positions().into_iter();
        positions.map(|(id, position)| (id.to_string(), position)).collect()
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn lines(numbers: impl IntoIterator<Item = u32>) -> String {
    numbers.into_iter().flat_map(|number| [number.to_string(), "\n".to_owned()]).collect()
}

fn append(path: &Path, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn numbers(path: &Path) -> Files<Json<u32>> {
    Files::json(text(path))
}

fn refused<F: Format>(source: &Files<F>, restored: &[(String, FilePosition)]) -> Error {
    Task::open(source, restored).err().expect("it is refused")
}

#[test]
fn it_goes_on_in_the_middle_of_each_file_wherever_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let csv = |numbers: std::ops::Range<u32>| format!("number\n{}", lines(numbers));
    fs::write(dir.path().join("a.csv"), csv(0..3000)).unwrap();
    let gzip = fs::File::create(dir.path().join("b.csv.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(gzip, flate2::Compression::fast());
    gzip.write_all(csv(3000..6000).as_bytes()).unwrap();
    gzip.finish().unwrap();
    let bytes = zstd::encode_all(csv(6000..9000).as_bytes(), 1).unwrap();
    fs::write(dir.path().join("c.csv.zst"), bytes).unwrap();
    let source = Files::csv::<(u32,)>(text(dir.path()));

    let (mut read, mut restored) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut task = Task::open(&source, &restored).unwrap();
        read.extend(task.records(1).unwrap());
        restored = task.positions();
    }
    assert!(restored.iter().all(|(_, position)| position.complete), "{restored:?}");
    read.sort_unstable();
    assert_eq!(read, (0..9000).map(|number| (number,)).collect::<Vec<_>>());
}

#[test]
fn files_are_read_in_turn_and_an_unread_one_is_named_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..70 {
        fs::write(dir.path().join(format!("{file:02}")), lines([file; 10])).unwrap();
    }
    let source = numbers(dir.path());
    let mut task = Task::open(&source, &[]).unwrap();
    task.until(|_| true).unwrap();
    assert_eq!(task.emit.splits.len(), 70);
    let read = task.all().unwrap();
    let expected: Vec<u32> = (0..70).flat_map(|file| [file; 10]).collect();
    assert_eq!(read, expected, "in order of name, a block of each at a time");
    assert_eq!(
        task.emit.take_quiet().iter().filter(|said| said.word == Word::Finished).count(),
        70
    );
}

#[test]
fn tasks_share_the_files_and_find_them_again_at_another_parallelism() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..20u32 {
        fs::write(dir.path().join(file.to_string()), lines(file * 3000..(file + 1) * 3000))
            .unwrap();
    }
    let source = numbers(dir.path());
    let (mut read, mut restored) = (Vec::new(), Vec::new());
    for task in 0..2 {
        let mut task = Task::open_as("in", &source, &[], (task, 2)).unwrap();
        read.extend(task.records(1000).unwrap());
        restored.extend(task.positions());
    }
    assert_eq!(restored.len(), 20);
    for task in 0..3 {
        read.extend(Task::open_as("in", &source, &restored, (task, 3)).unwrap().all().unwrap());
    }
    read.sort_unstable();
    assert_eq!(read, (0..60_000).collect::<Vec<_>>());
}

#[test]
fn a_followed_file_is_read_as_it_grows_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old.log"), dir.path().join("new.log"));
    append(&old, "1\n2\n3");
    let source = numbers(dir.path()).follow_every(LOOK);
    let mut task = Task::open(&source, &[]).unwrap();
    assert_eq!(task.records(2).unwrap(), [1, 2]);
    append(&old, "0\n4\n");
    assert_eq!(task.records(2).unwrap(), [30, 4]);
    append(&new, "5\n");
    assert_eq!(task.records(1).unwrap(), [5]);
    assert_eq!(task.last, Poll::Pending);
    let position =
        |id: &str| task.positions().into_iter().find(|(known, _)| known == id).unwrap().1;
    assert_eq!((position("old.log").offset, position("old.log").lines), (9, 4));

    append(&old, "6\n");
    let restored = task.positions();
    drop(task);
    let mut task = Task::open(&source, &restored).unwrap();
    assert_eq!(task.records(1).unwrap(), [6]);
}

#[test]
fn a_followed_csv_file_waits_for_its_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    append(&path, "numb");
    let source = Files::csv::<std::collections::BTreeMap<String, u32>>(text(&path));
    let mut task = Task::open(&source.follow_every(LOOK), &[]).unwrap();
    task.until(|task| task.last == Poll::Pending).unwrap();
    append(&path, "er\n1\n");
    assert_eq!(task.records(1).unwrap()[0]["number"], 1);
}

#[test]
fn a_followed_file_that_becomes_shorter_fails_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    append(&path, "1\n2\n");
    let mut task = Task::open(&numbers(&path).follow_every(LOOK), &[]).unwrap();
    assert_eq!(task.records(2).unwrap(), [1, 2]);
    task.until(|task| task.reader.positions()[0].1.complete).unwrap();
    fs::write(&path, "3\n").unwrap();
    let error = task.until(|_| false).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("a.log was truncated"), "{error}");
}

#[test]
fn a_followed_file_may_go_once_it_is_read_and_come_again_with_new_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    append(&path, "1\n");
    let mut task = Task::open(&numbers(dir.path()).follow_every(LOOK), &[]).unwrap();
    assert_eq!(task.records(1).unwrap(), [1]);
    fs::remove_file(&path).unwrap();
    task.until(|task| task.positions().is_empty()).unwrap();
    append(&path, "2\n");
    assert_eq!(task.records(1).unwrap(), [2]);
}

#[test]
fn a_restored_file_that_is_shorter_or_gone_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let source = numbers(dir.path());
    fs::write(&a, lines(0..2000)).unwrap();
    fs::write(&b, lines(0..2000)).unwrap();
    let mut task = Task::open(&source, &[]).unwrap();
    task.records(1000).unwrap();
    let restored = task.positions();
    assert!(restored.iter().any(|(_, position)| !position.complete && position.offset > 0));
    fs::write(&a, "").unwrap();
    assert!(refused(&source, &restored).to_string().contains("a was truncated or replaced"));
    fs::remove_file(&a).unwrap();
    let error = refused(&source, &restored);
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("a is no longer among the files"), "{error}");
    // What was read to its end may go.
    let complete = FilePosition { offset: 10, lines: 2, complete: true, ..FilePosition::default() };
    let read = Task::open(&source, &[("a".to_owned(), complete)]).unwrap().all().unwrap();
    assert_eq!(read.len(), 2000);
}

#[test]
fn a_restored_file_with_other_content_is_not_taken_for_the_one_that_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    for (read, is_complete) in [(1000, false), (2000, true)] {
        fs::write(&path, lines(0..2000)).unwrap();
        let mut task = Task::open(&numbers(&path), &[]).unwrap();
        task.records(read).unwrap();
        if is_complete {
            task.until(|task| task.last == Poll::Finished).unwrap();
        }
        let restored = task.positions();
        assert_eq!(restored[0].1.complete, is_complete);
        fs::write(&path, lines(1..3000)).unwrap();
        let error = refused(&numbers(&path), &restored);
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("a.log was replaced"), "{error}");
        // The same content, with more behind it, is the same file. What it says of its position
        // before the first record is what the snapshot said.
        fs::write(&path, lines(0..3000)).unwrap();
        let mut task = Task::open(&numbers(&path), &restored).unwrap();
        let known =
            |positions: &[(String, FilePosition)]| (positions[0].1.offset, positions[0].1.head);
        assert_eq!(known(&task.positions()), known(&restored));
        let rest = task.all().unwrap();
        assert_eq!(rest[0] as usize + rest.len(), 3000);
    }
}

#[test]
fn a_followed_file_that_begins_otherwise_fails_the_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.log");
    fs::write(&path, "1\n2\n").unwrap();
    let mut task = Task::open(&numbers(&path).follow_every(LOOK), &[]).unwrap();
    assert_eq!(task.records(2).unwrap(), [1, 2]);
    task.until(|task| task.reader.positions()[0].1.complete).unwrap();
    fs::write(&path, "3\n4\n5\n").unwrap();
    let error = task.until(|_| false).unwrap_err();
    assert!(error.to_string().contains("a.log was replaced: 4 bytes of it were read"), "{error}");
}

#[test]
fn nothing_to_read_is_an_error_unless_it_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let error = refused(&numbers(dir.path()), &[]);
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().starts_with("there is no file in"), "{error}");
    let error = refused(&numbers(&dir.path().join("*.json")), &[]);
    assert!(error.to_string().starts_with("no file matches"), "{error}");
    let error = refused(&numbers(&dir.path().join("a.json")).follow(), &[]);
    assert!(error.to_string().contains("a.json"), "{error}");
    let mut task =
        Task::open(&numbers(&dir.path().join("*.json")).follow_every(LOOK), &[]).unwrap();
    append(&dir.path().join("a.json"), "1\n");
    assert_eq!(task.records(1).unwrap(), [1]);
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300] {
        let error = refused(&numbers(dir.path()).records_per_second(rate), &[]);
        let said = format!("records_per_second: is {rate:?}: write a number of at least 0.000001");
        assert_eq!(error.to_string(), said);
    }
}

#[test]
fn a_malformed_record_fails_the_job_or_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, format!("{}{{\n1\n", lines(0..50_000))).unwrap();
    let mut task = Task::open(&numbers(&path), &[]).unwrap();
    let error = task.all().unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let expected = format!("{}, line 50001: invalid type: map", path.display());
    assert!(error.to_string().starts_with(&expected), "{error}");

    let mut task = Task::open(&numbers(&path), &[]).unwrap();
    task.emit.on_malformed = OnMalformed::Skip;
    assert_eq!(task.all().unwrap().len(), 50_001);
    assert_eq!((task.failed, task.emit.malformed.len()), (1, 0));
}

#[test]
fn a_poll_of_malformed_records_alone_has_an_end_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, "x\n".repeat(1_000_000)).unwrap();
    let mut task = Task::open(&numbers(&path), &[]).unwrap();
    task.emit.aside = true;
    task.until(|task| !task.emit.malformed.is_empty()).unwrap();
    assert_eq!((task.last, task.emit.room()), (Poll::Ready, 0));
    let read = task.emit.malformed.len() as u64;
    assert!(read < 100_000, "{read} in one poll: a block at a time is enough");
    assert_eq!(task.positions()[0].1.lines, read);
}

#[test]
fn a_malformed_record_passes_when_the_position_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    // More than a batch in one block, with two in a row, and at both its ends.
    let all = (0..9000u32).map(|n| if n % 7 < 2 { format!("bad {n}") } else { n.to_string() });
    let all: Vec<_> = all.chain(["bad end".to_owned()]).collect();
    fs::write(&path, all.join("\n")).unwrap();
    let (mut good, mut bad, mut restored) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut task = Task::open(&numbers(&path), &restored).unwrap();
        task.emit.aside = true;
        good.extend(task.records(1).unwrap());
        let malformed = std::mem::take(&mut task.emit.malformed);
        restored = task.positions();
        let lines = restored[0].1.lines;
        for one in malformed {
            assert!(matches!(one.place, Some(Place::Line(line)) if line <= lines || line == 9001));
            bad.push(one);
        }
    }
    assert!(restored[0].1.complete, "{restored:?}");
    assert_eq!(good.len() + bad.len(), all.len());
    let expected: Vec<u32> = all.iter().flat_map(|text| text.parse()).collect();
    assert_eq!(good, expected);
    let expected = all.iter().enumerate().filter(|(_, text)| text.starts_with("bad"));
    let expected = expected.map(|(index, text)| (Place::Line(index as u64 + 1), text.as_str()));
    let expected: Vec<_> = expected.collect();
    let texts: Vec<_> = bad.iter().map(Malformed::text).collect();
    let bad = bad.iter().zip(&texts).map(|(one, text)| (one.place.unwrap(), &**text));
    assert_eq!(bad.collect::<Vec<_>>(), expected);
}

#[test]
fn a_panic_of_the_users_type_is_an_error_of_the_user() {
    #[derive(Clone, serde::Serialize)]
    struct Touchy;
    impl<'de> Deserialize<'de> for Touchy {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
            panic!("do not touch")
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, "1\n").unwrap();
    let error = Task::open(&Files::json::<Touchy>(text(&path)), &[]).unwrap().all().err().unwrap();
    assert_eq!(error.kind(), Kind::User);
    assert!(error.to_string().contains("do not touch"), "{error}");
}

#[test]
fn records_come_at_the_rate() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    fs::write(&path, lines(0..5000)).unwrap();
    let mut task = Task::open(&numbers(&path).records_per_second(100.0), &[]).unwrap();
    task.emit.now = Timestamp(10_000);
    task.until(|task| matches!(task.last, Poll::Until(_))).unwrap();
    assert_eq!((task.emit.records.len(), task.last), (0, Poll::Until(Timestamp(10_010))));
    task.emit.now = Timestamp(10_255);
    task.until(|task| matches!(task.last, Poll::Until(_))).unwrap();
    assert_eq!((task.emit.records.len(), task.last), (25, Poll::Until(Timestamp(10_260))));
    assert_eq!(task.positions()[0].1.lines, 25);
}

#[test]
fn dropping_the_reader_ends_its_thread_whatever_that_does() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), lines(0..500_000)).unwrap();
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| name.trim_end() == "files-ends-here").count()
    };
    let open = |source: &Files<Json<u32>>| {
        let mut task = Task::open_as("ends-here", source, &[], (0, 1)).unwrap();
        task.until(|_| true).unwrap();
        task
    };
    // Full of records that nobody takes; asleep for an hour.
    let mut full = open(&numbers(dir.path()));
    // A thread gets its name when it runs: what it has read shows that it does.
    full.until(|task| !task.emit.records.is_empty()).unwrap();
    fs::write(dir.path().join("b"), "1\n").unwrap();
    let pattern = dir.path().join("b*");
    let mut asleep = open(&numbers(&pattern).follow_every(Duration::from_hours(1)));
    asleep.until(|task| task.positions()[0].1.complete).unwrap();
    assert_eq!(threads(), 2);
    drop((full, asleep));
    // Joined threads leave the kernel's list a moment after join returns.
    assert!((0..100_000).any(|_| threads() == 0), "a thread outlives its reader");
}
