//! Mistakes of a user: each ends in the documented exit code and one line that says what and where.
//!
//! This binary is a user's binary as well: with [`ROLE`] set it has the programs below.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]
#![expect(clippy::unnecessary_wraps, reason = "every program returns a result")]

#[path = "support/suite.rs"]
mod suite;
mod support;

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use jiff::civil::Date;
use millstream_worker::connector::collection::Collection;
use millstream_worker::connector::discard::Discard;
use millstream_worker::connector::files::{FileSink, Files};
use millstream_worker::connector::generator::Generator;
use millstream_worker::connector::print::Print;
use millstream_worker::operator::aggregate::{Count, Sum};
use millstream_worker::source::OnMalformed;
use millstream_worker::window::Tumbling;
use millstream_worker::{Job, Result, Timestamp, Watermarks, programs};
use serde_json::{Value, json};

use support::{PATIENCE, Place, ROLE, Ran, Running};

/// Numbers without end, a thousand a second.
fn numbers() -> Generator<fn(u64) -> u64, u64> {
    Generator::new((|n| n) as fn(u64) -> u64).records_per_second(1000.0)
}

/// A count per key.
fn count(job: &mut Job) -> Result<()> {
    let keyed = job.source("numbers", numbers()).key_by(|n| n % 10);
    let counts = keyed.scan("count", 0u64, |count, n| {
        *count += 1;
        n
    });
    counts.sink("out", Discard::new());
    Ok(())
}

/// The same ids, the count of another type.
fn count_wide(job: &mut Job) -> Result<()> {
    let keyed = job.source("numbers", numbers()).key_by(|n| n % 10);
    let counts = keyed.scan("count", (0u64, 0u64), |count, n| {
        count.0 += 1;
        n
    });
    counts.sink("out", Discard::new());
    Ok(())
}

/// Another program altogether.
fn pass(job: &mut Job) -> Result<()> {
    job.source("digits", numbers()).sink("nowhere", Discard::new());
    Ok(())
}

/// Two ids that are equal.
fn twice(job: &mut Job) -> Result<()> {
    let numbers = job.source("numbers", Collection::of([1u64, 2, 3]));
    numbers.sink("out", Discard::new());
    numbers.map(|n| n + 1).sink("out", Discard::new());
    Ok(())
}

/// Reads numbers from the file in the argument `in`.
fn read(job: &mut Job) -> Result<()> {
    let files = Files::json::<u64>(job.args().get("in")?);
    job.source("files", files).sink("out", Discard::new());
    Ok(())
}

/// The same, without what is no number.
fn read_rest(job: &mut Job) -> Result<()> {
    let files = Files::json::<u64>(job.args().get("in")?);
    let numbers = job.source("files", files).on_malformed(OnMalformed::Skip);
    numbers.sink("out", Discard::new());
    Ok(())
}

/// The same, each number being its time.
fn read_timed(job: &mut Job) -> Result<()> {
    let files = Files::json::<i64>(job.args().get("in")?);
    let numbers = job.source("files", files);
    numbers.event_time(|n| Timestamp(*n), Watermarks::ascending()).sink("out", Discard::new());
    Ok(())
}

/// Prints.
fn print(job: &mut Job) -> Result<()> {
    job.source("numbers", Collection::of([1u64, 2, 3])).sink("shown", Print::json());
    Ok(())
}

/// Writes more to a file than fits where files are limited.
fn write(job: &mut Job) -> Result<()> {
    let numbers = Generator::new(|n| n).records(100_000);
    job.source("numbers", numbers).sink("files", FileSink::json("out"));
    Ok(())
}

/// Writes numbers without end to the directory in the argument `out`.
fn write_to(job: &mut Job) -> Result<()> {
    let files = FileSink::json(job.args().get("out")?);
    job.source("numbers", numbers()).sink("files", files);
    Ok(())
}

/// Panics at a record.
fn panicking(job: &mut Job) -> Result<()> {
    let numbers = job.source("numbers", Collection::of([1u64, 0]));
    numbers.key_by(|n| *n).scan("quotients", (), |(), n| 6 / n).sink("out", Discard::new());
    Ok(())
}

/// Panics in the function that selects the key, which runs in the source's task.
fn panicking_key(job: &mut Job) -> Result<()> {
    let numbers = job.source("numbers", Collection::of([1u64, 0]));
    numbers.key_by(|n| 6 / n).scan("counts", (), |(), n| n).sink("out", Discard::new());
    Ok(())
}

/// The same as `print`, a record more.
fn print_more(job: &mut Job) -> Result<()> {
    let numbers = job.source("numbers", Collection::of([1u64, 2, 3]));
    numbers.flat_map(|n| [n, n]).sink("shown", Print::json());
    Ok(())
}

/// The same as `print`, and a second sink for some of the records.
fn print_twice(job: &mut Job) -> Result<()> {
    let numbers = job.source("numbers", Collection::of([1u64, 2, 3]));
    numbers.filter(|n| n % 2 == 1).sink("odd", Discard::new());
    numbers.sink("shown", Print::json());
    Ok(())
}

