//! Files in, files out, through the engine: killed, restored, and nothing twice or missing.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_dataflow::clock::{Clock, ManualClock, SystemClock};
use millstream_dataflow::connector::files::{FileSink, Files};
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::sink::History;
use millstream_dataflow::snapshot::{Restore, RestoredPart, Share};
use millstream_dataflow::{Barrier, Error, Job, Timestamp, Watermarks};
use millstream_protocol::id::{Epoch, Run, WorkerIndex};
use millstream_protocol::plan::Plan;
use tokio::sync::mpsc::Receiver;

struct Life {
    engine: Engine,
    events: Receiver<Event>,
}

impl Life {
    async fn start(job: &Job, run: u64, restore: Restore, clock: Arc<dyn Clock>) -> Self {
        let deployment = Deployment {
            run: Run(run),
            job: "test/files".into(),
            threads: vec![1 + run as u32],
            worker: WorkerIndex(0),
            restore,
            history: History::default(),
            clock,
        };
        let (engine, events) = Engine::deploy(job, deployment).unwrap();
        let mut life = Self { engine, events };
        assert!(matches!(life.next().await, Event::Restored));
        life.engine.recover().await.unwrap();
        life.engine.start();
        life
    }

    async fn next(&mut self) -> Event {
        match self.events.recv().await.unwrap() {
            Event::Failed(error) => panic!("{error:?}"),
            event => event,
        }
    }

    /// Cuts a snapshot.
    async fn snapshot(&mut self, epoch: u64) -> Vec<Share> {
        self.engine.barrier(Barrier { epoch: Epoch(epoch), stopping: false });
        let mut shares = Vec::new();
        while shares.len() < self.engine.shares() {
            if let Event::Share(_, share) = self.next().await {
                shares.push(share.unwrap());
            }
        }
        shares
    }

    async fn commit(&self, epoch: u64) {
        self.engine.published(Epoch(epoch));
        self.engine.committer().commit(Epoch(epoch)).await.unwrap();
    }

    fn written(&self) -> u64 {
        let sinks = self.engine.tasks().iter().filter(|info| &*info.operator == "out");
        sinks.map(|info| info.counters.records_in.load(Ordering::Relaxed)).sum()
    }

    /// Lets time pass until the sink has taken in so many records.
    fn write(&self, clock: &ManualClock, records: u64) {
        for _ in 0..10_000 {
            if self.written() >= records {
                return;
            }
            clock.set(clock.now().saturating_add(2));
            std::thread::park_timeout(Duration::from_millis(2));
        }
        panic!("{} of {records} records were written", self.written());
    }
}

fn restore(epoch: u64, shares: Vec<Share>) -> Restore {
    let mut restore = Restore::new(Epoch(epoch), Plan::default());
    for share in shares {
        let groups = share.index.groups;
        restore.add(RestoredPart::new(share.body.clone(), groups).unwrap());
    }
    restore
}

/// The records in all files that appeared, sorted.
fn shown(directory: &Path) -> Vec<u32> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file());
    let texts = files.map(|path| std::fs::read_to_string(path).unwrap());
    let mut numbers: Vec<u32> = texts
        .flat_map(|text| text.lines().map(|line| line.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    numbers.sort_unstable();
    numbers
}

fn waiting(directory: &Path) -> usize {
    let waiting = directory.join(".pending/test%2Ffiles/out");
    let names = std::fs::read_dir(waiting).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| !name.to_str().unwrap().starts_with("done-")).count()
}

