//! Jobs whose workers are processes of their own: what they put out is what one process puts out,
//! whatever happens to them meanwhile.
//!
//! This binary is a user's binary as well: with [`ROLE`] set it has the program below.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]
#![expect(clippy::disallowed_methods, reason = "code of a user that takes its time")]

#[path = "processes/asked.rs"]
mod asked;
#[path = "processes/close.rs"]
mod close;
#[path = "support/suite.rs"]
mod suite;
#[allow(dead_code, reason = "other tests use the rest")]
mod support;
#[path = "processes/tls.rs"]
mod tls;
#[path = "processes/whom.rs"]
mod whom;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use millstream_testkit::free_ports;
use millstream_worker::connector::files::{FileSink, Files};
use millstream_worker::connector::generator::Generator;
use millstream_worker::operator::aggregate::Sum;
use millstream_worker::window::Tumbling;
use millstream_worker::{Error, Job, Result, Timestamp, Watermarks, programs};
use serde::{Deserialize, Serialize};

use support::{Place, ROLE, Ran, Running};

const RECORDS: u64 = 400_000;
const SLOW_RECORDS: u64 = 40_000;
const SKEWED_RECORDS: u64 = 2_000_000;
const APART_RECORDS: u64 = 160_000;
const APART_SLOW_RECORDS: u64 = 4000;
const LARGE_RECORDS: u64 = 100;
const LARGE_BYTES: usize = 8 << 20;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reading {
    sensor: u64,
    at: i64,
    value: i64,
    /// So that records have bytes to carry.
    note: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    sensor: u64,
    end: i64,
    sum: i64,
}

fn reading(n: u64) -> Reading {
    Reading {
        sensor: n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 1000,
        at: n as i64 / 10,
        value: n as i64 % 17,
        note: format!("record {n}"),
    }
}

/// Sums per sensor and second, spread over all tasks twice.
fn sums(job: &mut Job) -> Result<()> {
    if Path::new("unfit").exists() {
        return Err(Error::invalid("it is not to be built now"));
    }
    let rate: f64 = job.args().parse("rate")?;
    let readings = Generator::new(reading).records(RECORDS).records_per_second(rate);
    let source = job.source("readings", readings);
    let timed = source.event_time(|r| Timestamp(r.at), Watermarks::ascending());
    let seen = timed.inspect(|reading: &Reading| {
        if reading.at % 5000 == 0 {
            eprintln!("seen {} of it", reading.at);
        }
    });
    let spread = seen.rebalance().map(|r| Reading { value: r.value + 1, ..r });
    let windows = spread.key_by(|r| r.sensor).window(Tumbling::of(Duration::from_secs(1)));
    let sums = windows.aggregate("sums", |r| r.value, Sum);
    sums.map(|it| Line { sensor: it.key, end: it.end.0, sum: it.value })
        .sink("out", FileSink::json("out"));
    Ok(())
}

/// Records of 10 kB, every eighth of which takes a thousand times as long as the others.
fn slow(job: &mut Job) -> Result<()> {
    let records = Generator::new(|n| (n, "x".repeat(10_000))).records(SLOW_RECORDS);
    let records = records.records_per_second(job.args().parse("rate")?);
    let keyed = job.source("records", records).key_by(|(n, _)| if n % 8 == 0 { 0 } else { *n });
    let counts = keyed.scan("slowly", 0u64, |count: &mut u64, (n, text)| {
        *count += 1;
        if n % 8 == 0 {
            sleep(Duration::from_millis(1));
        }
        if *count == SLOW_RECORDS / 8 {
            eprintln!("all but the end");
        }
        (n, text.len(), *count)
    });
    counts.sink("out", FileSink::json("out"));
    Ok(())
}

