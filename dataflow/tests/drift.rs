//! How far sources drift apart: what a join must hold is bounded, whatever the speeds of its sides,
//! and nobody waits for ever.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]
#![expect(clippy::disallowed_methods, reason = "what does not happen is waited for")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millstream_dataflow::clock::{Clock, ManualClock, SystemClock};
use millstream_dataflow::connector::collect::Collect;
use millstream_dataflow::connector::discard::Discard;
use millstream_dataflow::connector::files::Files;
use millstream_dataflow::connector::generator::Generator;
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::sink::History;
use millstream_dataflow::snapshot::{Restore, RestoredPart, Share};
use millstream_dataflow::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_dataflow::window::Tumbling;
use millstream_dataflow::{Barrier, Job, Result, Timestamp, Watermarks};
use millstream_protocol::drift::Marks;
use millstream_protocol::id::{Epoch, Run, WorkerIndex};
use tokio::sync::mpsc::Receiver;

/// What a poll emits at most: a source may be so far beyond the drift.
const BATCH: i64 = 1024;
const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    engine: Engine,
    events: Receiver<Event>,
}

impl Running {
    async fn start(job: &Job, threads: Vec<u32>, restore: Restore, clock: Arc<dyn Clock>) -> Self {
        let deployment = Deployment {
            run: Run(1),
            job: "test/drift".into(),
            threads,
            worker: WorkerIndex(0),
            restore,
            history: History::default(),
            clock,
        };
        let (engine, events) = Engine::deploy(job, deployment).unwrap();
        let mut running = Self { engine, events };
        assert!(matches!(running.next().await, Event::Restored));
        running.engine.recover().await.unwrap();
        running.engine.start();
        running
    }

    async fn next(&mut self) -> Event {
        match tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap() {
            Event::Failed(error) => panic!("{error:?}"),
            event => event,
        }
    }

    async fn snapshot(&mut self, epoch: u64) -> Vec<Share> {
        self.engine.barrier(Barrier { epoch: Epoch(epoch), stopping: false });
        let mut shares = Vec::new();
        while shares.len() < self.engine.shares() {
            if let Event::Share(_, share) = self.next().await {
                shares.push(share.unwrap());
            }
        }
        self.engine.published(Epoch(epoch));
        self.engine.committer().commit(Epoch(epoch)).await.unwrap();
        shares
    }

    async fn end(mut self) {
        while !matches!(self.next().await, Event::Ended) {}
        self.snapshot(99).await;
    }

    /// The watermark of a source.
    fn watermark(&self, source: &str) -> i64 {
        let tasks = self.engine.tasks().iter().filter(|task| &*task.operator == source);
        let marks = tasks.map(|task| task.counters.watermark.load(Ordering::Relaxed));
        marks.filter(|mark| *mark != i64::MIN).min().unwrap()
    }

    /// Nanoseconds in which a source left something alone.
    fn ahead_ns(&self, source: &str) -> u64 {
        let tasks = self.engine.tasks().iter().filter(|task| &*task.operator == source);
        tasks.map(|task| task.counters.ahead_ns.load(Ordering::Relaxed)).sum()
    }
}

fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// How far one stream was ahead of another, in records of the first.
#[derive(Clone, Default)]
struct Lead {
    slow: Arc<AtomicI64>,
    most: Arc<AtomicI64>,
}

impl Lead {
    fn slow_is_at(&self, n: i64) {
        self.slow.fetch_max(n, Ordering::SeqCst);
    }