/// Takes whatever arguments it is given.
fn free(job: &mut Job) -> Result<()> {
    let args: Vec<String> = job.args().all().keys().cloned().collect();
    job.source("args", Collection::of(args)).sink("shown", Print::json());
    Ok(())
}

/// Counts more keys than fit into a file where files are limited, and ends.
fn remember(job: &mut Job) -> Result<()> {
    let numbers = job.source("numbers", Generator::new(|n| n).records(100_000));
    numbers.key_by(|n| *n).scan("seen", 0u64, |seen, n| *seen + n).sink("out", Discard::new());
    Ok(())
}

/// Counts records by day, the first and the last day that there is among them.
fn days(job: &mut Job) -> Result<()> {
    let days = Collection::of([Date::MIN, jiff::civil::date(2010, 1, 1), Date::MAX]);
    job.source("days", days)
        .event_time(|day| (*day).into(), Watermarks::ascending())
        .key_by(ToString::to_string)
        .window(Tumbling::of(Duration::from_hours(24)))
        .aggregate("per-day", |_| 1i64, (Count, Sum))
        .sink("shown", Print::json());
    Ok(())
}

/// Counts numbers by windows of so many milliseconds of event time.
fn windows(job: &mut Job) -> Result<()> {
    let size = Duration::from_millis(job.args().parse("size")?);
    job.source("numbers", numbers())
        .event_time(|n| Timestamp(n.cast_signed()), Watermarks::ascending())
        .key_by(|n| n % 10)
        .window(Tumbling::of(size))
        .aggregate("per-window", |_| 1i64, Count)
        .sink("out", Discard::new());
    Ok(())
}

/// Has a time for some of its records that no record can have.
fn no_time(job: &mut Job) -> Result<()> {
    let times = Collection::of([1, i64::MAX, 2, i64::MIN]);
    let fate =
        if job.args().parse_or("skip", false)? { OnMalformed::Skip } else { OnMalformed::Fail };
    job.source("times", times)
        .on_malformed(fate)
        .event_time(|time| Timestamp(*time), Watermarks::ascending())
        .sink("shown", Print::json());
    Ok(())
}

fn job(program: &str, args: &str) -> String {
    format!(
        "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {{name: trial}}
spec:
  program: {{name: {program}, args: {args}}}
  snapshots: {{store: 'file://state', interval: 1h}}
"
    )
}

const RUN: &[&str] = &["run", "job.yaml", "--threads", "2"];

fn place(program: &str, args: &str) -> Place {
    Place::new(&env::current_exe().unwrap(), &job(program, args))
}

fn run(place: &Place, more: &[&str]) -> Ran {
    place.run(&[RUN, more].concat())
}

fn job_file_that_is_not_there() {
    let place = place("count", "{}");
    place
        .run(&["run", "jobs.yaml"])
        .refused(2, "cannot read jobs.yaml: No such file or directory (os error 2)");
}

const NOT_A_JOB: &str = "and not a StreamJob: write fields: apiVersion, kind, metadata, spec";

fn job_file_that_is_not_yaml() {
    let place = place("count", "{}");
    place.write("job.yaml", "spec: [1\n");
    let reason = "job.yaml: did not find expected ',' or ']' at line 2 column 1, while parsing a \
                  flow sequence at line 1 column 7";
    run(&place, &[]).refused(2, reason);
    place.write("job.yaml", [0xff, 0xfe]);
    run(&place, &[]).refused(2, "cannot read job.yaml: stream did not contain valid UTF-8");
    place.write("job.yaml", "text\n");
    run(&place, &[]).refused(2, &format!("job.yaml: is \"text\", {NOT_A_JOB}"));
    place.write("job.yaml", "- kind: StreamJob\n");
    run(&place, &[]).refused(2, &format!("job.yaml: is a list, {NOT_A_JOB}"));
    place.write("job.yaml", "!job\nkind: StreamJob\n");
    run(&place, &[]).refused(2, "job.yaml: has the tag !job: leave it out, a job has no tags");
}

/// Whoever names the data in place of the job sees where it begins, and not all of it.
fn job_file_that_is_data() {
    let place = place("count", "{}");
    place.write("job.yaml", "Flight Date,Origin State\n".repeat(30_000));
    let shown = "Flight Date,Origin State Flight Date,Origin State Flight Da..";
    run(&place, &[]).refused(2, &format!("job.yaml: is \"{shown}, {NOT_A_JOB}"));
    place
        .run(&["run", "/dev/zero"])
        .refused(2, "/dev/zero: has more than 2 MiB, and is not the file of a StreamJob");
    place.write("job.yaml", "{\"a\": 1}\n".repeat(30_000));
    let ran = run(&place, &[]);
    assert!(ran.code == Some(2) && ran.err.len() < 1100, "{ran:?}");
}

fn unknown_field() {
    let place = place("count", "{}");
    place.write("job.yaml", job("count", "{}").replace("interval", "intervall"));
    let reason = "job.yaml: unknown field spec.snapshots.intervall: did you mean interval?";
    run(&place, &[]).refused(2, reason);
    place.write("job.yaml", job("count", "{}").replace("spec:", "spec:\n  parallel: 3"));
    let ran = run(&place, &[]);
    let said = "error: job.yaml: unknown field spec.parallel: spec has image, keyGroups, ";
    assert!(ran.code == Some(2) && ran.err.starts_with(said), "{ran:?}");
}