/// Sums per key, where every other record is of one key.
fn skewed(job: &mut Job) -> Result<()> {
    let records = Generator::new(|n| (n, n % 17)).records(SKEWED_RECORDS);
    let records = records.records_per_second(job.args().parse("rate")?);
    let timed = job.source("records", records);
    let timed = timed.event_time(|(n, _)| Timestamp(*n as i64), Watermarks::ascending());
    let keyed = timed.key_by(|(n, _)| if n % 2 == 0 { 0 } else { n % 100_000 });
    let sums = keyed.window(Tumbling::of(Duration::from_mins(5))).aggregate("sums", |r| r.1, Sum);
    let seen = sums.inspect(|sum| {
        if sum.key == 0 && sum.end.0 >= SKEWED_RECORDS as i64 {
            eprintln!("all but the end");
        }
    });
    seen.map(|it| (it.key, it.end.0, it.value)).sink("out", FileSink::json("out"));
    Ok(())
}

/// Joins a source that comes through a twentieth of the time in nine seconds with one of 20 000
/// records in a second, which comes through all of it in eight; each process reads a half of that.
/// Says how far ahead the half of the other process was at most, in milliseconds of event time.
fn apart(job: &mut Job) -> Result<()> {
    job.max_drift(match job.args().get("drift")? {
        "off" => None,
        _ => Some(Duration::from_millis(job.args().parse("drift")?)),
    });
    let slow = Generator::new(|n| {
        // Nobody waits for it once it is at its end.
        let is_last = n == APART_SLOW_RECORDS - 1;
        if n % 50 == 0 || is_last {
            let reached = if is_last { u64::MAX } else { 2 * n };
            fs::write("slow.new", reached.to_string()).unwrap();
            fs::rename("slow.new", "slow").unwrap();
        }
        2 * n
    });
    let slow = slow.records(APART_SLOW_RECORDS);
    let slow = job.source("slow", slow.records_per_second(APART_SLOW_RECORDS as f64 / 9.0));
    let fast = Generator::new(|n| n).records(APART_RECORDS).splits(2);
    let fast = fast.records_per_second(job.args().parse("rate")?);
    let fast = job.source("fast", fast);
    let time = |n: &u64| Timestamp(*n as i64);
    let slow = slow.event_time(time, Watermarks::ascending());
    let fast = fast.event_time(time, Watermarks::ascending()).inspect(move |n| {
        if n % 1000 == 1 {
            let slow = fs::read_to_string("slow").unwrap_or_default().parse().unwrap_or(0);
            AHEAD.fetch_max(n.saturating_sub(slow), Ordering::Relaxed);
        }
        if *n == APART_RECORDS - 1 {
            eprintln!("ahead {}", AHEAD.load(Ordering::Relaxed));
        }
    });
    let window = Tumbling::of(Duration::from_secs(1));
    let pairs = slow.key_by(|n| *n).join(&fast.key_by(|n| *n)).window(window);
    pairs.inner("pairs", |n, _, _| *n).sink("out", FileSink::json("out"));
    Ok(())
}

/// How far ahead the fast half of a process was.
static AHEAD: AtomicU64 = AtomicU64::new(0);

/// Lines of 8 MB, each through two other tasks.
fn large(job: &mut Job) -> Result<()> {
    let lines = Files::lines("lines").records_per_second(job.args().parse("rate")?);
    let spread = job.source("lines", lines).rebalance().map(|line| (number(&line), line));
    let keyed = spread.key_by(|(n, _)| *n);
    let sums = keyed.scan("sums", (), |(), (n, line): (u64, String)| {
        if n + 1 == LARGE_RECORDS {
            eprintln!("all but the end");
        }
        (n, line.len(), line.bytes().map(u64::from).sum::<u64>())
    });
    sums.sink("out", FileSink::json("out"));
    Ok(())
}

/// Fails at each attempt.
fn fails(job: &mut Job) -> Result<()> {
    let rate: f64 = job.args().parse("rate")?;
    let records = Generator::new(|n| n).records(RECORDS).records_per_second(rate);
    let checked = job.source("records", records).map(|n: u64| n.checked_sub(1).expect("no zero"));
    checked.sink("out", FileSink::json("out"));
    Ok(())
}

/// The number that a line begins with.
fn number(line: &str) -> u64 {
    line.split(' ').next().unwrap().parse().unwrap()
}

