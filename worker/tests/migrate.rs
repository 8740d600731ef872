//! A job whose state changes its type from one version of its program to the next.
//!
//! This binary is a user's binary as well: with [`ROLE`] set it has the versions below.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "support/suite.rs"]
mod suite;
mod support;

use std::collections::BTreeMap;
use std::env;
use std::process::ExitCode;

use millstream_worker::connector::generator::Generator;
use millstream_worker::connector::print::Print;
use millstream_worker::{Job, KeyedStream, Result, programs};

use support::{Place, ROLE, Ran};

/// How many numbers the job reads.
const NUMBERS: u64 = 20_000;

/// The last digit, but for some numbers: their keys come once in the first half and once in the
/// second, so that no run but the first and the last writes to that of number 5.
fn key(n: u64) -> u64 {
    if n % 1000 == 5 { 10 + n / 1000 % 10 } else { n % 10 }
}

/// The numbers by their keys; says on standard error when one was reached.
fn keyed(job: &mut Job) -> Result<KeyedStream<u64, u64>> {
    let rate: f64 = job.args().parse("rate")?;
    let numbers = Generator::new(|n| n).records(NUMBERS).records_per_second(rate);
    let seen = job.source("numbers", numbers).inspect(|n| {
        if [200, 2000].contains(n) {
            eprintln!("{n} seen");
        }
    });
    Ok(seen.key_by(|n| key(*n)))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

/// The first version: the sum of the numbers of a key, kept as text.
fn text(job: &mut Job) -> Result<()> {
    let sums = keyed(job)?.fold("sums", String::new(), |sum, n| {
        *sum = (number(sum) + n).to_string();
    });
    sums.sink("out", Print::json());
    Ok(())
}

/// The second version: kept as number and count, with what the first has left.
fn migrating(job: &mut Job) -> Result<()> {
    let migrating = keyed(job)?.migrate(|sum: String| (number(&sum), 0));
    migrating.fold("sums", (0, 0), add).sink("out", Print::json());
    Ok(())
}

/// The third version: without what the first has left.
fn pair(job: &mut Job) -> Result<()> {
    keyed(job)?.fold("sums", (0, 0), add).sink("out", Print::json());
    Ok(())
}

fn add(state: &mut (u64, u64), n: u64) {
    state.0 += n;
    state.1 += 1;
}

/// The types of the state as the plan names them, each with its key.
const TEXT: &str = r#"{"TUPLE":["U64","STR"]}"#;
const PAIR: &str = r#"{"TUPLE":["U64",{"TUPLE":["U64","U64"]}]}"#;

const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: trial}
spec:
  program: {name: text, args: {rate: '2000'}}
  snapshots: {store: 'file://state', interval: 1h}
";

/// A job that the first version began, and stopped after some numbers.
fn begun() -> Place {
    let place = Place::new(&env::current_exe().unwrap(), JOB);
    stop(&place, "text", 200, &[]);
    place
}

/// Runs a version.
fn run(place: &Place, program: &str, more: &[&str]) -> Ran {
    let program = format!("spec.program.name={program}");
    let rate = "spec.program.args.rate=1e9";
    place.run(&[&["run", "job.yaml", "--set", &program, "--set", rate], more].concat())
}

/// Runs a version until it has seen a number, and stops it after a snapshot.
fn stop(place: &Place, program: &str, seen: u64, more: &[&str]) -> Ran {
    let program = format!("spec.program.name={program}");
    let args = [&["run", "job.yaml", "--set", &program], more].concat();
    let ran = place.run_until(&format!("{seen} seen"), &args);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran
}

/// The last sum and count of each key that a run put out.
fn last(ran: &Ran) -> BTreeMap<u64, (u64, u64)> {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let last: BTreeMap<_, _> =
        ran.out.lines().map(|line| serde_json::from_str::<(u64, _)>(line).unwrap()).collect();
    assert_eq!(last.len(), 20);
    last
}

/// All numbers of a key.
fn numbers_of(wanted: u64) -> Vec<u64> {
    (0..NUMBERS).filter(|n| key(*n) == wanted).collect()
}

fn the_next_version_goes_on_with_what_it_migrated_and_the_one_after_with_what_that_left() {
    let place = begun();
    let ran = stop(&place, "migrating", 2000, &["--threads", "2"]);
    assert!(ran.err.contains("resumes from snapshot 1"), "{ran:?}");
    let ran = run(&place, "pair", &["--threads", "3"]);
    assert!(ran.err.contains("resumes from snapshot 2"), "{ran:?}");
    for (key, (total, count)) in last(&ran) {
        let numbers = numbers_of(key);
        assert_eq!(total, numbers.iter().sum::<u64>(), "key {key}");
        // Those that the first version saw were not counted.
        assert!(key > 10 || count < numbers.len() as u64, "key {key}: {count}");
    }
}

fn without_a_migration_it_is_refused_and_nothing_is_touched() {
    let place = begun();
    let before = place.objects("trial");
    let uri = place.path("state/default/trial/log/00000000000000000002.json");
    run(&place, "pair", &[]).refused(
        2,
        &format!(
            "trial: state state of operator sums is value of {TEXT} in snapshot file://{} and \
             value of {PAIR} in the program: keep the old type, write a .migrate from it, or write \
             restore.allowDroppedState: true to lose the state",
            uri.display()
        ),
    );
    assert_eq!(place.objects("trial"), before);
}

fn state_that_may_be_lost_is_not_read_as_what_it_is_not() {
    let place = begun();
    let allow = ["--set", "spec.restore.allowDroppedState=true"];
    let ran = stop(&place, "pair", 2000, &allow);
    assert!(ran.err.contains("resumes from snapshot 1"), "{ran:?}");
    let ran = run(&place, "pair", &[]);
    for (key, (total, count)) in last(&ran) {
        // The source went on, so the first numbers are in no sum.
        let missing = numbers_of(key).len() - count as usize;
        assert!(key > 10 || missing > 0, "key {key}: {count}");
        assert_eq!(total, numbers_of(key)[missing..].iter().sum::<u64>(), "key {key}");
    }
}

fn describe_shows_what_a_state_migrates_from() {
    let place = Place::new(&env::current_exe().unwrap(), JOB);
    let describe = |more: &[&str]| {
        let args = ["describe", "job.yaml", "--set", "spec.program.name=migrating"];
        let ran = place.run(&[&args, more].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        ran.out
    };
    let text = describe(&[]);
    let states = format!("    state state (value): {PAIR}\n        or migrated from {TEXT}\n");
    assert!(text.contains(&states), "{text}");
    let plan: serde_json::Value = serde_json::from_str(&describe(&["--json"])).unwrap();
    let sums = plan["operators"].as_array().unwrap().iter().find(|it| it["id"] == "sums").unwrap();
    let migration = serde_json::json!([{ "state": "state", "from": TEXT }]);
    assert_eq!(sums["migrations"], migration);
}

const TESTS: &[(&str, fn())] = suite::tests![
    the_next_version_goes_on_with_what_it_migrated_and_the_one_after_with_what_that_left,
    without_a_migration_it_is_refused_and_nothing_is_touched,
    state_that_may_be_lost_is_not_read_as_what_it_is_not,
    describe_shows_what_a_state_migrates_from,
];

fn main() -> ExitCode {
    if env::var_os(ROLE).is_some() {
        return millstream_worker::main(programs![text, migrating, pair]);
    }
    suite::run(TESTS)
}
