//! The engine without a worker around it: deploy, snapshot, kill, restore.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_dataflow::connector::collect::Collect;
use millstream_dataflow::connector::discard::Discard;
use millstream_dataflow::connector::generator::Generator;
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::sink::History;
use millstream_dataflow::snapshot::{Restore, RestoredPart, Share};
use millstream_dataflow::{Barrier, Job};
use millstream_protocol::id::{Epoch, Run, WorkerIndex};

fn program(job: &mut Job, out: Collect<(u64, u64)>, records: u64) {
    job.source("numbers", Generator::new(|i| i).records(records).splits(4))
        .map(|n| n + 1)
        .key_by(|n| n % 100)
        .scan("sums", 0u64, |sum, n| {
            *sum += n;
            (n % 100, *sum)
        })
        .filter(|(key, _)| key % 2 == 0)
        .sink("out", out);
}

fn deployment(threads: u32, restore: Restore) -> Deployment {
    Deployment {
        run: Run(1),
        job: "test/job".into(),
        threads: vec![threads],
        worker: WorkerIndex(0),
        restore,
        history: History::default(),
        clock: Arc::new(SystemClock::new()),
    }
}

/// Cuts a snapshot, and returns its shares.
async fn snapshot(
    engine: &Engine,
    events: &mut tokio::sync::mpsc::Receiver<Event>,
    epoch: u64,
) -> Vec<Share> {
    cut(engine, events, Barrier { epoch: Epoch(epoch), stopping: false }).await
}