/// The n-th line.
fn line(n: u64) -> String {
    let mut line = format!("{n} ");
    line.extend(std::iter::repeat_n(char::from(b'a' + (n % 26) as u8), LARGE_BYTES));
    line
}

const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: spread}
spec:
  program: {name: sums, args: {rate: '1e9'}}
  snapshots: {store: 'file://state', interval: 300ms}
  restart: {initialBackoff: 100ms}
";

const SLOW: [&str; 2] = ["--set", "spec.program.args.rate=100000"];

fn place() -> Place {
    Place::new(&env::current_exe().unwrap(), JOB)
}

/// The lines that a job has put out, sorted; none twice.
#[track_caller]
fn output(place: &Place, ran: &Ran) -> BTreeSet<String> {
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let mut lines = BTreeSet::new();
    let files = fs::read_dir(place.path("out")).unwrap().map(|file| file.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        for line in fs::read_to_string(file).unwrap().lines() {
            assert!(lines.insert(line.to_owned()), "twice: {line}");
        }
    }
    lines
}

fn wanted() -> BTreeSet<String> {
    let place = place();
    let ran = place.run(&["run", "job.yaml", "--threads", "3"]);
    output(&place, &ran)
}

/// The processes of a place's workers.
fn workers(place: &Place) -> Vec<u32> {
    let folder = place.path("job.yaml").parent().unwrap().canonicalize().unwrap();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse() else { continue };
        let serves = fs::read(process.path().join("cmdline"))
            .is_ok_and(|line| line.split(|&byte| byte == 0).nth(1) == Some(b"serve"));
        if serves && fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder) {
            found.push(pid);
        }
    }
    found.sort_unstable();
    found
}

