//! A job whose state is several times the memory that it may have for it, on `RocksDB`.
//!
//! This binary is a user's binary as well: with [`ROLE`] set it has the programs below. With
//! `MILLSTREAM_LARGE_STATE` set, as `make soak` does, the state is ten times as large.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "support/suite.rs"]
mod suite;
#[allow(dead_code, reason = "other tests use the rest")]
mod support;

use std::env;
use std::fs;
use std::process::ExitCode;

use millstream_worker::connector::discard::Discard;
use millstream_worker::connector::generator::Generator;
use millstream_worker::connector::print::Print;
use millstream_worker::{Job, Result, programs};

use support::{Place, ROLE, Ran};

/// How much larger the state is in `make soak`.
const LARGE: &str = "MILLSTREAM_LARGE_STATE";
/// Where the system says how much memory a process has had at most.
const PEAK: &str = "VmHWM:";
/// What a process may take besides twice the memory for state: it holds a capture of tables that
/// are being emptied, and what all jobs hold.
const BESIDE_MIB: u64 = 180;
/// Keys of the large state; a value has half a kilobyte, so that they take 200 MB.
const KEYS: u64 = 400_000;

/// What is kept of a key: half a kilobyte, of which each part tells whether it was kept well.
type Kept = [[u64; 32]; 2];

/// Spreads keys, so that none is near the one before.
fn mixed(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What a record does to its key's value.
fn add(kept: &mut Kept, n: u64) {
    for (place, part) in kept.iter_mut().flatten().enumerate() {
        *part += n * place as u64 + 1;
    }
}

/// Twice the keys in records: sums per key, and in the end one line, which all of them go into.
fn digest(job: &mut Job) -> Result<()> {
    let (keys, rate): (u64, f64) = (job.args().parse("keys")?, job.args().parse("rate")?);
    let records = 2 * keys;
    let numbers = Generator::new(|n| n).records(records).records_per_second(rate);
    let seen = job.source("numbers", numbers).inspect(move |n| {
        if n % (records / 8) == records / 16 {
            eprintln!("{} of 8 seen", n / (records / 8) + 1);
        }
    });
    let by_key = seen.key_by(move |n| mixed(n % keys));
    let sums = by_key.scan("sums", Kept::default(), |kept: &mut Kept, n| {
        add(kept, n);
        let parts = kept.iter().flatten().enumerate();
        parts.fold(0, |sum: u64, (place, part)| mixed(sum ^ part ^ place as u64))
    });
    let all = sums.key_by(|_| 0u8).scan("all", (0u64, 0u64), |(count, sum), one| {
        (*count, *sum) = (*count + 1, sum.wrapping_add(one));
        (*count, *sum)
    });
    all.filter(move |(count, _)| *count == records).sink("out", Print::json());
    Ok(())
}

/// Each key once, then one in a hundred again and again.
fn touched(job: &mut Job) -> Result<()> {
    let (keys, rate): (u64, f64) = (job.args().parse("keys")?, job.args().parse("rate")?);
    let few = keys / 100;
    let numbers = Generator::new(|n| n).records_per_second(rate);
    let seen = job.source("numbers", numbers).inspect(move |n| {
        if *n >= keys && (n - keys) % (keys / 2) == 0 {
            eprintln!("touched {} times", (n - keys) / few);
        }
    });
    let by_key = seen.key_by(move |n| mixed(if *n < keys { *n } else { n % few }));
    let kept = by_key.scan("kept", Kept::default(), |kept: &mut Kept, n| add(kept, n));
    kept.sink("out", Discard::new());
    Ok(())
}

const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: large}
spec:
  program: {name: digest, args: {keys: '1000', rate: '1e9'}}
  snapshots: {store: 'file://state', interval: 1s}
";

fn place() -> Place {
    Place::new(&env::current_exe().unwrap(), JOB)
}

fn sets(keys: u64, backend: &str, memory: &str) -> [String; 3] {
    [
        format!("spec.program.args.keys={keys}"),
        format!("spec.state.backend={backend}"),
        format!("spec.state.memory={memory}"),
    ]
}

fn args(sets: &[String]) -> Vec<&str> {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    ["run", "job.yaml", "--threads", "2"].into_iter().chain(sets).collect()
}

/// What a run put out.
fn result(ran: &Ran) -> String {
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    ran.out.clone()
}

