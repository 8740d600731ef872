//! A job with a Kafka sink, as real processes against a real broker: killed, cut off, taken over.
//!
//! This binary plays two parts: as `kafka run job.yaml ..` it is a user's binary with the program
//! below; else it is the test, which starts itself in that part.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod life;
#[path = "../support/suite.rs"]
mod suite;
#[expect(dead_code, reason = "it serves the tests of the engine too")]
#[path = "../../../dataflow/tests/kafka_sink/topic.rs"]
mod topic;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use millstream_testkit::Kafka;
use millstream_worker::connector::generator::Generator;
use millstream_worker::connector::kafka::KafkaSink;
use millstream_worker::{Job, Result, programs};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

use life::Life;
use topic::Topic;

/// How many numbers the job writes.
const NUMBERS: u64 = 20_000;
/// Per second, where it is to be killed on the way: ten seconds for all.
const SLOW: f64 = 2000.0;
const FAST: f64 = 1e9;
/// So often in a row a snapshot is seen without its mark before it counts as one that cannot be
/// committed.
const LOOKS_WITHOUT_MARK: u32 = 50;
/// How often the job is killed.
const KILLS: u32 = 6;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "run") {
        return millstream_worker::main(programs![numbers]);
    }
    suite::run(suite::tests![
        killed_at_random_moments_every_number_is_there_once,
        killed_between_publish_and_commit_the_next_run_sends_what_is_left,
        a_process_that_was_asleep_is_locked_out_and_stops,
        a_lost_token_ends_the_run_with_what_to_do,
        an_outbox_that_fills_has_its_snapshot_long_before_it_is_due,
    ])
}

/// Numbers from 0 on, each once.
fn numbers(job: &mut Job) -> Result<()> {
    let (brokers, topic) = (job.args().get("brokers")?, job.args().get("topic")?);
    let sink = KafkaSink::json(topic).brokers(brokers);
    let sink = sink.outbox_bytes(job.args().parse("outbox")?);
    let rate: f64 = job.args().parse("rate")?;
    let source = Generator::new(|i: u64| i).records(NUMBERS).splits(8).records_per_second(rate);
    job.source("in", source).rebalance().sink("out", sink);
    Ok(())
}

/// A directory with a job in it, and the topic that it writes.
struct Place {
    folder: TempDir,
    topic: Topic,
}

impl Place {
    fn new(kafka: &Kafka, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topic = Topic::at(kafka.address(), name, 3);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(topic.create(&[]));
        let (at, brokers) = (folder.path().display(), &topic.brokers);
        let text = format!(
            "apiVersion: millstream.dev/v1alpha1\n\
             kind: StreamJob\n\
             metadata: {{name: {name}}}\n\
             spec:\n  \
               program: {{args: {{brokers: '{brokers}', topic: {name}, outbox: '1000000'}}}}\n  \
               snapshots: {{store: 'file://{at}/store', interval: 200ms}}\n"
        );
        std::fs::write(folder.path().join("job.yaml"), text).unwrap();
        Self { folder, topic }
    }

    fn start(&self, threads: u32, rate: f64) -> Life {
        self.start_with(threads, rate, &[])
    }

    fn start_with(&self, threads: u32, rate: f64, sets: &[&str]) -> Life {
        Life::start(&self.folder.path().join("job.yaml"), threads, rate, sets)
    }

    fn log(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("store/default").join(&self.topic.name)
    }

    fn entries(&self) -> usize {
        std::fs::read_dir(self.log().join("log")).unwrap().count()
    }

    fn marks(&self) -> usize {
        std::fs::read_dir(self.log().join("committed")).map_or(0, Iterator::count)
    }

    /// Lets the job end by itself: then every number is there once.
    fn finish(&self, threads: u32) {
        let end = self.start(threads, FAST).end();
        assert_eq!(end.code, Some(0), "{end:?}");
        assert_eq!(self.topic.committed(), (0..NUMBERS).collect::<Vec<_>>());
    }
}

