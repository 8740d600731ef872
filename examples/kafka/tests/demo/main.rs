//! The demo: the job of this crate on a real broker and a real S3 endpoint, killed three times
//! while it runs, and compared with a run that was never killed.
//!
//! `make demo-kafka` runs it and shows what it prints; the tests run it too. Broker and endpoint
//! run on loopback. Invariant: nothing is left of them or of the job, however this process ends.
#![expect(clippy::unwrap_used, reason = "a demo that does not work is a failed test")]

mod feed;
mod topic;

use std::process::Command;
use std::time::Duration;

use millstream_testkit::{Kafka, Life, S3};
use millstream_worker::stock::PARTITIONS;

use feed::{Feed, PER_PARTITION, PER_SECOND, SHOPS};
use topic::Topic;

/// What the job says once its tasks run, from an empty state or from a snapshot.
const RUNNING: &str = "s from ";
/// How often the job is killed.
const KILLS: usize = 3;
/// How often it is looked how many results are visible.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How much later than at such a look each kill comes: somewhere in the second between snapshots.
const THEN: [u64; KILLS] = [0, 350, 700];

/// Where the job's parts are.
struct Place {
    kafka: Kafka,
    s3: S3,
}

impl Place {
    /// Starts the job, with further arguments; its output goes to this topic, its snapshots below
    /// this prefix.
    fn start(&self, turnover: &Topic, prefix: &str, orders: &Topic, args: &[&str]) -> Life {
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnover"));
        command.args(["run", concat!(env!("CARGO_MANIFEST_DIR"), "/job.yaml")]).args(args);
        for set in [
            format!("program.args.brokers={}", self.kafka.address()),
            format!("program.args.orders={}", orders.name),
            format!("program.args.turnover={}", turnover.name),
            format!("program.args.end={PER_PARTITION}"),
            format!("snapshots.store=s3://{}/{prefix}", S3::BUCKET),
            format!("snapshots.endpoint={}", self.s3.endpoint()),
        ] {
            command.args(["--set", &format!("spec.{set}")]);
        }
        command.env("AWS_ACCESS_KEY_ID", S3::WRITER.key).env("MILLSTREAM_LOG", "info");
        command.env("AWS_SECRET_ACCESS_KEY", S3::WRITER.secret);
        Life::start(command)
    }
}

fn main() {
    say("Starting a Kafka broker and an S3 endpoint (SeaweedFS), on loopback");
    let place = Place { kafka: Kafka::start(), s3: S3::start() };
    println!("Kafka at {}, S3 at {}", place.kafka.address(), place.s3.endpoint());
    let topic = |name| Topic::create(&place.kafka, name);
    let (orders, killed) = (topic("orders"), topic("turnover"));
    let (undisturbed, workers) = (topic("undisturbed"), topic("workers"));

    let all = PER_PARTITION * i64::from(PARTITIONS);
    say(&format!("{all} orders of {SHOPS} shops come in, {PER_SECOND} a second"));
    let feed = Feed::start(&orders);
    say("The job: what each shop takes in every ten seconds of event time, from Kafka to Kafka");
    kill_and_finish(&place, &orders, &killed, feed::results());
    feed.end();

    say("The same orders in a run that is never killed, and in one of three workers");
    for (turnover, args) in [(&undisturbed, ["--threads", "3"]), (&workers, ["--workers", "3"])] {
        let end = place.start(turnover, &turnover.name, &orders, &args).end();
        show(&end.said);
        assert_eq!(end.code, Some(0), "{}", end.said);
    }

    say("Comparing what a reader of committed records sees of all of them");
    let expected = undisturbed.read_committed();
    for topic in [&killed, &undisturbed, &workers] {
        let actual = topic.read_committed();
        println!("{}: {} records, checksum {:016x}", topic.name, actual.len(), checksum(&actual));
        assert!(actual == expected, "the outputs differ: {}", difference(&actual, &expected));
    }
    println!("equal: {} records, checksum {:016x}", expected.len(), checksum(&expected));
}

/// Kills the job again and again while orders come in, then lets it end.
fn kill_and_finish(place: &Place, orders: &Topic, turnover: &Topic, results: usize) {
    let mut seen = turnover.watch();
    let mut life = place.start(turnover, "turnover", orders, &[]);
    for (kill, then) in (1..).zip(THEN) {
        assert!(life.wait_for(RUNNING), "{}", life.said());
        while seen.visible() < results * kill / (KILLS + 1) {
            assert!(life.go_on(LOOK_EVERY), "the job ended early:\n{}", life.said());
        }
        assert!(life.go_on(Duration::from_millis(then)), "it ended early:\n{}", life.said());
        let end = life.kill();
        show(&end.said);
        say(&format!("kill -9 ({} of {results} results are visible); again", seen.visible()));
        life = place.start(turnover, "turnover", orders, &[]);
    }
    let end = life.end();
    show(&end.said);
    assert_eq!(end.code, Some(0), "{}", end.said);
    assert_eq!(turnover.read_committed().len(), results, "a result for each shop and window");
}

fn say(what: &str) {
    println!("\n\x1b[1m{what}\x1b[0m");
}

/// What the job has said; not how far it was, time and again.
fn show(said: &str) {
    for line in said.lines().filter(|line| line.contains(RUNNING) || line.contains("finished")) {
        println!("{line}");
    }
}

/// The same for the same lines: FNV-1a over all of them, in order.
fn checksum(lines: &[String]) -> u64 {
    let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The first line in which they differ.
fn difference(actual: &[String], expected: &[String]) -> String {
    let first = actual.iter().zip(expected).find(|(actual, expected)| actual != expected);
    format!("{} and {} records; first: {first:?}", actual.len(), expected.len())
}