fn field_that_is_there_twice() {
    let reason = "job.yaml: spec.program.args: duplicate entry with key \"a\" at line 6 column 31";
    run(&place("read", "{a: 1, b: 2, a: 3}"), &[]).refused(2, reason);
}

fn field_of_the_wrong_type() {
    let place = place("count", "{}");
    place.write("job.yaml", job("count", "{}").replace("1h", "[1]"));
    let reason = "job.yaml: spec.snapshots.interval: is [1]: write a duration of whole h, m, s or \
                  ms, such as 10s";
    run(&place, &[]).refused(2, reason);
    let reason =
        "job.yaml: spec.workers: is \"many\": write a whole number of at least 1, such as 2";
    run(&place, &["--set", "spec.snapshots.interval=1h", "--set", "spec.workers=many"])
        .refused(2, reason);
}

fn program_that_is_not_there() {
    let names = "count, count-wide, days, free, no-time, panicking, panicking-key, pass, print, \
                 print-more, print-twice, read, read-rest, read-timed, remember, twice, windows, \
                 write, write-to";
    run(&place("counts", "{}"), &[]).refused(
        2,
        &format!(
            "trial: spec.program.name: this binary has no program \"counts\", did you mean count? \
             it has {names}"
        ),
    );
    let place = place("count", "{}");
    place.write("job.yaml", job("count", "{}").replace("name: count,", ""));
    run(&place, &[]).refused(
        2,
        &format!("trial: spec.program.name: say which program to run; this binary has {names}"),
    );
}

fn argument_that_is_missing() {
    run(&place("read", "{}"), &[])
        .refused(2, "trial: the program needs the argument in: set spec.program.args.in");
}

fn argument_that_nobody_asked_for() {
    let place = place("print", "{keys: '3'}");
    let said = "trial: spec.program.args.keys: the program has no such argument; it takes none";
    run(&place, &[]).refused(2, said);
    place.run(&["describe", "job.yaml"]).refused(2, &said["trial: ".len()..]);
    assert!(place.objects("trial").is_empty());
    place.write("job.yaml", job("read", "{in: numbers.json, inn: other.json}"));
    let said = "trial: spec.program.args.inn: the program has no such argument, did you mean in? \
                it has in";
    run(&place, &[]).refused(2, said);
    assert!(place.objects("trial").is_empty());
    place.write("job.yaml", job("read", "{IN: numbers.json}"));
    let said = "trial: the program needs the argument in: set spec.program.args.in (is it IN?)";
    run(&place, &[]).refused(2, said);
    place.write("job.yaml", job("free", "{keys: '3', other: ''}"));
    let ran = run(&place, &["--set", "spec.threadsPerWorker=1"]);
    assert_eq!((ran.code, &*ran.out), (Some(0), "\"keys\"\n\"other\"\n"), "{ran:?}");
}

fn finished_job_of_another_program() {
    let place = place("print", "{}");
    let ran = run(&place, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let before = place.objects("trial");
    let ran = run(&place, &[]);
    assert!(ran.err.contains("had finished before: its output is complete. "), "{ran:?}");
    place.write("job.yaml", job("print-more", "{}"));
    let last = before.keys().rfind(|name| name.starts_with("log/")).unwrap();
    let uri = format!("file://{}", place.path("state/default/trial").join(last).display());
    let said = format!(
        "trial: the job has finished, in snapshot {uri}, with another program: it was print, this \
         one is print-more. For another program use another name; to begin again from nothing \
         write restore.from: Empty (--fresh)"
    );
    run(&place, &[]).refused(2, &said);
    run(&place, &["--set", "spec.program.name=print", "--set", "spec.keyGroups=64"])
        .refused(2, &format!("trial: {}", key_groups(&uri)));
    assert_eq!(place.objects("trial"), before);
    let ran = run(&place, &["--fresh"]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 6), "{ran:?}");
}

fn finished_job_with_other_arguments() {
    let place = place("read", "{in: numbers.json}");
    place.write("numbers.json", "1\n2\n");
    assert_eq!(run(&place, &[]).code, Some(0));
    let ran = run(&place, &["--set", "spec.program.args.in=other.json"]);
    let reason = format!(
        "trial had finished before, with other arguments (argument in is another): nothing was \
         done. For another input write another metadata.name. The same command with --fresh \
         starts anew; the output of this run stays where it is, so that an output directory then \
         holds both. Snapshots are in file://{}/",
        place.path("state/default/trial").display()
    );
    ran.refused(2, &reason);
    assert!(!ran.err.contains("numbers.json"), "values stay out of the log: {ran:?}");
    let json = &["--set", "spec.program.args.in=other.json", "--log-format", "json"];
    all_json(&run(&place, json), 2, "ERROR", "had finished before, with other arguments");
}