fn input(directory: &Path) {
    let lines = |numbers: std::ops::Range<u32>| {
        numbers.flat_map(|number| [number.to_string(), "\n".to_owned()]).collect::<String>()
    };
    std::fs::create_dir(directory).unwrap();
    std::fs::write(directory.join("a.json"), lines(0..10_000)).unwrap();
    let gzip = std::fs::File::create(directory.join("b.json.gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(gzip, flate2::Compression::fast());
    gzip.write_all(lines(10_000..20_000).as_bytes()).unwrap();
    gzip.finish().unwrap();
    let bytes = zstd::encode_all(lines(20_000..30_000).as_bytes(), 1).unwrap();
    std::fs::write(directory.join("c.json.zst"), bytes).unwrap();
}

fn program(directory: &Path, rate: f64) -> Job {
    let job = Job::new(Default::default());
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    job.source("in", Files::json::<u32>(path("in")).records_per_second(rate))
        .sink("out", FileSink::json(path("out")).roll_bytes(4096));
    job
}

#[tokio::test]
async fn a_job_that_is_killed_at_any_point_writes_every_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    input(&dir.path().join("in"));

    // Killed with an epoch published and not committed, and records behind it.
    let clock = Arc::new(ManualClock::default());
    let mut life =
        Life::start(&program(dir.path(), 10_000.0), 1, Restore::default(), clock.clone()).await;
    let mut published = Vec::new();
    for epoch in 1..=2 {
        life.write(&clock, epoch * 8000);
        published = life.snapshot(epoch).await;
        if epoch == 1 {
            assert_eq!(shown(&out), [0; 0], "nothing appears before the snapshot is published");
            life.commit(1).await;
        }
    }
    let committed = shown(&out).len();
    assert!((1..30_000).contains(&committed), "{committed}");
    life.write(&clock, 20_000);
    drop(life);
    assert!(waiting(&out) > 0);

    // Killed again, with what it wrote in no snapshot at all.
    let clock = Arc::new(ManualClock::default());
    let again = restore(2, published.clone());
    let life = Life::start(&program(dir.path(), 10_000.0), 2, again, clock.clone()).await;
    let recovered = shown(&out).len();
    assert!(recovered > committed, "{recovered}");
    assert_eq!(waiting(&out), 0, "what run 1 left is gone");
    life.write(&clock, 3000);
    drop(life);
    assert!(waiting(&out) > 0);

    let clock = Arc::new(SystemClock::new());
    let again = restore(2, published);
    let mut life = Life::start(&program(dir.path(), 1e9), 3, again, clock).await;
    while !matches!(life.next().await, Event::Ended) {}
    life.snapshot(3).await;
    life.commit(3).await;
    assert_eq!(shown(&out), (0..30_000).collect::<Vec<_>>());
    assert_eq!(waiting(&out), 0);
}

/// Numbers but for every tenth line; of every thirteenth number the event time cannot be read.
fn input_with_malformed(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    for (file, first) in [("a.json", 0), ("b.json", 10_000)] {
        let line = |n: u32| if n % 10 == 3 { format!("no {n}\n") } else { format!("{n}\n") };
        let text: String = (first..first + 10_000).map(line).collect();
        std::fs::write(directory.join(file), text).unwrap();
    }
}

fn program_with_malformed(directory: &Path, rate: f64) -> Job {
    let job = Job::new(Default::default());
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let source = Files::json::<u32>(path("in")).records_per_second(rate);
    let (numbers, malformed) = job.source("in", source).with_malformed();
    let read = |n: &u32| match n % 13 {
        0 => Err(Error::user("thirteen")),
        _ => Ok(Timestamp(i64::from(*n))),
    };
    numbers.try_event_time(read, Watermarks::ascending()).sink("out", FileSink::json(path("out")));
    malformed.map(|record| record.to_string()).sink("bad", FileSink::lines(path("bad")));
    job
}

/// The lines in all files that appeared, sorted.
fn lines_in(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let texts = files.filter(|path| path.is_file()).map(std::fs::read_to_string);
    let lines = texts.flat_map(|text| text.unwrap().lines().map(str::to_owned).collect::<Vec<_>>());
    let mut lines: Vec<_> = lines.collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn a_job_that_is_killed_puts_every_malformed_record_out_once() {
    let dir = tempfile::tempdir().unwrap();
    input_with_malformed(&dir.path().join("in"));
    let slow = || program_with_malformed(dir.path(), 10_000.0);

    let clock = Arc::new(ManualClock::default());
    let mut life = Life::start(&slow(), 1, Restore::default(), clock.clone()).await;
    let mut published = Vec::new();
    for epoch in 1..=2 {
        life.write(&clock, epoch * 4000);
        published = life.snapshot(epoch).await;
        if epoch == 1 {
            life.commit(1).await;
        }
    }
    let committed = lines_in(&dir.path().join("bad")).len();
    assert!((1..3000).contains(&committed), "{committed}");
    life.write(&clock, 12_000);
    drop(life);

    let clock = Arc::new(ManualClock::default());
    let life = Life::start(&slow(), 2, restore(2, published.clone()), clock.clone()).await;
    life.write(&clock, 3000);
    drop(life);

    let clock = Arc::new(SystemClock::new());
    let job = program_with_malformed(dir.path(), 1e9);
    let mut life = Life::start(&job, 3, restore(2, published), clock).await;
    while !matches!(life.next().await, Event::Ended) {}
    life.snapshot(3).await;
    life.commit(3).await;

    let is_number = |n: &u32| n % 10 != 3;
    let good: Vec<_> = (0..20_000).filter(|n| is_number(n) && n % 13 != 0).collect();
    assert_eq!(shown(&dir.path().join("out")), good);
    let bad = (0..20_000u32).filter(|n| !is_number(n) || n % 13 == 0);
    let mut bad: Vec<_> = bad
        .map(|n| {
            let (file, line) = (if n < 10_000 { "a.json" } else { "b.json" }, n % 10_000 + 1);
            if is_number(&n) {
                format!("{file}, line {line}: event time: thirteen: {n}")
            } else {
                format!("{file}, line {line}: expected ident at column 2: no {n}")
            }
        })
        .collect();
    bad.sort_unstable();
    assert_eq!(lines_in(&dir.path().join("bad")), bad);
}