async fn cut(
    engine: &Engine,
    events: &mut tokio::sync::mpsc::Receiver<Event>,
    barrier: Barrier,
) -> Vec<Share> {
    engine.barrier(barrier);
    let mut shares = Vec::new();
    while shares.len() < engine.shares() {
        match events.recv().await.unwrap() {
            Event::Share(at, share) => {
                assert_eq!(at, barrier.epoch);
                shares.push(share.unwrap());
            }
            Event::Failed(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    shares
}

async fn run_to_end(engine: &Engine, events: &mut tokio::sync::mpsc::Receiver<Event>, epoch: u64) {
    loop {
        match events.recv().await.unwrap() {
            Event::Ended => break,
            Event::Failed(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    snapshot(engine, events, epoch).await;
    engine.published(Epoch(epoch));
    engine.committer().commit(Epoch(epoch)).await.unwrap();
}

async fn start(
    job: &Job,
    threads: u32,
    restore: Restore,
) -> (Engine, tokio::sync::mpsc::Receiver<Event>) {
    let (engine, mut events) = Engine::deploy(job, deployment(threads, restore)).unwrap();
    match events.recv().await.unwrap() {
        Event::Restored => {}
        other => panic!("{other:?}"),
    }
    engine.recover().await.unwrap();
    engine.start();
    (engine, events)
}

fn expected(records: u64) -> Vec<(u64, u64)> {
    let mut sums = [0; 100];
    let mut out = Vec::new();
    for n in 1..=records {
        let key = n % 100;
        sums[key as usize] += n;
        if key % 2 == 0 {
            out.push(key);
        }
    }
    out.sort_unstable();
    out.into_iter().map(|key| (key, sums[key as usize])).collect()
}

fn check(out: &Collect<(u64, u64)>, records: u64) {
    let mut got = out.records();
    let want = expected(records);
    assert_eq!(got.len(), want.len());
    // Order between splits is free, so intermediate sums are; the last sum of a key is the largest.
    got.sort_unstable();
    let last = |records: &[(u64, u64)]| {
        records.iter().copied().collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(last(&got), last(&want));
}

#[tokio::test]
async fn a_bounded_job_runs_to_its_end() {
    for threads in 1..=3 {
        let mut job = Job::new(Default::default());
        let out = Collect::default();
        program(&mut job, out.clone(), 100_000);
        let (engine, mut events) = start(&job, threads, Restore::default()).await;
        run_to_end(&engine, &mut events, 1).await;
        check(&out, 100_000);
    }
}

#[tokio::test]
async fn behind_a_stopping_barrier_that_was_given_up_it_goes_on_as_if_there_had_been_none() {
    let records = 300_000;
    for told in [true, false] {
        let mut job = Job::new(Default::default());
        let out = Collect::default();
        program(&mut job, out.clone(), records);
        let (engine, mut events) = start(&job, 2, Restore::default()).await;
        cut(&engine, &mut events, Barrier { epoch: Epoch(1), stopping: true }).await;
        engine.abort(Epoch(1));
        let quiet = tokio::time::timeout(Duration::from_millis(300), events.recv()).await;
        assert!(quiet.is_err(), "nothing is emitted behind it: {quiet:?}");
        let mut epoch = 2;
        if told {
            engine.go_on();
        } else {
            snapshot(&engine, &mut events, epoch).await;
            engine.published(Epoch(epoch));
            engine.committer().commit(Epoch(epoch)).await.unwrap();
            epoch += 1;
        }
        let end = run_to_end(&engine, &mut events, epoch);
        tokio::time::timeout(Duration::from_secs(30), end).await.expect("it goes on");
        check(&out, records);
    }
}

#[tokio::test]
async fn it_goes_on_from_a_snapshot_at_another_parallelism_as_if_nothing_had_happened() {
    let out = Collect::default();
    let records = 3_000_000;
    let mut job = Job::new(Default::default());
    program(&mut job, out.clone(), records);
    let (engine, mut events) = start(&job, 2, Restore::default()).await;
    let first = snapshot(&engine, &mut events, 1).await;
    engine.published(Epoch(1));
    engine.committer().commit(Epoch(1)).await.unwrap();
    let second = snapshot(&engine, &mut events, 2).await;
    let mut restore = Restore::new(Epoch(2), engine.plan().clone());
    drop(engine);

    let full = second.iter().filter(|share| share.index.since.is_none());
    let replaced: Vec<_> = full.map(|s| (s.index.operator.clone(), s.index.task)).collect();
    for share in first.into_iter().chain(second) {
        let key = (share.index.operator.clone(), share.index.task);
        if share.index.epoch == Epoch(1) && replaced.contains(&key) {
            continue;
        }
        let groups = share.index.groups;
        restore.add(RestoredPart::new(share.body.clone(), groups).unwrap());
    }
    let mut job = Job::new(Default::default());
    program(&mut job, out.clone(), records);
    let (engine, mut events) = start(&job, 3, restore).await;
    run_to_end(&engine, &mut events, 3).await;
    check(&out, records);
}

/// Lets those pass who wait, when it is dropped.
struct Opens(Arc<(Mutex<bool>, Condvar)>);

impl Drop for Opens {
    fn drop(&mut self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

#[tokio::test]
async fn a_source_waits_for_room_for_as_long_as_nobody_takes_what_it_sends() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let job = Job::new(Default::default());
    let held = gate.clone();
    job.source("numbers", Generator::new(|i| i).splits(1))
        .parallelism(1)
        .key_by(|n| *n)
        .scan("held", (), move |(), n| {
            // The source is on the other thread.
            if std::thread::current().name() == Some("engine-1") {
                let (is_open, opened) = &*held;
                let is_open = is_open.lock().unwrap();
                drop(opened.wait_while(is_open, |is_open| !*is_open).unwrap());
            }
            n
        })
        .sink("out", Discard::default());
    let (engine, _events) = start(&job, 2, Restore::default()).await;
    // Dropped before the engine, whose threads end behind it.
    let opens = Opens(gate);
    let source = engine.tasks().iter().find(|task| &*task.operator == "numbers").unwrap();
    let clock = SystemClock::new();
    let blocked_ns = || source.counters.blocked_ns.load(Ordering::Relaxed);
    let until = async |ns: u64| {
        while blocked_ns() < ns {
            assert!(clock.monotonic_ns() < 20_000_000_000, "it is not said");
            tokio::task::yield_now().await;
        }
        clock.monotonic_ns()
    };
    // The few steps in which it looks whether there is room take no time.
    let begun = until(1_000_000).await;
    let waited = until(1_001_000_000).await - begun;
    assert!(waited < 1_500_000_000, "a second of it took {waited} ns");
    assert!(waited > 800_000_000, "it did not wait for longer than it was: {waited} ns");
    drop(opens);
    drop(engine);
}