fn signal(signal: &str, pid: u32) {
    let pid = pid.to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

fn workers_in_processes_of_their_own_put_out_what_threads_do() {
    let wanted = wanted();
    assert!(wanted.len() > 10_000, "{}", wanted.len());
    for count in ["1", "3"] {
        let place = place();
        let args = ["run", "job.yaml", "--workers", count, "--threads", "1"];
        let ran = place.run(&args);
        assert_eq!(output(&place, &ran), wanted);
        assert_eq!(workers(&place), [] as [u32; 0]);
    }
}

fn a_worker_that_is_killed_or_hangs_is_replaced_and_nothing_is_lost() {
    let wanted = wanted();
    for how in ["-KILL", "-STOP"] {
        let place = place();
        let args = [&["run", "job.yaml", "--workers", "3", "--threads", "1"][..], &SLOW].concat();
        let killed = || {
            let all = workers(&place);
            assert_eq!(all.len(), 3);
            signal(how, all[1]);
        };
        let ran = place.run_through("seen 10000 of it", &args, killed);
        assert!(ran.err.contains("restarts"), "{}", ran.err);
        assert_eq!(output(&place, &ran), wanted, "{how}");
        assert_eq!(workers(&place), [] as [u32; 0]);
    }
}

/// By its peers, which miss it first, or by the coordinator where it has none.
fn a_worker_that_hangs_is_found_in_time() {
    let wanted = wanted();
    for (count, within) in [("3", 5), ("1", 12)] {
        let place = place();
        let args = ["run", "job.yaml", "--workers", count, "--threads", "1"];
        let mut running = Running::start(&place, &[&args[..], &SLOW].concat());
        running.wait_for("seen 10000 of it");
        let began = Instant::now();
        signal("-STOP", workers(&place)[0]);
        running.wait_for("restarts");
        let took = began.elapsed();
        assert!(took < Duration::from_secs(within), "{count} workers: found after {took:?}");
        println!("of {count} workers, one that hangs is found after {took:.1?}");
        assert_eq!(output(&place, &running.end()), wanted);
    }
}

fn a_job_goes_on_with_other_numbers_of_workers() {
    let wanted = wanted();
    let place = place();
    let lives = [("3", "1", "seen 10000 of it"), ("1", "2", "seen 20000 of it")];
    for (count, threads, text) in lives {
        let args = ["run", "job.yaml", "--workers", count, "--threads", threads];
        let ran = place.run_until(text, &[&args[..], &SLOWER].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    let ran = place.run(&["run", "job.yaml", "--workers", "2", "--threads", "1"]);
    assert!(ran.err.contains("resumes from snapshot"), "{}", ran.err);
    assert_eq!(output(&place, &ran), wanted);
}

/// Every two hundredth of the records a second: a job that takes eight seconds.
const SLOWER: [&str; 2] = ["--set", "spec.program.args.rate=50000"];

fn a_job_is_scaled_while_it_runs() {
    let wanted = wanted();
    let place = place();
    let args = ["run", "job.yaml", "--workers", "1", "--threads", "1"];
    let mut running = Running::start(&place, &[&args[..], &SLOWER].concat());
    for (text, count) in [("seen 5000 of", 3), ("seen 10000 of", 2), ("seen 15000 of", 4)] {
        running.wait_for(text);
        let scaled = place.run(&["scale", "job.yaml", "--workers", &count.to_string()]);
        assert_eq!(scaled.code, Some(0), "{scaled:?}");
        assert!(scaled.out.starts_with(&format!("runs on {count} workers: ")), "{scaled:?}");
        assert_eq!(workers(&place).len(), count);
    }
    let refused = place.run(&["scale", "job.yaml", "--workers", "721"]);
    refused.refused(2, "--workers: is 721: write a number from 1 to keyGroups (720)");
    let saved = place.run(&["savepoint", "job.yaml"]);
    assert!(saved.code == Some(0) && saved.out.starts_with("file:///"), "{saved:?}");
    let ran = running.end();
    assert!(!ran.err.contains("restarts"), "{}", ran.err);
    assert_eq!(output(&place, &ran), wanted);
    let verified = place.run(&["snapshots", "verify", saved.out.trim()]);
    assert_eq!(verified.code, Some(0), "it is kept: {verified:?}");
    let gone = place.run(&["scale", "job.yaml", "--workers", "2"]);
    assert!(gone.code == Some(2) && gone.err.contains("no run of file:///"), "{gone:?}");
    let alone = Running::start(&place, &["run", "job.yaml", "--fresh"]);
    let refused = loop {
        let refused = place.run(&["scale", "job.yaml", "--workers", "2"]);
        if !refused.err.contains("no run of") {
            break refused;
        }
    };
    assert!(refused.err.contains("only a job that was started with --workers"), "{refused:?}");
    alone.interrupt();
    alone.end();
}

/// A store that takes no part costs a job that is to be scaled nothing: it reads on, and is scaled
/// when the store takes parts again.
fn a_job_whose_store_refuses_goes_on_and_is_scaled_later() {
    let wanted = wanted();
    let place = place();
    let args = ["run", "job.yaml", "--workers", "1", "--threads", "1"];
    let mut running = Running::start(&place, &[&args[..], &SLOWER].concat());
    running.wait_for("seen 5000 of");
    let (parts, away) = (place.path("state/default/spread/parts"), place.path("away"));
    fs::rename(&parts, &away).unwrap();
    fs::write(&parts, "no directory").unwrap();
    let mut scale = Running::start(&place, &["scale", "job.yaml", "--workers", "2"]);
    scale.wait_for("it waits for a snapshot, without which the job would be set back");
    running.wait_for("seen 15000 of");
    fs::remove_file(&parts).unwrap();
    fs::rename(&away, &parts).unwrap();
    let scaled = scale.end();
    assert!(scaled.out.starts_with("runs on 2 workers: "), "{scaled:?}");
    let ran = running.end();
    assert!(ran.err.contains("spread: what it is to be next waits: "), "{}", ran.err);
    assert!(!ran.err.contains("restarts"), "{}", ran.err);
    let seen = ran.err.lines().filter(|line| line.contains("seen 10000 of it")).count();
    assert_eq!(seen, 10, "ten records have each time: nothing is read twice");
    assert_eq!(output(&place, &ran), wanted);
}

fn a_job_is_stopped_from_elsewhere_and_goes_on_from_its_savepoint() {
    let wanted = wanted();
    let place = place();
    let mut running =
        Running::start(&place, &[&["run", "job.yaml", "--threads", "2"][..], &SLOWER].concat());
    running.wait_for("seen 5000 of");
    let stopped = place.run(&["stop", "job.yaml", "--savepoint"]);
    assert!(stopped.code == Some(0) && stopped.out.starts_with("file:///"), "{stopped:?}");
    let (log, name) = stopped.out.trim()["file://".len()..].rsplit_once('/').unwrap();
    let newest = fs::read_dir(log).unwrap().map(|it| it.unwrap().file_name()).max();
    assert_eq!(newest.unwrap(), name, "it is the last entry");
    assert_eq!(running.end().code, Some(0));
    let mut running =
        Running::start(&place, &[&["run", "job.yaml", "--workers", "2"][..], &SLOWER].concat());
    running.wait_for("resumes from snapshot");
    let stopped_again = place.run(&["stop", "job.yaml"]);
    assert!(stopped_again.code == Some(0) && stopped_again.out.is_empty(), "{stopped_again:?}");
    assert_eq!(running.end().code, Some(0));
    let uri = format!("spec.restore.uri={}", stopped.out.trim());
    let sets = ["--set", "spec.restore.from=Snapshot", "--set", &uri];
    let ran = place.run(&[&["run", "job.yaml", "--threads", "3"][..], &sets].concat());
    assert!(ran.err.contains(&format!("({})", stopped.out.trim())), "{}", ran.err);
    assert!(wanted.is_subset(&output(&place, &ran)));
}

/// What others leave undone at the job's door does not keep its owner out.
fn a_job_is_stopped_whoever_else_has_asked_or_tried_to_run_it() {
    let place = place();
    let args = ["run", "job.yaml", "--threads", "1"];
    let mut running = Running::start(&place, &[&args[..], &SLOWER].concat());
    running.wait_for("seen 5000 of");
    let [nobody] = free_ports();
    let nobody = format!("127.0.0.1:{nobody}");
    let mut other = Running::start(&place, &["run", "job.yaml", "--at", &nobody, "--take-over"]);
    other.wait_for("cannot reach worker 0");
    other.signal("-KILL");
    assert_eq!(other.end().code, None);
    let stopped = place.run(&["stop", "job.yaml"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(running.end().code, Some(0));

    let mut waits = Running::start(&place, &["run", "job.yaml", "--at", &nobody]);
    waits.wait_for("cannot reach worker 0");
    let asked: Vec<_> =
        (0..12).map(|_| Running::start(&place, &["savepoint", "job.yaml"])).collect();
    sleep(Duration::from_millis(500));
    let stopped = place.run(&["stop", "job.yaml"]);
    assert_eq!(stopped.code, Some(4), "{stopped:?}");
    assert!(stopped.err.contains("stopped without a snapshot (it was starting)"), "{stopped:?}");
    let ended: Vec<_> = asked.into_iter().map(|it| it.end().code).collect();
    assert!(ended.iter().all(|code| *code == Some(1)), "{ended:?}");
    waits.end();
}

fn tasks_outlive_their_coordinator_and_the_next_one_goes_on_with_them() {
    let wanted = wanted();
    let place = place();
    let addresses = free_ports::<2>().map(|port| format!("127.0.0.1:{port}"));
    let mut served = addresses
        .each_ref()
        .map(|it| Running::start(&place, &["serve", "--listen", it, "--threads", "1"]));
    let at = addresses.join(",");
    let args = [&["run", "job.yaml", "--at", &at][..], &SLOWER].concat();
    let takes_over = "continues from its running tasks (run 1)";
    let first = Running::start(&place, &args);
    served[0].wait_for("seen 5000 of");
    first.signal("-KILL");
    served[0].wait_for("seen 10000 of");
    let mut second = Running::start(&place, &args);
    second.wait_for(takes_over);
    second.signal("-STOP");
    let mut third = Running::start(&place, &[&args[..], &["--take-over"]].concat());
    third.wait_for(takes_over);
    second.signal("-CONT");
    let second = second.end();
    let reason = "another coordinator has taken this job over: this one had run 1, term 2";
    assert!(second.code == Some(3) && second.err.contains(reason), "{second:?}");
    let third = third.end();
    assert!(!third.err.contains("restarts"), "{}", third.err);
    assert_eq!(output(&place, &third), wanted);
    for worker in served {
        worker.interrupt();
        let ended = worker.end();
        assert!(ended.code == Some(0) && !ended.err.contains(" WARN "), "{ended:?}");
        assert!(!ended.err.contains("while no coordinator is there"), "{}", ended.err);
        let mut lines = ended.err.lines();
        for said in [
            "serves at 127.0.0.1:",
            "of default/spread takes run 1, for the coordinator at 127.0.0.1:",
            "of default/spread goes on with run 1 alone: its coordinator is gone",
            "of default/spread goes on with run 1, for the coordinator at 127.0.0.1:",
            "of default/spread has ended run 1, as its coordinator says",
            "ends (SIGINT): what runs here is let go",
        ] {
            assert!(lines.any(|line| line.contains(said)), "{said}: {}", ended.err);
        }
    }
}

fn a_worker_that_is_told_to_end_is_let_go_behind_a_snapshot() {
    let wanted = wanted();
    let place = place();
    let addresses = free_ports::<2>().map(|port| format!("127.0.0.1:{port}"));
    let serve = |it: &String| {
        Running::start(&place, &["serve", "--listen", it, "--threads", "1", "--grace", "20s"])
    };
    let [mut leaves, stays] = addresses.each_ref().map(serve);
    let at = addresses.join(",");
    let mut run =
        Running::start(&place, &[&["run", "job.yaml", "--at", &at][..], &SLOWER].concat());
    leaves.wait_for("seen 10000 of");
    leaves.signal("-TERM");
    let left = leaves.end();
    assert!(left.code == Some(0) && !left.err.contains(" WARN "), "{left:?}");
    let replaces = serve(&addresses[0]);
    run.wait_for("resumes from snapshot");
    let ran = run.end();
    assert!(!ran.err.contains("restarts"), "{}", ran.err);
    assert_eq!(output(&place, &ran), wanted);
    for worker in [stays, replaces] {
        worker.interrupt();
        assert_eq!(worker.end().code, Some(0));
    }
}

/// Runs a program in three processes; what it put out, and the most memory that one of them took.
fn uneven(place: &Place, program: &str, more: &[&str]) -> (BTreeSet<String>, u64) {
    let program = format!("spec.program.name={program}");
    let args = ["run", "job.yaml", "--workers", "3", "--threads", "1", "--set", &program];
    let args = [&args[..], more].concat();
    let mut peak = 0;
    let measured = || {
        let all = workers(place);
        assert_eq!(all.len(), 3);
        peak = all.into_iter().map(peak_mib).max().unwrap();
    };
    let ran = place.run_through("all but the end", &args, measured);
    assert!(!ran.err.contains("restarts"), "{}", ran.err);
    (output(place, &ran), peak)
}

/// The most memory that a process has had, in MiB.
fn peak_mib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn a_task_that_is_a_thousand_times_slower_holds_up_the_others_and_no_memory() {
    let (lines, peak) = uneven(&place(), "slow", &[]);
    assert_eq!(lines.len() as u64, SLOW_RECORDS);
    // The records have 400 MB.
    assert!(peak < 250, "{peak} MiB");
}

fn half_of_all_records_may_be_of_one_key() {
    let (lines, peak) = uneven(&place(), "skewed", &[]);
    let place = place();
    let set = ["--set", "spec.program.name=skewed"];
    let ran = place.run(&[&["run", "job.yaml", "--threads", "3"][..], &set].concat());
    assert_eq!(lines, output(&place, &ran));
    let all: u64 = (0..SKEWED_RECORDS).step_by(2).map(|n| n % 17).sum();
    let of_key = lines.iter().filter_map(|line| line.strip_prefix("[0,"));
    let sums = of_key.map(|line| line.trim_end_matches(']').rsplit(',').next().unwrap());
    assert_eq!(sums.map(|sum| sum.parse::<u64>().unwrap()).sum::<u64>(), all);
    assert!(peak < 250, "{peak} MiB");
}

fn records_of_eight_megabytes_pass_between_processes() {
    check_large(&place(), &[]);
}

/// Passes lines of 8 MB between the processes of a run with these options too.
fn check_large(place: &Place, more: &[&str]) {
    let mut file = fs::File::create(place.path("lines")).unwrap();
    for n in 0..LARGE_RECORDS {
        writeln!(file, "{}", line(n)).unwrap();
    }
    let (lines, peak) = uneven(place, "large", more);
    let result = |line: String| {
        let sum = line.bytes().map(u64::from).sum::<u64>();
        format!("[{},{},{sum}]", number(&line), line.len())
    };
    assert_eq!(lines, (0..LARGE_RECORDS).map(line).map(result).collect());
    // The lines have 800 MB.
    assert!(peak < 400, "{peak} MiB");
}

fn what_a_join_holds_is_bounded_where_its_sides_are_read_by_different_processes() {
    let run = |drift: &str| {
        let place = place();
        let drift = format!("spec.program.args.drift={drift}");
        let rate = "spec.program.args.rate=20000";
        let set = ["--set", "spec.program.name=apart", "--set", &drift, "--set", rate];
        let args = ["run", "job.yaml", "--workers", "2", "--threads", "1"];
        let ran = place.run(&[&args[..], &set].concat());
        assert!(!ran.err.contains("restarts"), "{}", ran.err);
        let ahead = ran.err.lines().find_map(|line| line.strip_prefix("ahead ")).unwrap();
        (output(&place, &ran), ahead.parse::<u64>().unwrap())
    };
    let (wanted, unbounded) = run("off");
    assert_eq!(wanted.len() as u64, APART_SLOW_RECORDS);
    assert!(unbounded > APART_RECORDS / 10 * 8, "{unbounded}: there is nothing to bound");
    let (lines, ahead) = run("8000");
    assert_eq!(lines, wanted);
    // The drift, and what is read in two seconds: so late the other process is heard of at most.
    assert!(ahead > 8000 && ahead < 8000 + 2 * 20_000, "{ahead}");
}

/// What a server on this port answers for a path: the status, and the text.
fn ask(port: u16, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn probes_and_prometheus_are_answered_by_every_worker() {
    let place = place();
    let [port, after] = free_ports();
    let health_port = port;
    let health = format!("127.0.0.1:{port}");
    let args = ["run", "job.yaml", "--workers", "2", "--threads", "1", "--health", &health];
    let asked = || {
        let mut splits = vec![];
        for port in [port, after] {
            let _silent: Vec<_> =
                (0..20).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
            assert_eq!(ask(port, "/livez"), (200, "ok\n".to_owned()));
            assert_eq!(ask(port, "/readyz").0, 200);
            assert_eq!(ask(port, "/").0, 404);
            let (status, text) = ask(port, "/metrics");
            assert_eq!(status, 200);
            let values = |name: &str| -> Vec<f64> {
                let lines = text.lines().filter(|line| line.starts_with(name));
                lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect()
            };
            let taken = values("millstream_task_records_in_total{operator=\"sums\"");
            assert!(taken.len() == 1 && taken[0] > 0.0, "{text}");
            let busy = values("millstream_task_busy_seconds_total{operator=\"sums\"");
            assert!(busy[0] > 0.0 && busy[0] < 60.0, "{text}");
            assert!(values("millstream_snapshot_parts_total")[0] > 0.0, "{text}");
            assert!(values("millstream_snapshot_bytes_total")[0] > 0.0, "{text}");
            assert!(values("millstream_snapshot_capture_seconds_total")[0] > 0.0, "{text}");
            assert!(values("millstream_commits_total")[0] > 0.0, "{text}");
            let waited = values("millstream_task_barrier_wait_seconds_total{operator=\"sums\"");
            assert!(waited[0] > 0.0 && waited[0] < busy[0] + 10.0, "{text}");
            assert!(values("millstream_task_state_entries{operator=\"sums\"")[0] > 0.0, "{text}");
            let batches = values("millstream_task_batches_in_total{operator=\"sums\"");
            assert!(batches[0] > 0.0 && batches[0] <= taken[0], "{text}");
            let other = u16::from(port == health_port);
            for what in ["sent_frames_total", "sent_bytes_total", "received_bytes_total"] {
                let name = format!("millstream_exchange_{what}{{worker=\"{other}\"}}");
                assert!(values(&name)[0] > 0.0, "{name}: {text}");
            }
            let room = values("millstream_exchange_room_bytes{")[0];
            assert!(room > 0.0 && room <= f64::from(64 << 20), "{text}");
            splits.extend(values("millstream_split_watermark_seconds{"));
        }
        // There is one, and what was seen of it is in seconds. Its watermark follows the records.
        assert!(splits.len() == 1 && splits[0] >= 19.0 && splits[0] <= 40.0, "{splits:?}");
    };
    let ran = place.run_through("seen 20000 of it", &[&args[..], &SLOW].concat(), asked);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // One of the two has no split, and hides nothing of the other one's.
    assert!(ran.err.contains("  watermark "), "{ran:?}");

    let _taken = TcpListener::bind(("127.0.0.1", after)).unwrap();
    let ran = place.run(&args);
    let said = format!("error: --health: worker 1 cannot use 127.0.0.1:{}: ", port + 1);
    assert!(ran.code == Some(2) && ran.err.starts_with(&said), "{ran:?}");
}

const TESTS: &[(&str, fn())] = suite::tests![
    workers_in_processes_of_their_own_put_out_what_threads_do,
    a_worker_that_is_killed_or_hangs_is_replaced_and_nothing_is_lost,
    a_worker_that_hangs_is_found_in_time,
    a_job_goes_on_with_other_numbers_of_workers,
    a_job_is_scaled_while_it_runs,
    a_job_whose_store_refuses_goes_on_and_is_scaled_later,
    a_job_is_stopped_from_elsewhere_and_goes_on_from_its_savepoint,
    a_job_is_stopped_whoever_else_has_asked_or_tried_to_run_it,
    tasks_outlive_their_coordinator_and_the_next_one_goes_on_with_them,
    a_worker_that_is_told_to_end_is_let_go_behind_a_snapshot,
    a_task_that_is_a_thousand_times_slower_holds_up_the_others_and_no_memory,
    half_of_all_records_may_be_of_one_key,
    records_of_eight_megabytes_pass_between_processes,
    tls::by_tls_a_job_puts_out_the_same_also_when_files_are_renewed_and_workers_killed,
    tls::by_tls_records_of_eight_megabytes_pass_between_processes,
    tls::a_worker_with_tls_refuses_who_has_none_and_says_so,
    tls::a_coordinator_of_another_ca_calls_in_vain_until_its_files_are_mended,
    tls::files_of_no_use_are_bad_input,
    whom::a_worker_of_a_job_takes_no_session_of_another_one,
    whom::a_worker_in_another_pod_is_called_until_the_right_one_is_there,
    whom::a_stream_of_records_is_of_the_same_job_run_and_history,
    close::a_worker_hears_what_it_was_told_before_its_session_ends,
    close::a_worker_that_hangs_does_not_hold_up_the_end,
    asked::who_asks_a_run_that_hangs_is_told_so_and_waits_no_longer_than_wanted,
    asked::who_asks_a_job_that_fails_is_told_why_and_waits_no_longer_than_wanted,
    asked::after_a_refusal_the_workers_are_those_that_were_there,
    asked::a_second_run_is_refused_unless_it_is_to_take_over,
    asked::workers_are_replaced_when_their_folder_and_their_binary_are_gone,
    probes_and_prometheus_are_answered_by_every_worker,
    what_a_join_holds_is_bounded_where_its_sides_are_read_by_different_processes,
];

fn main() -> ExitCode {
    if env::var_os(ROLE).is_none() {
        return suite::run(TESTS);
    }
    millstream_worker::main(programs![sums, slow, skewed, large, apart, fails])
}