/// The most memory that the process of a run had at once.
fn peak_kib(ran: &Ran) -> u64 {
    let line = ran.err.lines().find_map(|line| line.strip_prefix(PEAK)).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// The folders of local state that are there.
fn local_state(place: &Place) -> usize {
    let users = fs::read_dir(place.path("tmp")).unwrap();
    users.map(|user| fs::read_dir(user.unwrap().path()).unwrap().count()).sum()
}

fn state_of_several_times_the_memory_comes_out_right() {
    let (times, memory_mib) = if env::var_os(LARGE).is_some() { (10, 256) } else { (1, 64) };
    let keys = times * KEYS;
    let there = place();
    let wanted = result(&there.run(&args(&sets(keys, "Memory", "64Mi"))));
    let place = place();
    let sets = sets(keys, "RocksDB", &format!("{memory_mib}Mi"));
    let ran = place.run(&args(&sets));
    assert_eq!(result(&ran), wanted);
    assert_eq!(wanted.lines().count(), 1);
    let peak_mib = peak_kib(&ran) >> 10;
    println!("the peak was {peak_mib} MiB, with {memory_mib} MiB for state");
    assert!(peak_mib < BESIDE_MIB + 2 * memory_mib, "the peak was {peak_mib} MiB");
    assert_eq!(local_state(&place), 0);
}

fn a_job_goes_on_with_another_backend_and_back_again() {
    const KEYS: u64 = 60_000;
    let wanted = result(&place().run(&args(&sets(KEYS, "Memory", "16Mi"))));
    let place = place();
    let slow = "spec.program.args.rate=40000";
    for (seen, backend) in [("3 of 8", "Memory"), ("5 of 8", "RocksDB"), ("7 of 8", "Memory")] {
        let sets = sets(KEYS, backend, "16Mi");
        let ran = place.run_until(seen, &[&args(&sets)[..], &["--set", slow]].concat());
        assert_eq!(result(&ran), "", "{ran:?}");
    }
    let sets = sets(KEYS, "RocksDB", "16Mi");
    let ran = place.run(&args(&sets));
    assert!(ran.err.contains("resumes from snapshot"), "{}", ran.err);
    assert_eq!(result(&ran), wanted);
    assert_eq!(local_state(&place), 0);
}

/// The bytes of each part that is left, by its epoch.
fn parts(place: &Place) -> Vec<(u64, usize)> {
    let objects = place.objects("large");
    let parts = objects.iter().filter_map(|(name, bytes)| {
        let mut names = name.strip_prefix("parts/")?.split('/');
        Some((names.nth(1)?.parse().unwrap(), bytes.len()))
    });
    parts.collect()
}

/// One in a hundred keys changes between the last snapshots. Five seconds, so that the last ones
/// see nothing else however slow the machine is with the first.
fn a_snapshot_after_a_hundredth_of_the_keys_changed_uploads_little() {
    let place = place();
    let sets = sets(60_000, "RocksDB", "16Mi");
    let touched = ["--set", "spec.program.name=touched", "--set", "spec.program.args.rate=40000"];
    let ran = place.run_until("touched 300 times", &[&args(&sets)[..], &touched].concat());
    result(&ran);
    let mut parts = parts(&place);
    parts.sort_unstable();
    let (_, last) = *parts.last().unwrap();
    let all: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    println!("the last of the parts has {last} of {all} bytes: {parts:?}");
    assert!(last > 0 && last * 20 < all, "{parts:?}");
}

const TESTS: &[(&str, fn())] = suite::tests![
    state_of_several_times_the_memory_comes_out_right,
    a_job_goes_on_with_another_backend_and_back_again,
    a_snapshot_after_a_hundredth_of_the_keys_changed_uploads_little,
];

fn main() -> ExitCode {
    if env::var_os(ROLE).is_none() {
        return suite::run(TESTS);
    }
    let scratch = env::current_dir().unwrap().join("tmp");
    fs::create_dir_all(&scratch).unwrap();
    // SAFETY: there are no other threads yet.
    unsafe { env::set_var("TMPDIR", scratch) };
    let code = millstream_worker::main(programs![digest, touched]);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    eprintln!("{}", status.lines().find(|line| line.starts_with(PEAK)).unwrap());
    code
}
