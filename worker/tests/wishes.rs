//! `--fresh` and `spec.restore`: they count when their run has begun, and change nothing where it
//! could not.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::fmt::Write;
use std::path::Path;

use support::Place;

/// Its input lasts longer than the test.
const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: birds}
spec:
  program:
    name: bird-strikes
    args: {input: birds.csv, output: out, recordsPerSecond: '100'}
  threadsPerWorker: 1
  snapshots: {store: 'file://state', interval: 1h}
";

const RUN: &[&str] = &["run", "job.yaml"];

const NO_INPUT: &str =
    "operator strikes: cannot look at missing.csv: No such file or directory (os error 2)";

fn place() -> Place {
    let place = Place::new(Path::new(env!("CARGO_BIN_EXE_millstream-worker")), JOB);
    let mut input = "Flight Date,Origin State,Cost Total $\n".to_owned();
    for record in 0..100_000 {
        writeln!(input, "19{:02}-01-01,Ohio,{record}", 50 + record / 2000).unwrap();
    }
    place.write("birds.csv", input);
    place
}

/// Stops it as soon as it has begun; every stop leaves a snapshot.
fn goes_on(place: &Place, said: &str, more: &[&str]) {
    let ran = place.run_until(said, &[RUN, more].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// Fails before its tasks begin, and leaves nothing but a claim.
fn fails(place: &Place, more: &[&str], reason: &str) {
    let before = place.objects("birds");
    place.run(&[RUN, more].concat()).refused(2, &format!("birds: {reason}"));
    let mut after = place.objects("birds");
    after.retain(|name, _| !before.contains_key(name));
    assert!(after.keys().all(|name| name.starts_with("log/")), "{:?}", after.keys());
}

#[test]
fn a_fresh_start_that_fails_is_none() {
    let place = place();
    goes_on(&place, "starts from an empty state", &[]);
    let no_input = ["--fresh", "--set", "spec.program.args.input=missing.csv"];
    fails(&place, &no_input, NO_INPUT);
    goes_on(&place, "resumes from snapshot 1 ", &[]);
    place.write("file", "where the output is to be");
    let no_output = ["--fresh", "--set", "spec.program.args.output=file/out"];
    let ran = place.run(&[RUN, &no_output].concat());
    assert!(ran.code == Some(2) && ran.err.contains("cannot create file/out"), "{ran:?}");
    fails(&place, &no_input, NO_INPUT);
    goes_on(&place, "resumes from snapshot 2 ", &[]);
    goes_on(&place, "starts from an empty state", &["--fresh"]);
    goes_on(&place, "resumes from snapshot 4 ", &[]);
}

#[test]
fn going_back_in_vain_leaves_the_newest_snapshot_where_it_was() {
    let place = place();
    goes_on(&place, "starts from an empty state", &[]);
    goes_on(&place, "resumes from snapshot 1 ", &[]);
    let first = place.path("state/default/birds/log/00000000000000000002.json");
    let uri = format!("spec.restore.uri=file://{}", first.display());
    let back = ["--set", "spec.restore.from=Snapshot", "--set", &uri, "--set"];
    let back = |request| [&back[..], &[request]].concat();
    let no_input = ["--set", "spec.program.args.input=missing.csv"];
    fails(&place, &[&back("spec.restore.request=1")[..], &no_input].concat(), NO_INPUT);
    goes_on(&place, "resumes from snapshot 2 ", &[]);
    // The request was not acted upon: it still is to be.
    goes_on(&place, "resumes from snapshot 1 ", &back("spec.restore.request=1"));
    let said = "spec.restore.request 1 was acted upon by run 5: write another number";
    goes_on(&place, said, &back("spec.restore.request=1"));
    goes_on(&place, "resumes from snapshot 5 ", &[]);
}
