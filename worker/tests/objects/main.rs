//! A job that reads and writes a bucket, as real processes against a real endpoint: killed.
//!
//! This binary plays three parts: as `objects run job.yaml ..` it is a user's binary with the
//! program below; with keys in its environment it is the test, which starts itself in that part;
//! else it starts itself again with those keys.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[expect(dead_code, reason = "it serves the tests of the Kafka sink too")]
#[path = "../kafka/life.rs"]
mod life;
#[expect(dead_code, reason = "it serves the tests of the engine too")]
#[path = "../../../dataflow/tests/objects/place.rs"]
mod place;
#[path = "../support/suite.rs"]
mod suite;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use millstream_testkit::S3;
use millstream_worker::connector::files::{FileSink, Files};
use millstream_worker::{Job, Result, programs};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

use life::Life;
use place::Place;

/// How many numbers the job copies, and in how many objects they lie.
const NUMBERS: u64 = 20_000;
const OBJECTS: u64 = 10;
/// Per second, where it is to be killed on the way: ten seconds for all.
const SLOW: f64 = 2000.0;
const FAST: f64 = 1e9;
/// How often the job is killed.
const KILLS: u32 = 6;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "run") {
        return millstream_worker::main(programs![copy]);
    }
    if let Some(code) = S3::again_with_keys() {
        return code;
    }
    suite::run(suite::tests![killed_at_random_moments_every_number_is_there_once])
}

/// Copies numbers, each once.
fn copy(job: &mut Job) -> Result<()> {
    let endpoint = job.args().get("endpoint")?.to_owned();
    let rate: f64 = job.args().parse("rate")?;
    let source = Files::json::<u64>(job.args().get("from")?).endpoint(&endpoint);
    let sink = FileSink::json(job.args().get("to")?).endpoint(&endpoint);
    job.source("in", source.records_per_second(rate)).rebalance().sink("out", sink);
    Ok(())
}

/// A directory with a job in it.
fn job(place: &Place) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (at, endpoint, name) = (folder.path().display(), place.proxy.endpoint(), place.name);
    let bucket = S3::BUCKET;
    let text = format!(
        "apiVersion: millstream.dev/v1alpha1\n\
         kind: StreamJob\n\
         metadata: {{name: {name}}}\n\
         spec:\n  \
           program: {{args: {{endpoint: '{endpoint}', from: 's3://{bucket}/{name}-in/', \
             to: 's3://{bucket}/{name}', rate: '1'}}}}\n  \
           snapshots: {{store: 'file://{at}/store', interval: 200ms}}\n"
    );
    std::fs::write(folder.path().join("job.yaml"), text).unwrap();
    folder
}

fn killed_at_random_moments_every_number_is_there_once() {
    let seed = u64::from(std::process::id());
    let mut rng = SmallRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let place = runtime.block_on(Place::new("killed"));
    for object in 0..OBJECTS {
        let mut text = String::new();
        for number in (0..NUMBERS).filter(|number| number % OBJECTS == object) {
            writeln!(text, "{number}").unwrap();
        }
        place.s3.write(&format!("killed-in/{object}.ndjson"), text.as_bytes());
    }
    let folder = job(&place);
    let file = folder.path().join("job.yaml");
    let mut lived = String::new();
    for _ in 0..KILLS {
        let (threads, ms) = (rng.random_range(1..=3), rng.random_range(0..900));
        let _ = write!(lived, " {threads}x{ms}ms");
        let mut life = Life::start(&file, threads, SLOW, &[]);
        life.wait_for(life::RUNNING);
        life.go_on(Duration::from_millis(ms));
        life.kill();
        let seen = runtime.block_on(place.numbers());
        let once = seen.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(once, "seed {seed}:{lived}: a number is there twice");
    }
    println!("seed {seed}:{lived}");
    let seen = runtime.block_on(place.numbers());
    assert!(!seen.is_empty() && seen.len() < NUMBERS as usize, "it was killed on the way");
    for threads in [2, 1] {
        let end = Life::start(&file, threads, FAST, &[]).end();
        assert_eq!(end.code, Some(0), "{end:?}");
        // A job that has finished stays as it is.
        let seen = runtime.block_on(place.numbers());
        assert!(seen.iter().copied().eq(0..NUMBERS), "seed {seed}:{lived}: {}", seen.len());
        assert_eq!(runtime.block_on(place.unfinished()), [""; 0], "seed {seed}:{lived}");
    }
}