fn killed_at_random_moments_every_number_is_there_once() {
    let seed = u64::from(std::process::id());
    let mut rng = SmallRng::seed_from_u64(seed);
    let kafka = Kafka::shared();
    let place = Place::new(&kafka, "killed");
    let mut lived = String::new();
    for _ in 0..KILLS {
        let (threads, ms) = (rng.random_range(1..=3), rng.random_range(0..900));
        let _ = write!(lived, " {threads}x{ms}ms");
        let mut life = place.start(threads, SLOW);
        life.wait_for(life::RUNNING);
        life.go_on(Duration::from_millis(ms));
        life.kill();
        let seen = place.topic.committed();
        let once: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(once.len(), seen.len(), "seed {seed}:{lived}: a number is there twice");
    }
    println!("seed {seed}:{lived}");
    assert!(place.topic.committed().len() < NUMBERS as usize, "it was killed on the way");
    place.finish(2);
    // A job that has finished stays as it is.
    place.finish(1);
}

/// Stops the broker under a job that runs, until a snapshot is published that cannot be committed.
fn publish_without_broker(kafka: &mut Kafka, place: &Place, life: &mut Life) {
    life.wait_for(life::RUNNING);
    while place.marks() < 2 {
        life.go_on(Duration::from_millis(20));
    }
    kafka.kill();
    // One that was committed this moment has its mark soon; one that cannot be has none for long.
    let mut looks = 0;
    while looks < LOOKS_WITHOUT_MARK {
        life.go_on(Duration::from_millis(20));
        // The log has one claim beside its manifests.
        looks = if place.marks() + 1 < place.entries() { looks + 1 } else { 0 };
    }
}

fn killed_between_publish_and_commit_the_next_run_sends_what_is_left() {
    let mut kafka = Kafka::start();
    let place = Place::new(&kafka, "between");
    let mut life = place.start(2, SLOW);
    publish_without_broker(&mut kafka, &place, &mut life);
    life.kill();
    kafka.restart();
    let before = place.topic.committed().len();
    let mut life = place.start(3, SLOW);
    life.wait_for("resumes from snapshot");
    let seen = place.topic.committed();
    assert!(seen.len() > before, "{before} before, {} after", seen.len());
    life.kill();
    place.finish(1);
}

fn a_process_that_was_asleep_is_locked_out_and_stops() {
    let mut kafka = Kafka::start();
    let place = Place::new(&kafka, "asleep");
    let mut zombie = place.start(2, SLOW);
    publish_without_broker(&mut kafka, &place, &mut zombie);
    zombie.signal("STOP");
    kafka.restart();
    let mut life = place.start(2, SLOW);
    life.wait_for("resumes from snapshot");
    // It wakes up in the middle of its commit.
    zombie.signal("CONT");
    let end = zombie.end();
    assert_eq!(end.code, Some(3), "{end:?}");
    assert!(end.said.lines().any(|line| line.starts_with("error: ")), "{end:?}");
    life.go_on(Duration::from_millis(500));
    life.kill();
    place.finish(2);
}

fn a_lost_token_ends_the_run_with_what_to_do() {
    let mut kafka = Kafka::start();
    let place = Place::new(&kafka, "lost");
    let mut life = place.start(2, SLOW);
    publish_without_broker(&mut kafka, &place, &mut life);
    life.kill();
    kafka.restart();
    let seen = place.topic.committed();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(
        place.topic.delete_groups(
            &[0, 1].map(|task| format!("millstream.default.lost.out.{task}.epochs")),
        ),
    );
    let end = place.start(2, FAST).end();
    assert_eq!(end.code, Some(2), "{end:?}");
    let last = end.said.lines().last().unwrap();
    assert!(last.starts_with("error: lost: operator out: "), "{last}");
    assert!(last.contains("offsets.retention.minutes"), "{last}");
    assert_eq!(place.topic.committed(), seen, "nothing is sent on a guess");
}

fn an_outbox_that_fills_has_its_snapshot_long_before_it_is_due() {
    let kafka = Kafka::shared();
    let place = Place::new(&kafka, "early");
    // A tenth of what the job writes: without a snapshot, it would stand still for an hour.
    let sets = ["spec.snapshots.interval=1h", "spec.program.args.outbox=20000"];
    let end = place.start_with(1, FAST, &sets).end();
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(place.topic.committed(), (0..NUMBERS).collect::<Vec<_>>());
    assert!(place.entries() > 3, "{} log entries", place.entries());
}
