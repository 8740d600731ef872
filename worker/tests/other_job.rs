//! `spec.restore.uri` that names a snapshot of another job: the job begins with a copy of it.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use support::{Place, Ran};

/// Input for four seconds.
const JOB: &str = "
apiVersion: millstream.dev/v1alpha1
kind: StreamJob
metadata: {name: NAME}
spec:
  program:
    name: bird-strikes
    args: {input: birds.csv, output: out-NAME, recordsPerSecond: '100'}
  threadsPerWorker: 1
  snapshots: {store: 'file://state', interval: 1h}
";

fn place() -> Place {
    let binary = Path::new(env!("CARGO_BIN_EXE_millstream-worker"));
    let place = Place::new(binary, &JOB.replace("NAME", "birds"));
    place.write("gulls.yaml", JOB.replace("NAME", "gulls"));
    place.write("whole.yaml", JOB.replace("NAME", "whole"));
    let mut input = "Flight Date,Origin State,Cost Total $\n".to_owned();
    for record in 0..400 {
        writeln!(input, "19{:02}-01-01,Ohio,{record}", 50 + record / 8).unwrap();
    }
    place.write("birds.csv", input);
    place
}

fn birds(place: &Place) {
    let ran = place.run_until("birds  in ", &["run", "job.yaml"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

/// What a start of `gulls` is told to begin from: that entry of the log of that job.
fn from(place: &Place, job: &str, entry: u64) -> Vec<String> {
    let snapshot = place.path(&format!("state/default/{job}/log/{entry:020}.json"));
    let sets = [
        "spec.restore.from=Snapshot".to_owned(),
        format!("spec.restore.uri=file://{}", snapshot.display()),
        "spec.restore.request=1".to_owned(),
    ];
    let sets = sets.into_iter().flat_map(|set| ["--set".to_owned(), set]);
    ["run".to_owned(), "gulls.yaml".to_owned()].into_iter().chain(sets).collect()
}

fn words(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

#[track_caller]
fn refused(ran: &Ran, reason: &str) {
    assert!(ran.code == Some(2) && ran.err.contains(reason), "{ran:?}");
}

/// The results in these folders, in order.
fn results(place: &Place, folders: &[&str]) -> Vec<String> {
    let files = folders.iter().flat_map(|folder| fs::read_dir(place.path(folder)).unwrap());
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let texts: Vec<String> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let mut lines: Vec<String> =
        texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_job_begins_where_another_one_stood_and_needs_it_no_more() {
    let place = place();
    birds(&place);
    let args = from(&place, "birds", 2);
    let ran = place.run_until("gulls  in ", &words(&args));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let copied = "default/gulls begins with a copy of file://";
    assert!(ran.err.contains(copied), "{}", ran.err);
    assert!(ran.err.contains("gulls resumes from snapshot 1 "), "{}", ran.err);
    assert!(ran.err.contains("spec.restore.request 1 was acted upon"), "{}", ran.err);
    let gone = place.path("state/default/birds");
    let gone = gone.to_str().unwrap();
    let deleted = place.run(&["snapshots", "delete", &format!("file://{gone}"), "--yes"]);
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    // The request was acted upon: it goes on from its own.
    let ran = place.run(&words(&args));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.err.contains("gulls resumes from snapshot 2 "), "{}", ran.err);
    assert_eq!(place.run(&["run", "whole.yaml"]).code, Some(0));
    let whole = results(&place, &["out-whole"]);
    assert!(whole.len() > 10, "{whole:?}");
    assert_eq!(results(&place, &["out-birds", "out-gulls"]), whole);
}

#[test]
fn what_no_job_can_begin_from_is_refused_and_leaves_nothing() {
    let place = place();
    refused(&place.run(&words(&from(&place, "birds", 2))), "there is no job at ");
    birds(&place);
    refused(&place.run(&words(&from(&place, "birds", 1))), "is not a snapshot, or was deleted");
    let finished = place.run(&["run", "whole.yaml"]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let last = place.objects("whole").into_keys().filter(|name| name.starts_with("log/")).count();
    let last = from(&place, "whole", last as u64);
    let uri = last.iter().find_map(|arg| arg.strip_prefix("spec.restore.uri=")).unwrap();
    place.run(&words(&last)).refused(
        2,
        &format!(
            "gulls: spec.restore.uri: {uri} is the last snapshot of a job that has finished: \
             nothing is left to be run from it"
        ),
    );
    let mark = place.path("state/default/birds/committed/2");
    fs::remove_file(&mark).unwrap();
    refused(&place.run(&words(&from(&place, "birds", 2))), "was made visible");
    assert!(place.objects("gulls").is_empty(), "{:?}", place.objects("gulls").keys());
    fs::write(&mark, "").unwrap();
    let ran = place.run_until("gulls  in ", &["run", "gulls.yaml"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let before = place.objects("gulls");
    refused(&place.run(&words(&from(&place, "birds", 2))), "only a job that has no history");
    let claims: Vec<_> =
        place.objects("gulls").into_keys().filter(|name| !before.contains_key(name)).collect();
    assert!(claims.is_empty(), "{claims:?}");
}