    fn fast_is_at(&self, n: i64) {
        self.most.fetch_max(n - self.slow.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    fn most(&self) -> i64 {
        self.most.load(Ordering::SeqCst)
    }
}

const SLOW: u64 = 2000;
/// Records of the fast side for each of the slow one.
const PER_SLOW: i64 = 10;

/// Joins a source of 2000 records in a second with one of ten times as many, which takes a
/// hundredth of that; `unit_ms` lie between two records of the slow one.
fn joined(job: &Job, unit_ms: i64, lead: &Lead, out: Collect<(u64, u64)>) {
    let slow = Generator::new(|n| n).records(SLOW).records_per_second(SLOW as f64);
    let slow = job.source("slow", slow);
    let slow = slow.event_time(move |n| Timestamp(*n as i64 * unit_ms), Watermarks::ascending());
    let fast = job.source("fast", Generator::new(|n| n).records(SLOW * PER_SLOW as u64));
    let fast = fast
        .event_time(move |n| Timestamp(*n as i64 * unit_ms / PER_SLOW), Watermarks::ascending());
    let (of_slow, of_fast) = (lead.clone(), lead.clone());
    let slow = slow.inspect(move |n| of_slow.slow_is_at(*n as i64 * PER_SLOW));
    let fast = fast.inspect(move |n| of_fast.fast_is_at(*n as i64));
    let window = Tumbling::of(Duration::from_millis(10 * unit_ms as u64));
    let pairs = slow.key_by(|n| n % 7).join(&fast.key_by(|n| n % 7)).window(window);
    pairs.inner("pairs", |_, slow, fast| (*slow, *fast)).sink("out", out);
}

/// The most that the join had to hold of the fast side, and what came out. `say` says how far the
/// sides may be apart, or nothing.
async fn run_joined(threads: u32, unit_ms: i64, say: impl Fn(&Job)) -> (i64, Vec<(u64, u64)>) {
    let (job, lead, out) = (Job::new(Default::default()), Lead::default(), Collect::default());
    say(&job);
    joined(&job, unit_ms, &lead, out.clone());
    let running = Running::start(&job, vec![threads], Restore::default(), system()).await;
    running.end().await;
    let mut records = out.records();
    records.sort_unstable();
    (lead.most(), records)
}

#[tokio::test]
async fn a_join_holds_what_the_drift_allows_and_a_batch_whatever_the_speeds_of_its_sides() {
    let units = 200;
    let (unbounded, wanted) = run_joined(2, 1, |job| job.max_drift(None)).await;
    assert!(wanted.len() > 10_000);
    assert!(unbounded > SLOW as i64 * PER_SLOW / 2, "{unbounded}: there is nothing to bound");
    // What the slow side has not emitted yet of its second is not seen in the meantime: at its
    // rate that is a batch of its own at most.
    let bound = units * PER_SLOW + BATCH + 100 * PER_SLOW;
    for threads in [1, 2, 3] {
        let drift = Duration::from_millis(units as u64);
        let (most, records) = run_joined(threads, 1, |job| job.max_drift(drift)).await;
        assert_eq!(records, wanted);
        assert!(most <= bound, "{most} > {bound} with {threads} threads");
        assert!(most > units * PER_SLOW / 2, "{most}: nobody ran ahead at all");
        // A minute, by itself.
        let (most, records) = run_joined(threads, 60_000 / units, |_| ()).await;
        assert_eq!(records, wanted);
        assert!(most <= bound, "{most} > {bound} with {threads} threads, by default");
    }
}

#[tokio::test]
async fn of_the_splits_of_one_task_those_that_are_ahead_wait_for_the_others() {
    const RECORDS: u64 = 100_000;
    for (threads, max_drift) in [(1, true), (2, true), (1, false)] {
        let (job, lead) = (Job::new(Default::default()), Lead::default());
        job.max_drift(max_drift.then_some(Duration::from_secs(200)));
        // Odd records are a hundred times as far as even ones.
        let time = |n: &u64| Timestamp((n % 2 * 99 + 1) as i64 * *n as i64);
        let source = job.source("numbers", Generator::new(|n| n).records(RECORDS).splits(2));
        let seen = lead.clone();
        let numbers = source.event_time(time, Watermarks::ascending()).inspect(move |n| {
            if n % 2 == 0 {
                // Once it is at its end, nobody waits for it.
                let is_last = *n + 2 >= RECORDS;
                seen.slow_is_at(if is_last { i64::MAX } else { time(n).0 });
            } else {
                seen.fast_is_at(time(n).0);
            }
        });
        let count = Arc::<AtomicU64>::default();
        let counted = count.clone();
        let counts = numbers.inspect(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        counts.sink("out", Discard::default());
        let running = Running::start(&job, vec![threads], Restore::default(), system()).await;
        running.end().await;
        assert_eq!(count.load(Ordering::SeqCst), RECORDS);
        // A batch to know where it begins, and one beyond the drift.
        let bound = 200_000 + 2 * BATCH * 200;
        assert_eq!(lead.most() <= bound, max_drift, "{} and {bound}", lead.most());
    }
}

#[tokio::test]
async fn of_the_files_of_one_task_those_that_are_ahead_wait_for_the_others() {
    const LINES: i64 = 400_000;
    let folder = tempfile::tempdir().unwrap();
    // One is a hundred times as far as the other.
    for (name, factor) in [("a", 1), ("b", 100)] {
        let lines = (0..LINES).map(|n| format!("{}\n", (n * factor) * 2 + factor % 2));
        std::fs::write(folder.path().join(name), lines.collect::<String>()).unwrap();
    }
    for max_drift in [true, false] {
        let (job, lead) = (Job::new(Default::default()), Lead::default());
        job.max_drift(max_drift.then_some(Duration::from_secs(100)));
        let source = job.source("lines", Files::json::<i64>(folder.path().to_str().unwrap()));
        let seen = lead.clone();
        let numbers =
            source.parallelism(1).event_time(|n| Timestamp(*n / 2), Watermarks::ascending());
        let count = Arc::<AtomicI64>::default();
        let counted = count.clone();
        let numbers = numbers.inspect(move |n| {
            counted.fetch_add(1, Ordering::SeqCst);
            match n / 2 {
                time if n % 2 == 0 => seen.fast_is_at(time),
                time if time == LINES - 1 => seen.slow_is_at(i64::MAX),
                time => seen.slow_is_at(time),
            }
        });
        numbers.sink("out", Discard::default());
        Running::start(&job, vec![1], Restore::default(), system()).await.end().await;
        assert_eq!(count.load(Ordering::SeqCst), 2 * LINES);
        // Blocks of 128 KiB that were read by then, of lines of nine bytes and more.
        let bound = 100_000 + LINES + 6 * (128 << 10) / 9 * 100;
        assert_eq!(lead.most() <= bound, max_drift, "{} and {bound}", lead.most());
    }
}

/// A source of the numbers 0.. with these as their times, as far as its gate is open. Says that it
/// is empty when it is not further open; never ends.
#[derive(Clone)]
struct Gated {
    open_to: Arc<AtomicU64>,
    begins_at: u64,
}

struct GatedReader {
    gated: Gated,
    next: u64,
}

impl Gated {
    fn new(begins_at: u64) -> Self {
        Self { open_to: Arc::default(), begins_at }
    }

    fn open(&self, to: u64) {
        self.open_to.store(to, Ordering::SeqCst);
    }
}

impl Source for Gated {
    type Item = u64;
    type Position = u64;
    type Reader = GatedReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<GatedReader> {
        let restored = ctx.restored.first().map(|(_, next)| *next);
        Ok(GatedReader { gated: self.clone(), next: restored.unwrap_or(self.begins_at) })
    }

    fn parallelism_max(&self) -> Option<u32> {
        Some(1)
    }
}

impl Reader for GatedReader {
    type Item = u64;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<u64>) -> Result<Poll> {
        let split = emit.split("gated");
        let end = self.gated.open_to.load(Ordering::SeqCst).min(self.next + emit.room() as u64);
        if end <= self.next {
            emit.is_empty(split);
            return Ok(Poll::Pending);
        }
        emit.records(split, self.next..end);
        self.next = end;
        if end == self.gated.open_to.load(Ordering::SeqCst) {
            emit.is_empty(split);
        }
        Ok(Poll::Ready)
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        vec![("gated".into(), self.next)]
    }
}

/// A gated source beside one of so many records, one for each millisecond, that nothing keeps but
/// a drift of a second.
struct Beside {
    job: Job,
    gated: Gated,
    clock: Arc<ManualClock>,
    /// How many records came of the other one.
    count: Arc<AtomicU64>,
    gated_count: Arc<AtomicU64>,
}

const FREE: u64 = 100_000;
const DRIFT: u64 = 1000;
const IDLE_AFTER: Duration = Duration::from_secs(30);

impl Beside {
    fn new(gated: Gated) -> Self {
        let job = Job::new(Default::default());
        job.max_drift(Duration::from_millis(DRIFT));
        let time = |n: &u64| Timestamp(*n as i64);
        let marks = Watermarks::ascending().idle_after(IDLE_AFTER);
        let source = job.source("gated", gated.clone()).event_time(time, marks);
        let free = job.source("free", Generator::new(|n| n).records(FREE)).event_time(time, marks);
        let counts = [("gated-out", source), ("free-out", free)].map(|(id, stream)| {
            let count = Arc::<AtomicU64>::default();
            let counted = count.clone();
            let seen = stream.inspect(move |_| {
                counted.fetch_add(1, Ordering::SeqCst);
            });
            seen.sink(id, Discard::default());
            count
        });
        let [gated_count, count] = counts;
        Self { job, gated, clock: Arc::default(), count, gated_count }
    }

    async fn start(&self, restore: Restore) -> Running {
        Running::start(&self.job, vec![2], restore, self.clock.clone()).await
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// Waits until so many records of the free source came.
    async fn wait_for(&self, count: u64) {
        let since = Instant::now();
        while self.count() < count {
            assert!(since.elapsed() < PATIENCE, "{} of {count} records came", self.count());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until no more records come; returns how many came.
    async fn settled(&self) -> u64 {
        let mut last = self.count();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if self.count() == last {
                return last;
            }
            last = self.count();
        }
    }
}

#[tokio::test]
async fn a_split_that_never_produces_holds_up_the_others_until_it_is_idle_and_no_barrier() {
    let beside = Beside::new(Gated::new(0));
    let mut running = beside.start(Restore::default()).await;
    let held = beside.settled().await;
    // A batch was needed to know where it begins.
    assert!(held > 0 && held <= DRIFT + 2 * BATCH as u64, "{held}");
    let since = Instant::now();
    running.snapshot(1).await;
    assert!(since.elapsed() < Duration::from_secs(5), "a barrier waited for a source");
    assert_eq!(beside.settled().await, held, "half a minute has not passed");
    assert_eq!(running.ahead_ns("free"), 0, "by the job's clock it was no time at all");
    beside.clock.set(Timestamp(IDLE_AFTER.as_millis() as i64 - 1));
    assert_eq!(beside.settled().await, held, "nor has it now");
    beside.clock.set(Timestamp(IDLE_AFTER.as_millis() as i64));
    beside.wait_for(FREE).await;
    assert!(running.ahead_ns("free") >= IDLE_AFTER.as_nanos() as u64 - 1_000_000);
    assert_eq!(running.ahead_ns("gated"), 0);
}

#[tokio::test]
async fn a_split_that_starts_late_finds_the_others_within_the_drift() {
    // It begins earlier than the other one, or later; in the end it is the one that waits.
    for begins_at in [0, 3000] {
        let beside = Beside::new(Gated::new(begins_at));
        let _running = beside.start(Restore::default()).await;
        let held = beside.settled().await;
        assert!(held > 0 && held <= DRIFT + 2 * BATCH as u64, "{held}");
        beside.gated.open(begins_at + 1);
        let next = beside.settled().await;
        let bound = begins_at + DRIFT + 2 * BATCH as u64;
        assert!(next <= bound, "{next} > {bound}");
        beside.gated.open(50_000);
        let next = beside.settled().await;
        assert!(next > 50_000 && next <= 50_000 + DRIFT + 2 * BATCH as u64, "{next}");
        beside.gated.open(u64::MAX);
        beside.wait_for(FREE).await;
    }
}

#[tokio::test]
async fn one_that_is_held_is_not_idle_and_holds_its_watermark() {
    let slow = Generator::new(|n| n).records(FREE).records_per_second(1000.0);
    let job = Job::new(Default::default());
    job.max_drift(Duration::from_millis(DRIFT));
    let time = |n: &u64| Timestamp(*n as i64);
    let marks = Watermarks::ascending().idle_after(Duration::from_millis(1));
    let gated = Gated::new(90_000);
    let source = job.source("gated", gated.clone()).event_time(time, marks);
    let slow = job.source("slow", slow).parallelism(1);
    let slow = slow.event_time(time, Watermarks::ascending());
    let (seen, first) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (counted, begun) = (seen.clone(), first.clone());
    let source = source.inspect(move |n| {
        counted.fetch_max(*n, Ordering::SeqCst);
    });
    let slow = slow.inspect(move |n| {
        begun.fetch_max(*n, Ordering::SeqCst);
    });
    source.union([&slow]).sink("out", Discard::default());
    let clock = Arc::new(ManualClock::default());
    let mut running = Running::start(&job, vec![2], Restore::default(), clock.clone()).await;
    let wait_for = async |what: &AtomicU64, value: u64| {
        let since = Instant::now();
        while what.load(Ordering::SeqCst) < value {
            assert!(since.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let mut now = 0;
    while first.load(Ordering::SeqCst) < 9 {
        now += 1;
        clock.set(Timestamp(now));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // It says that it is empty with its one record; then it is far ahead, and not read.
    gated.open(90_001);
    wait_for(&seen, 90_000).await;
    for _ in 0..10 {
        now += 10;
        clock.set(Timestamp(now));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    gated.open(90_100);
    running.snapshot(1).await;
    assert_eq!(seen.load(Ordering::SeqCst), 90_000);
    assert_eq!(running.watermark("gated"), 90_000, "its watermark is its own");
    assert!(running.ahead_ns("gated") > 0 && running.watermark("slow") <= now);
    // Were it idle, the time between would not count either: it is read as soon as it may be.
    clock.set(Timestamp(100_000));
    wait_for(&seen, 90_099).await;
}

#[tokio::test]
async fn restored_watermarks_count_from_the_first_poll() {
    let beside = Beside::new(Gated::new(0));
    beside.gated.open(5000);
    let mut running = beside.start(Restore::default()).await;
    let held = beside.settled().await;
    assert!(held >= 5000 && held <= 5000 + DRIFT + 2 * BATCH as u64, "{held}");
    let shares = running.snapshot(1).await;
    let mut restore = Restore::new(Epoch(1), running.engine.plan().clone());
    for share in shares {
        let groups = share.index.groups;
        restore.add(RestoredPart::new(share.body, groups).unwrap());
    }
    drop(running);
    // It stands where it stood, though it has put out nothing in this run.
    let _running = beside.start(restore).await;
    assert_eq!(beside.settled().await, held);
    assert_eq!(beside.gated_count.load(Ordering::SeqCst), 5000);
    beside.gated.open(u64::MAX);
    beside.wait_for(FREE).await;
}

#[tokio::test]
async fn sources_of_other_workers_hold_back_what_was_reached_when_they_told_of_themselves() {
    let job = Job::new(Default::default());
    job.max_drift(Duration::from_millis(DRIFT));
    // Ten milliseconds of event time in each of the clock.
    let numbers = job.source("numbers", Generator::new(|n| n).records_per_second(10_000.0));
    let numbers = numbers.event_time(|n| Timestamp(*n as i64), Watermarks::ascending());
    let count = Arc::<AtomicU64>::default();
    let counted = count.clone();
    let seen = numbers.inspect(move |n| {
        counted.fetch_max(*n, Ordering::SeqCst);
    });
    seen.sink("out", Discard::default());
    let clock = Arc::new(ManualClock::default());
    // All records are read here: of the other worker there is nothing but what it tells.
    let threads = vec![1, 1];
    let running = Running::start(&job, threads, Restore::default(), clock.clone()).await;
    let mut now = 0;
    let mut pass = async |until: i64| {
        while now < until {
            now += 50;
            clock.set(Timestamp(now));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        count.load(Ordering::SeqCst)
    };
    // Nothing was heard of the other one: it may begin where this one did, at 0. In half a second
    // that has to be heard of.
    let begun = pass(500).await;
    assert!(begun > 2 * DRIFT, "{begun}: what is compared is what was reached a while ago");
    let held = pass(5000).await;
    assert!(held > 4 * DRIFT && held < 15_000, "{held}");
    let own = running.engine.marks().unwrap();
    assert!(own.lowest.unwrap() > 0 && own.first.unwrap() < 2000 && !own.unknown, "{own:?}");
    running.engine.others_stand_at(Marks { lowest: Some(20_000), first: Some(0), unknown: false });
    let next = pass(10_000).await;
    // What it might have made meanwhile comes at once, and counts half a second later.
    assert!(next > 21_000 && next < 70_000, "{next}");
    // That of which nothing is known any more holds back no further than that.
    running.engine.others_stand_at(Marks::UNHEARD);
    assert_eq!(pass(10_500).await, next);
    running.engine.others_stand_at(Marks::default());
    assert!(pass(11_000).await > 80_000);
}
