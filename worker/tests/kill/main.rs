//! The kill test: a job that is killed at random moments writes what an undisturbed one writes.
//!
//! This binary plays two parts. As `kill run job.yaml ..` it is a user's binary with the program of
//! [`program`]; else it is the test, which starts itself in that part. [`input`] writes what the
//! job reads, [`life`] holds one process from start to end, [`output`] reads what was committed,
//! and [`story`] makes tests of them. Invariant: every difference is reported with the seed that
//! replays the choices (the moments themselves are the machine's).
//!
//! `MILLSTREAM_KILL_SEED=7` runs one seed, `MILLSTREAM_KILL_LIVES=100` kills more often.

mod input;
mod life;
mod output;
mod program;
mod story;

use std::process::ExitCode;
use std::time::SystemTime;

use story::Failed;

/// How many seeds are drawn where none is given.
const SEEDS: u64 = 5;
/// How often a job is killed, where `MILLSTREAM_KILL_LIVES` does not say.
const LIVES: u32 = 10;

/// A test: its name, and what it does.
type Test = (String, Box<dyn Fn() -> Result<(), Failed>>);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|first| first == "run") {
        return millstream_worker::main(millstream_worker::programs![program::killed]);
    }
    let tests = match tests() {
        Ok(tests) => tests,
        Err(Failed(message)) => {
            println!("error: {message}");
            return ExitCode::FAILURE;
        }
    };
    // As libtest has it: words pick tests, `--list` names them.
    let words: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let picked = |test: &&Test| words.is_empty() || words.iter().any(|word| test.0.contains(*word));
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().filter(picked).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    run(&tests.iter().filter(picked).collect::<Vec<_>>(), tests.len())
}

fn tests() -> Result<Vec<Test>, Failed> {
    let lives = number("MILLSTREAM_KILL_LIVES")?.map_or(LIVES, |lives| lives as u32);
    let first = number("MILLSTREAM_KILL_SEED")?;
    let (first, seeds) = first.map_or_else(|| (fresh_seed(), SEEDS), |seed| (seed, 1));
    let mut tests: Vec<Test> = vec![(
        "the_later_of_two_processes_takes_the_job".to_owned(),
        Box::new(|| story::two_processes(1)),
    )];
    for seed in first..first + seeds {
        let name = format!("killed_{lives}_times_with_seed_{seed}");
        tests.push((name, Box::new(move || story::killed(seed, lives))));
    }
    Ok(tests)
}

fn number(name: &str) -> Result<Option<u64>, Failed> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    let number = text.parse().map_err(|_| Failed(format!("{name}={text}: write a number")))?;
    Ok(Some(number))
}

/// Other choices in every run: what they were is printed.
#[expect(clippy::disallowed_methods, reason = "where seeds come from; they are printed")]
fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::from(since.subsec_nanos()) / 1000 * 10
}

/// Runs tests and reports as cargo's own do.
fn run(tests: &[&Test], all: usize) -> ExitCode {
    println!("\nrunning {} tests", tests.len());
    let mut failures = Vec::new();
    for (name, test) in tests {
        match test() {
            Ok(()) => println!("test {name} ... ok"),
            Err(Failed(message)) => {
                println!("test {name} ... FAILED");
                failures.push((name, message));
            }
        }
    }
    if !failures.is_empty() {
        println!("\nfailures:");
    }
    for (name, message) in &failures {
        println!("\n---- {name} ----\n{message}");
    }
    let (failed, passed) = (failures.len(), tests.len() - failures.len());
    let (word, filtered) = (if failed == 0 { "ok" } else { "FAILED" }, all - tests.len());
    println!(
        "\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         {filtered} filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
