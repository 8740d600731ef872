//! The job from `job.yaml`, run to its end by the binary.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use own_crate::meters::reading;

/// An empty directory with the job's file in it.
fn place(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/job.yaml"), place.join("job.yaml")).unwrap();
    place
}

fn run(place: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_own-crate")).current_dir(place).args(args).output().unwrap()
}

/// The lines of all files in a directory, in order.
fn lines(directory: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

/// Six windows of ten minutes, sixty readings each.
fn spreads() -> Vec<String> {
    let windows = (0..4).flat_map(|meter| (0..6).map(move |window| (meter, window)));
    let lines = windows.map(|(meter, window)| {
        let watts = (window * 60..(window + 1) * 60).map(|n| reading(meter, n).watts);
        let (low, high) = (watts.clone().min().unwrap(), watts.max().unwrap());
        format!("1970-01-01T00:{window}0:00Z meter {meter}: {} W", high - low)
    });
    lines.collect::<BTreeSet<_>>().into_iter().collect()
}

/// A meter is high for five minutes at a time: thirty readings.
fn alarms() -> Vec<String> {
    let stretches = (0..4).flat_map(|meter| (0..12).map(move |stretch| (meter, stretch)));
    let high = stretches.filter(|(meter, stretch)| reading(*meter, stretch * 30).watts > 700);
    let lines = high.map(|(meter, stretch)| {
        let since = reading(meter, stretch * 30).at;
        format!("{since} meter {meter} is high")
    });
    lines.collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn the_job_runs_to_its_end_and_its_output_is_complete() {
    for (nth, args) in ["--threads 1", "--threads 3", "--workers 3"].iter().enumerate() {
        let place = place(&format!("job-{nth}"));
        let args: Vec<_> = ["run", "job.yaml"].into_iter().chain(args.split(' ')).collect();
        let output = run(&place, &args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let last = "metering finished: 1440 records in, 33 out (alarms 9, spreads 24), 0 late";
        assert!(said.contains(last), "{said}");
        assert_eq!(lines(&place.join("out/spreads")), spreads());
        assert_eq!(lines(&place.join("out/alarms")), alarms());
        assert_eq!((spreads().len(), alarms().len()), (24, 9));

        let before = lines(&place.join("out/spreads"));
        let again = run(&place, &["run", "job.yaml"]);
        assert!(String::from_utf8(again.stderr).unwrap().contains("had finished before"));
        assert_eq!(lines(&place.join("out/spreads")), before);
    }
}

#[test]
fn a_missing_argument_is_named() {
    let place = place("missing");
    let job = fs::read_to_string(place.join("job.yaml")).unwrap();
    fs::write(place.join("job.yaml"), job.replace("{out: out}", "{}")).unwrap();
    let output = run(&place, &["run", "job.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        said,
        "error: metering: the program needs the argument out: set spec.program.args.out\n"
    );
}