/// The sink is at fault, and not the operator in whose chain it stands.
fn sink_that_cannot_open() {
    let place = place("write", "{}");
    place.write("out", "a file");
    let reason = "trial: operator files: cannot create out/.pending/default%2Ftrial/files: Not a \
                  directory (os error 20)";
    let ran = run(&place, &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains(reason), "{ran:?}");
}

/// Whose path is empty is said, and so is whose directory is gone.
fn output_that_is_no_place() {
    let place = place("write-to", "{out: ''}");
    let reason = "trial: operator files: its path is empty: write a path, file:///path or \
                  s3://bucket/prefix";
    run(&place, &[]).refused(2, reason);
    let away = &[RUN, &["--set", "spec.program.args.out=out"]].concat();
    let gone = || std::fs::remove_dir_all(place.path("out")).unwrap();
    let ran = place.run_until_then("starts from an empty state", away, gone);
    assert!(ran.err.lines().last().unwrap().contains("operator files: "), "{ran:?}");
}

fn sinks_that_are_counted_each() {
    let ran = run(&place("print-twice", "{}"), &[]);
    let last = "trial finished: 3 records in, 5 out (odd 2, shown 3), 0 late";
    assert_eq!((ran.code, ran.err.lines().last()), (Some(0), Some(last)), "{ran:?}");
}

fn two_operators_with_one_id() {
    let place = place("twice", "{}");
    let ran = run(&place, &[]);
    assert_eq!((ran.code, ran.err.lines().count()), (Some(2), 1), "{ran:?}");
    assert!(ran.err.starts_with("error: trial: the id \"out\" is used twice, here and at "));
    assert_eq!(ran.err.matches("bad_input.rs:").count(), 2, "both places: {ran:?}");
    assert!(place.objects("trial").is_empty());
}

fn more_threads_than_key_groups() {
    let place = place("count", "{}");
    let refused = |args: &[&str], reason: &str| {
        for command in ["run", "describe"] {
            place.run(&[&[command, "job.yaml"], args].concat()).refused(2, reason);
        }
    };
    let needs = "spec.keyGroups is 4, and each thread needs one";
    let reason = format!("--threads: is 5: write a number from 1 to 4: {needs}");
    refused(&["--threads", "5", "--set", "spec.keyGroups=4"], &reason);
    let reason = format!("--threads: is 0: write a number from 1 to 4: {needs}");
    refused(&["--threads", "0", "--set", "spec.keyGroups=4"], &reason);
    let reason = "spec.threadsPerWorker: is 721: write at least 1, and at most so many that \
                  workers x threadsPerWorker (721) does not exceed keyGroups (720)";
    refused(&["--set", "spec.threadsPerWorker=721"], reason);
}

/// What a run would refuse has no plan.
fn describe_that_checks_as_run_does() {
    let place = place("count", "{}");
    let plan = place.run(&["describe", "job.yaml"]);
    assert!(plan.code == Some(0) && plan.out.starts_with("numbers  "), "{plan:?}");
    for (set, reason) in [
        ("spec.keyGroups=0", "spec.keyGroups: is 0: write a number from 1 to 32768"),
        ("spec.workers=0", "spec.workers: is 0: write a number from 1 to keyGroups (720)"),
        ("spec.snapshots.retain=0", "spec.snapshots.retain: is 0: write 1 or more"),
        ("kind: x", "--set kind: x: write --set spec.path=value"),
        (
            "spec.snapshots.store=gs://b",
            "spec.snapshots.store: \"gs://b\" is not a store: write s3://bucket/prefix, \
             file:///path or file://below/here",
        ),
        (
            "spec.state.memory=7Xi",
            "spec.state.memory: \"7Xi\" is not a quantity: write a number of bytes, with a unit of \
             Ki, Mi, Gi, Ti, Pi, Ei, k, M, G, T, P or E if it has one, such as 512Mi or 20Gi",
        ),
        (
            "spec.state.memory=8Ei",
            "spec.state.memory: \"8Ei\" is too large: write less than 8Ei, such as 512Mi or 20Gi",
        ),
        ("spec.state.memory=1024", "spec.state.memory: is 1024: write 16Mi or more"),
    ] {
        for command in ["run", "describe"] {
            place.run(&[command, "job.yaml", "--set", set]).refused(2, reason);
        }
    }
    let plan = place.run(&["describe", "job.yaml", "--set", "spec.state.memory=1e9"]);
    assert_eq!(plan.code, Some(0), "{plan:?}");
}

fn data_file_that_is_not_there() {
    let place = place("read", "{in: numbers.json}");
    let reason = "trial: operator files: cannot look at numbers.json: No such file or directory \
                  (os error 2)";
    run(&place, &[]).refused(2, reason);
    let empty = Place::new(&env::current_exe().unwrap(), &job("read", "{in: '*.json'}"));
    let ran = run(&empty, &[]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.starts_with("error: trial: operator files: no file matches *.json: "));
}

