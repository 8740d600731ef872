//! The source: what it reads of a bucket, through restores and faults.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use millstream_dataflow::connector::files::{FileSink, Files};
use millstream_dataflow::connector::format::Json;
use millstream_dataflow::{Error, Job, Kind};
use millstream_testkit::Fault;
use tempfile::TempDir;

use crate::life::{Base, Life};
use crate::place::Place;
use crate::sink::assert_all;

/// Numbers as lines.
fn lines(numbers: std::ops::Range<u64>) -> Vec<u8> {
    numbers.flat_map(|number| format!("{number}\n").into_bytes()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    member.write_all(bytes).unwrap();
    member.finish().unwrap()
}

/// The objects of a place that this names.
fn files(place: &Place, name: &str) -> Files<Json<u64>> {
    Files::json(format!("{}{name}", place.address())).endpoint(place.proxy.endpoint())
}

/// Writes what is read to files of this folder.
fn copy(source: Files<Json<u64>>, to: &TempDir) -> Job {
    let job = Job::new(Default::default());
    job.source("in", source).sink("out", FileSink::json(to.path()));
    job
}

/// What was written, sorted.
fn numbers(folder: &Path) -> Vec<u64> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = paths.filter(|path| path.is_file()).map(|it| std::fs::read_to_string(it).unwrap());
    let mut numbers: Vec<u64> = texts
        .flat_map(|text| text.lines().map(|it| it.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Runs to the first error.
async fn fails(mut life: Life) -> Error {
    life.hurry();
    loop {
        if let Err(error) = life.next().await {
            return error;
        }
    }
}

pub(crate) async fn a_prefix_of_many_pages_is_read_whole() {
    let (place, out) = (Place::new("many").await, tempfile::tempdir().unwrap());
    for number in 0..1100 {
        place.write(&format!("{:02}/{number}.json", number % 7), &lines(number..number + 1));
    }
    place.write("01/.hidden.json", b"hidden");
    let job = copy(files(&place, "/"), &out);
    let life = Life::start((place.name, &job), 1, 2, &Base::default()).await.unwrap();
    life.finish(1).await.unwrap();
    assert_all(&numbers(out.path()), 1100);
    let lists = place.proxy.seen().iter().filter(|it| it.target.contains("list-type=2")).count();
    assert_eq!(lists, 4, "two pages for each of two tasks");

    // A glob asks for what stands before its first wildcard alone.
    let out = tempfile::tempdir().unwrap();
    let job = copy(files(&place, "/0[0-1]/*.json"), &out);
    let life = Life::start(("glob", &job), 1, 1, &Base::default()).await.unwrap();
    life.finish(1).await.unwrap();
    let expected: Vec<_> = (0..1100).filter(|number| number % 7 < 2).collect();
    assert_eq!(numbers(out.path()), expected);
    let mut seen = place.proxy.seen().into_iter();
    let last = seen.rfind(|it| it.target.contains("list-type=2"));
    assert!(last.unwrap().target.contains("prefix=many%2F0"));
}

pub(crate) async fn a_restore_goes_on_in_the_middle_of_each_object() {
    let (place, out) = (Place::new("middle").await, tempfile::tempdir().unwrap());
    // The first is of several pieces.
    place.write("a.json", &lines(0..300_000));
    place.write("b.json.gz", &gzip(&lines(300_000..350_000)));
    let zstd = zstd::encode_all(&*lines(350_000..400_000), 1).unwrap();
    place.write("c.json.zst", &zstd);
    // Every answer is late, cut or refused once in a while.
    let mut requests = 0;
    place.proxy.rule(move |_| {
        requests += 1;
        match requests % 7 {
            2 => Fault::Answer(503),
            4 => Fault::Tear,
            5 => Fault::Slow(Duration::from_millis(100)),
            6 => Fault::Swallow,
            _ => Fault::None,
        }
    });
    let job = copy(files(&place, "").records_per_second(100_000.0), &out);
    let name = (place.name, &job);
    let mut life = Life::start(name, 1, 2, &Base::default()).await.unwrap();
    life.take("out", 50_000);
    let mut base = life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    drop(life);
    for (run, threads) in [(2, 1), (3, 3)] {
        let mut life = Life::start(name, run, threads, &base).await.unwrap();
        life.take("out", 60_000);
        base = life.snapshot(run).await.unwrap();
        life.commit(run).await.unwrap();
        life.take("out", 70_000);
        drop(life);
    }
    let seen = numbers(out.path());
    assert!((170_000..400_000).contains(&seen.len()), "{}", seen.len());
    let life = Life::start(name, 4, 2, &base).await.unwrap();
    life.finish(4).await.unwrap();
    assert_all(&numbers(out.path()), 400_000);
}

pub(crate) async fn a_source_that_follows_finds_new_objects() {
    let (place, out) = (Place::new("follows").await, tempfile::tempdir().unwrap());
    let source = files(&place, "/").follow_every(Duration::from_millis(50));
    let job = copy(source, &out);
    let mut life = Life::start((place.name, &job), 1, 1, &Base::default()).await.unwrap();
    place.write("a.json", &lines(0..10));
    life.take("out", 10);
    place.write("deep/b.json.gz", &gzip(&lines(10..20)));
    life.take("out", 20);
    let base = life.snapshot(1).await.unwrap();
    life.commit(1).await.unwrap();
    assert_all(&numbers(out.path()), 20);
    drop(life);
    // What was read to its end is not read again, and may be removed.
    place.s3.remove("follows/a.json");
    place.write("c.json", &lines(20..30));
    let mut life = Life::start((place.name, &job), 2, 1, &base).await.unwrap();
    life.take("out", 10);
    life.snapshot(2).await.unwrap();
    life.commit(2).await.unwrap();
    assert_all(&numbers(out.path()), 30);
    // New content under a name that was read.
    place.write("deep/b.json.gz", &gzip(&lines(10..21)));
    let error = fails(life).await;
    assert_eq!(error.kind(), Kind::Invalid);
    let text = error.to_string();
    assert!(text.contains("s3://snapshots/follows/deep/b.json.gz was replaced: ETag "), "{text}");
}

pub(crate) async fn an_object_that_changed_since_is_refused() {
    let (place, out) = (Place::new("changed").await, tempfile::tempdir().unwrap());
    // More than is read ahead.
    let (old, new) = (lines(0..3_000_000), lines(1..3_000_001));
    place.write("a.json", &old);
    let job = copy(files(&place, "/a.json").records_per_second(50_000.0), &out);
    let name = (place.name, &job);
    let mut life = Life::start(name, 1, 1, &Base::default()).await.unwrap();
    life.take("out", 500);
    let base = life.snapshot(1).await.unwrap();
    place.write("a.json", &new);
    // While it is read.
    let while_read = fails(life).await;
    // When it is read on.
    let restored = Life::start(name, 2, 1, &base).await.err().unwrap();
    for error in [while_read, restored] {
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        let text = error.to_string();
        let begin = "s3://snapshots/changed/a.json was replaced: ETag ";
        let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("{text}"));
        let (read, rest) = rest.split_once(" was read, and it is ETag ").unwrap();
        let (found, _) = rest.split_once(" now; give new content a new name").unwrap();
        assert!(read.len() >= 32 && found.len() >= 32 && read != found, "{text}");
    }
    place.s3.remove("changed/a.json");
    let error = Life::start(name, 3, 1, &base).await.err().unwrap();
    assert!(error.to_string().contains("a.json is no longer among the files"), "{error}");
    // The old content is the old version again.
    place.write("a.json", &old);
    Life::start(name, 4, 1, &base).await.unwrap();
}

pub(crate) async fn mistakes_are_told() {
    let (place, out) = (Place::new("told").await, tempfile::tempdir().unwrap());
    place.write("bad.json", b"1\n2\nthree\n4\n");
    let job = copy(files(&place, "/"), &out);
    let life = Life::start((place.name, &job), 1, 1, &Base::default()).await.unwrap();
    let error = fails(life).await;
    assert_eq!(error.kind(), Kind::Invalid);
    let text = error.to_string();
    assert!(
        text.contains("s3://snapshots/told/bad.json, line 3: ") && text.contains("three"),
        "{text}"
    );

    let refused = |source: Files<Json<u64>>| {
        let job = copy(source, &out);
        async move {
            let error = Life::start(("told", &job), 1, 1, &Base::default()).await.err().unwrap();
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
            error.to_string()
        }
    };
    let text = refused(files(&place, "/none")).await;
    assert!(text.contains("there is no file in s3://snapshots/told/none: correct"), "{text}");
    let text = refused(files(&place, "/*.csv")).await;
    assert!(text.contains("no file matches s3://snapshots/told/*.csv"), "{text}");
    let nowhere = Files::json("s3://nowhere/a/").endpoint(place.s3.endpoint());
    let text = refused(nowhere).await;
    assert!(text.contains("cannot list s3://nowhere/a/: ") && text.contains("no bucket"), "{text}");
    let text = refused(Files::json("in/").region("eu-west-1")).await;
    assert!(text.contains("in/ is no address in S3"), "{text}");
}