fn record_that_does_not_decode() {
    let place = place("read", "{in: numbers.json}");
    place.write("numbers.json", "1\n2\nthree\n4\n");
    let ran = run(&place, &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let reason = "error: trial: operator files: numbers.json, line 3: expected ident at column 2: \
                  three (to leave such records out: on_malformed)";
    assert_eq!(ran.err.lines().last(), Some(reason), "{ran:?}");
}

/// Left out, where the program says so: in silence never.
fn records_that_are_left_out() {
    let place = place("read-rest", "{in: numbers.json}");
    place.write("numbers.json", "1\n2\nthree\n4\nfive\n");
    let ran = run(&place, &[]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let first = "left out a malformed record, the first here: numbers.json, line 3: expected ident \
                 at column 2: three";
    assert_eq!(ran.err.matches("left out").count(), 1, "{ran:?}");
    assert!(ran.err.contains(first), "{ran:?}");
    let last = "trial finished: 3 records in, 3 out, 0 late, 2 records failed";
    assert_eq!(ran.err.lines().last(), Some(last), "{ran:?}");
}

/// A full disk may be emptied: the job says so, and tries again until it is stopped.
fn disk_that_is_full() {
    let shell = |program: &str, script: &str, reason: &str| {
        let place = Place::new(Path::new("/bin/sh"), &job(program, "{}"));
        let binary = env::current_exe().unwrap();
        let ran = place.run_until(reason, &["-c", script, binary.to_str().unwrap()]);
        assert_eq!(ran.code, Some(4), "{ran:?}");
        let last = ran.err.lines().last().unwrap();
        // Before the first run, the log says what the claim waits for.
        let claiming = reason.starts_with("the start");
        let (why, goes_on) = if claiming {
            (reason, "resumes from the last one, where there is one")
        } else {
            ("it was restarting: ", "begins anew: there is none yet")
        };
        let first = format!("trial stopped without a snapshot ({why}");
        assert!(last.starts_with(&first) && (claiming || last.contains(reason)), "{ran:?}");
        assert!(last.ends_with(&format!("): the same command {goes_on}")), "{ran:?}");
    };
    let full = "exec \"$0\" run job.yaml --threads 1 > /dev/full";
    shell("print", full, "operator shown: cannot print: No space left on device");
    // The signal would end the process; ignored, it is an error, as on a full disk.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" run job.yaml --threads 1";
    shell("write", limited, "operator files: cannot write out/.pending/");
    let nothing = "trap '' XFSZ; ulimit -f 0; exec \"$0\" run job.yaml --threads 1";
    shell("count", nothing, "the start of run 1 cannot be noted in the log: cannot write ");
}

/// All but the entry of the log fits: the run says for how long it has tried, and a signal more
/// ends it. That one alone does in a while is shown where the clock is a component.
fn log_that_is_full() {
    let place = Place::new(Path::new("/bin/sh"), &job("count", "{}"));
    // The entry of a snapshot is larger than that of a start, and than what a few counts take.
    let script = "trap '' XFSZ; ulimit -f 2; exec \"$0\" run job.yaml --threads 1";
    let binary = env::current_exe().unwrap();
    let args = ["-c", script, binary.to_str().unwrap()];
    let cannot = "snapshot 1 cannot be published: cannot write ";
    let mut running = Running::start(&place, &args);
    running.wait_for("starts from an empty state");
    running.interrupt();
    running.wait_for(cannot);
    running.interrupt_again();
    let ran = running.end();
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains(&format!(" WARN trial: {cannot}")), "{ran:?}");
    let last = ran.err.lines().last().unwrap();
    let first = format!("trial stopped without a snapshot (at a second signal; {cannot}");
    assert!(last.starts_with(&first) && last.contains("File too large"), "{ran:?}");
    assert!(last.contains(": the same command begins anew: there is none yet"), "{ran:?}");
}

/// A disk that hangs holds up no second signal.
fn log_that_hangs() {
    let place = place("count", "{}");
    let entry = place.path("state/default/trial/log/00000000000000000001.json");
    let mut running = Running::start(&place, RUN);
    running.wait_for("starts from an empty state");
    std::fs::remove_file(&entry).unwrap();
    assert!(Command::new("mkfifo").arg(&entry).status().unwrap().success());
    running.interrupt();
    let (say, is_read) = sync_channel(1);
    // Opens when somebody reads it, who then waits for what never comes.
    thread::spawn(move || say.send(File::options().write(true).open(entry)));
    let _writer = is_read.recv_timeout(PATIENCE).unwrap().unwrap();
    running.interrupt_again();
    let ran = running.end();
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let last = "trial stopped without a snapshot (at a second signal): the same command begins \
                anew: there is none yet";
    assert_eq!(ran.err.lines().last(), Some(last), "{ran:?}");
}

/// All is read and the last snapshot cannot be written: a signal ends the process nevertheless.
fn last_snapshot_that_does_not_fit() {
    let place = Place::new(Path::new("/bin/sh"), &job("remember", "{}"));
    let script = "trap '' XFSZ; ulimit -f 64; exec \"$0\" run job.yaml --threads 1";
    let binary = env::current_exe().unwrap();
    let args = ["-c", script, binary.to_str().unwrap()];
    let ran = place.run_until("trial: snapshot failed: epoch 1: ", &args);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert_eq!(
        ran.err.matches("WARN trial: snapshot failed: epoch 1: ").count(),
        1,
        "once each: {ran:?}"
    );
    let last = ran.err.lines().last().unwrap();
    let first = "trial stopped without a snapshot (the last attempt failed: epoch ";
    assert!(last.starts_with(first) && last.contains("cannot write "), "{ran:?}");
}

fn worker_that_is_no_address() {
    let place = place("read", "{in: in.csv}");
    for at in ["", ",", "127.0.0.1", "127.0.0.1:0", ":7070", "a:99999", "http://a:7070", "a:1,"] {
        let ran = place.run(&["run", "job.yaml", "--at", at]);
        assert!(ran.code == Some(2) && ran.err.contains("write HOST:PORT"), "{at:?}: {ran:?}");
    }
    let health = ["--health", "127.0.0.1:0"];
    let ran = place.run(&[&["run", "job.yaml", "--at", "a:1"][..], &health].concat());
    let said = "--health: does not go with --at: no task runs in this process, and each worker \
                answers for itself: write it behind `serve`";
    ran.refused(2, said);
    let ran = place.run(&["run", "job.yaml", "--at", "a:1,b:1,a:1"]);
    assert!(ran.code == Some(2) && ran.err.contains("--at: names a:1 twice"), "{ran:?}");
    let ran = place.run(&["serve", "--listen", "127.0.0.1:0", "--threads", "0"]);
    assert!(ran.code == Some(2) && ran.err.contains("--threads"), "{ran:?}");
}

fn rate_that_is_none() {
    let stock = Path::new(env!("CARGO_BIN_EXE_millstream-worker"));
    for (rate, shown) in [("0", "0.0"), ("-1", "-1.0"), ("NaN", "NaN"), ("1e-300", "1e-300")] {
        let args = format!("{{recordsPerSecond: '{rate}', input: in.csv, output: out}}");
        let counter =
            Place::new(stock, &job("counter", &format!("{{recordsPerSecond: '{rate}'}}")));
        let said = format!("is {shown}: write a number of at least 0.000001");
        run(&counter, &[])
            .refused(2, &format!("trial: spec.program.args.recordsPerSecond: {said}"));
        let strikes = Place::new(stock, &job("bird-strikes", &args));
        let said = format!("trial: operator strikes: records_per_second: {said}");
        run(&strikes, &[]).refused(2, &said);
    }
}

fn link_that_leads_to_itself() {
    let place = place("read", "{in: loop.json}");
    std::os::unix::fs::symlink("loop.json", place.path("loop.json")).unwrap();
    let reason = "trial: operator files: cannot look at loop.json: Too many levels of symbolic \
                  links (os error 40): a symbolic link there leads back to itself, remove it";
    run(&place, &[]).refused(2, reason);
}

/// The ends of the calendar are dates as others are: neither lost nor the end of the stream.
fn first_and_last_date() {
    let ran = run(&place("days", "{}"), &[]);
    assert_eq!((ran.code, ran.out.lines().count()), (Some(0), 3), "{ran:?}");
    for day in ["-009999-01-01", "2010-01-01", "9999-12-31"] {
        assert!(ran.out.contains(day), "{ran:?}");
    }
    let last = "trial finished: 3 records in, 3 out, 0 late";
    assert_eq!(ran.err.lines().last(), Some(last), "{ran:?}");
}

fn time_that_no_record_can_have() {
    let ran = run(&place("no-time", "{}"), &[]);
    let reason = "error: trial: operator times: split-0: event time: the function returned \
                  Timestamp::MAX, which stands for the end: 9223372036854775807 (to leave such \
                  records out: on_malformed)";
    assert_eq!((ran.code, ran.err.lines().last()), (Some(2), Some(reason)), "{ran:?}");
    let place = place("read-timed", "{in: numbers.json}");
    place.write("numbers.json", format!("1\n2\n{}\n", i64::MIN));
    let reason = "error: trial: operator files: numbers.json, line 3: event time: the function \
                  returned Timestamp::MIN, which stands for no event time: -9223372036854775808 \
                  (to leave such records out: on_malformed)";
    let ran = run(&place, &[]);
    assert_eq!((ran.code, ran.err.lines().last()), (Some(2), Some(reason)), "{ran:?}");
}

fn time_that_no_record_can_have_left_out() {
    let ran = run(&place("no-time", "{skip: 'true'}"), &[]);
    let last = "trial finished: 2 records in, 2 out, 0 late, 2 records failed";
    assert_eq!((&*ran.out, ran.err.lines().last()), ("1\n2\n", Some(last)), "{ran:?}");
}

fn job_file_with_a_mark_or_to_be_suspended() {
    let place = place("print", "{}");
    place.write("job.yaml", format!("\u{feff}{}", job("print", "{}").trim_start()));
    assert_eq!(run(&place, &[]).code, Some(0));
    let reason = "spec.suspend: is true, so that the job is not to run: leave it out, or add --set \
                  spec.suspend=false";
    run(&place, &["--set", "spec.suspend=true"]).refused(2, reason);
}

/// Every line of standard error is JSON; the last has the exit code and a message with this text.
#[track_caller]
fn all_json(ran: &Ran, code: i32, level: &str, message: &str) {
    let lines: Vec<Value> =
        ran.err.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(lines.iter().all(|line| line["level"].is_string()), "{ran:?}");
    let last = lines.last().unwrap();
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert_eq!((&last["level"], &last["exit_code"]), (&json!(level), &json!(code)), "{ran:?}");
    assert!(last["message"].as_str().unwrap().contains(message), "{ran:?}");
}

fn log_that_is_json() {
    let finishing = place("print", "{}");
    let format = &["--log-format", "json"];
    all_json(&run(&finishing, format), 0, "INFO", "trial finished: 3 records in");
    all_json(&run(&finishing, format), 0, "INFO", "had finished before");
    all_json(&run(&place("read", "{}"), format), 2, "ERROR", "needs the argument in");
    let running = [RUN, format].concat();
    let ran = place("count", "{}").run_until("starts from an empty state", &running);
    all_json(&ran, 0, "INFO", "stopped after snapshot 1");
    let ran = place("panicking", "{}").run_until("trial restarts", &running);
    all_json(&ran, 4, "WARN", "stopped without a snapshot");
    assert!(ran.err.contains("panicked at "), "{ran:?}");
    let nothing = place("print", "{}");
    all_json(&nothing.run(&["run", "none.yaml", "--log-format", "json"]), 2, "ERROR", "none.yaml");
    for format in [&["--log-format", "json"][..], &["--log-format=json"]] {
        let ran = nothing.run(&[&["run", "--nonesuch"], format].concat());
        all_json(&ran, 2, "ERROR", "unexpected argument '--nonesuch'");
    }
}

/// What goes on is said without the command: whoever gave it knows its options.
fn stops_that_say_what_resumes() {
    let last = |ran: &Ran| ran.err.lines().last().unwrap().to_owned();
    let place = place("count", "{}");
    let ran = place.run_until("starts from an empty state", RUN);
    let said = "trial stopped after snapshot 1: the same command resumes from it";
    assert_eq!(last(&ran), said);
    let fresh = [RUN, &["--fresh"]].concat();
    let ran = place.run_until("starts from an empty state", &fresh);
    let said = "trial stopped after snapshot 2: the same command without --fresh resumes from it";
    assert_eq!(last(&ran), said);
}

/// A result that cannot be written is none.
fn output_that_is_full() {
    let place = Place::new(Path::new("/bin/sh"), &job("print", "{}"));
    let binary = env::current_exe().unwrap();
    let script = "exec \"$0\" describe job.yaml > /dev/full";
    let reason = "cannot write to standard output: No space left on device (os error 28)";
    place.run(&["-c", script, binary.to_str().unwrap()]).refused(1, reason);
}

/// Neither is waited for: nobody but the user can mend it.
fn store_where_nothing_can_be_written() {
    let place = place("count", "{}");
    let ran = run(&place, &["--set", "spec.snapshots.store=file:///proc/x"]);
    let reason = "trial: cannot write /proc/x/default/trial/log/00000000000000000001.json: No such \
                  file or directory (os error 2): correct spec.snapshots.store";
    ran.refused(2, reason);
    assert_eq!(place.run_until("starts from an empty state", RUN).code, Some(0));
    let slot = place.path("state/default/trial/log/00000000000000000003.json");
    std::fs::create_dir(&slot).unwrap();
    let reason = format!(
        "trial: cannot write {}: is a directory: a file of the job belongs there: move what is \
         there away",
        slot.display()
    );
    run(&place, &[]).refused(2, &reason);
}

fn store_that_is_no_directory() {
    let place = place("count", "{}");
    place.write("state", "a file");
    let path = place.path("state/default/trial/committed/");
    let reason = format!(
        "trial: cannot list {}: Not a directory (os error 20): correct spec.snapshots.store",
        path.display()
    );
    run(&place, &[]).refused(2, &reason);
}

/// Runs a program, then another under the same name: refused, and the store is as it was.
fn other_program(then: &str, args: &[&str], reason: impl Fn(&str) -> String) {
    let place = place("count", "{}");
    let ran = place.run_until("starts from an empty state", RUN);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let before = place.objects("trial");
    place.write("job.yaml", job(then, "{}"));
    let uri = format!(
        "file://{}",
        place.path("state/default/trial/log/00000000000000000002.json").display()
    );
    run(&place, args).refused(2, &format!("trial: {}", reason(&uri)));
    assert_eq!(place.objects("trial"), before);
}

fn store_of_another_program() {
    other_program("pass", &[], |uri| {
        format!(
            "no operator of snapshot {uri} is in this program: the snapshot has numbers, count, \
             out, the program has digits, nowhere. For another program use another name; to begin \
             again from nothing write restore.from: Empty (--fresh)"
        )
    });
}

fn state_whose_type_changed() {
    let narrow = r#"{"TUPLE":["U64","U64"]}"#;
    let wide = r#"{"TUPLE":["U64",{"TUPLE":["U64","U64"]}]}"#;
    other_program("count-wide", &[], |uri| {
        format!(
            "state state of operator count is value of {narrow} in snapshot {uri} and value of \
             {wide} in the program: keep the old type, write a .migrate from it, or write \
             restore.allowDroppedState: true to lose the state"
        )
    });
}

/// The size of a window is no part of its state's type, and cannot change under it all the same.
fn window_of_another_size() {
    let place = place("windows", "{size: '1000'}");
    assert_eq!(place.run_until("starts from an empty state", RUN).code, Some(0));
    let reason = "trial: operator per-window: the snapshot holds windows of size 1000 ms, slide \
                  1000 ms, offset 0 ms, the program has windows of size 2000 ms, slide 2000 ms, \
                  offset 0 ms: write the old ones, or give the operator another id and write \
                  restore.allowDroppedState: true, which loses the windows that are open";
    run(&place, &["--set", "spec.program.args.size=2000"]).refused(2, reason);
    let ran = place.run_until("resumes from snapshot 1", RUN);
    assert_eq!(ran.code, Some(0), "the old size goes on: {ran:?}");
}

/// What is let go is named, once, at the start that lets it go.
fn state_that_is_dropped() {
    for (then, dropped) in [
        ("count-wide", "count (state)"),
        ("pass", "numbers (positions), count (state), out (pending)"),
    ] {
        let place = place("count", "{}");
        assert_eq!(place.run_until("starts from an empty state", RUN).code, Some(0));
        place.write("job.yaml", job(then, "{}"));
        let allow = [RUN, &["--set", "spec.restore.allowDroppedState=true"]].concat();
        let said = format!(
            " WARN trial drops state of snapshot 1, as allowDroppedState lets it: {dropped}\n"
        );
        let ran = place.run_until("resumes from snapshot 1", &allow);
        assert_eq!((ran.code, ran.err.matches(&said).count()), (Some(0), 1), "{ran:?}");
        let ran = place.run_until("resumes from snapshot 2", &allow);
        assert!(!ran.err.contains("drops state"), "nothing is left to drop: {ran:?}");
    }
}

fn key_groups(uri: &str) -> String {
    format!(
        "spec.keyGroups is 64, but snapshot {uri} has 720: a job's key groups cannot change, write \
         the old number"
    )
}

fn key_groups_that_changed() {
    other_program("count", &["--set", "spec.keyGroups=64"], key_groups);
}

/// A panic is a user's mistake that a new version of the program may mend: restarted, until
/// stopped.
fn panic_in_a_program() {
    for (program, operator) in [("panicking", "quotients"), ("panicking-key", "numbers")] {
        let place = place(program, "{}");
        let reason = format!("operator {operator}: panicked: attempt to divide");
        let ran = place.run_until("trial restarts (attempt 2, in ", RUN);
        assert_eq!(ran.code, Some(4), "{ran:?}");
        let warned = ran.err.lines().filter(|line| line.contains(" WARN trial restarts"));
        let warned: Vec<_> = warned.filter(|line| line.contains(&reason)).collect();
        assert!(warned.len() >= 2 && warned[0].contains("(attempt 1, in "), "{ran:?}");
        assert_eq!(ran.err.matches("panicked at ").count(), 1, "the place is told once: {ran:?}");
    }
}

const TESTS: &[(&str, fn())] = suite::tests![
    job_file_that_is_not_there,
    job_file_that_is_not_yaml,
    job_file_that_is_data,
    unknown_field,
    field_that_is_there_twice,
    field_of_the_wrong_type,
    program_that_is_not_there,
    argument_that_is_missing,
    argument_that_nobody_asked_for,
    finished_job_of_another_program,
    finished_job_with_other_arguments,
    sink_that_cannot_open,
    output_that_is_no_place,
    sinks_that_are_counted_each,
    two_operators_with_one_id,
    more_threads_than_key_groups,
    describe_that_checks_as_run_does,
    data_file_that_is_not_there,
    record_that_does_not_decode,
    records_that_are_left_out,
    disk_that_is_full,
    log_that_is_full,
    log_that_hangs,
    last_snapshot_that_does_not_fit,
    worker_that_is_no_address,
    rate_that_is_none,
    link_that_leads_to_itself,
    first_and_last_date,
    time_that_no_record_can_have,
    time_that_no_record_can_have_left_out,
    job_file_with_a_mark_or_to_be_suspended,
    log_that_is_json,
    stops_that_say_what_resumes,
    output_that_is_full,
    store_where_nothing_can_be_written,
    store_that_is_no_directory,
    store_of_another_program,
    state_whose_type_changed,
    window_of_another_size,
    state_that_is_dropped,
    key_groups_that_changed,
    panic_in_a_program,
];

fn main() -> ExitCode {
    if env::var_os(ROLE).is_some() {
        return millstream_worker::main(programs![
            count,
            count_wide,
            days,
            free,
            no_time,
            panicking,
            panicking_key,
            pass,
            print,
            print_more,
            print_twice,
            read,
            read_rest,
            read_timed,
            remember,
            twice,
            windows,
            write,
            write_to
        ]);
    }
    suite::run(TESTS)
}
