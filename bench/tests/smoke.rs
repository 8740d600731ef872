//! Every run of the benchmark, small: it ends, loses nothing and reports what the tables read.
//!
//! Starts `millstream-bench` as the runner does. Nothing here looks at how fast it was.

use std::process::Command;

use millstream_bench::costs::line::LINES;
use millstream_bench::costs::{Case, Figures, Size};
use millstream_bench_stream::{Outcome, Workload};

fn run(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream-bench"));
    let output = command.args(args).output().expect("the program that cargo built starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it prints text")
}

fn case(case: Case) -> Figures {
    let line = run(&["case", case.name(), Size::Tiny.name()]);
    serde_json::from_str(&line).expect("a case prints one line of JSON")
}

#[test]
fn every_case_reports_what_its_lines_read() {
    let round = Case::ALL.map(|c| (c, case(c))).into();
    for line in LINES {
        let value = line.value.of(&round);
        assert!(value.is_some_and(|v| v.is_finite() && v > 0.0), "{}: {value:?}", line.name);
        for (what, value) in line.beside {
            let value = value.of(&round);
            assert!(value.is_some_and(|v| v.is_finite() && v >= 0.0), "{} {what}", line.name);
        }
    }
}

#[test]
fn ours_agrees_with_the_hand_loop_with_and_without_snapshots() {
    let child = |contender: &str, workload: Workload, more: &[&str]| -> Outcome {
        let args = ["child", contender, workload.name(), "200000"];
        serde_json::from_str(&run(&[&args[..], more].concat())).unwrap()
    };
    for workload in [Workload::Sum, Workload::Tumbling, Workload::Hop] {
        let hand = child("hand", workload, &[]);
        for more in [&[][..], &["--snapshots"]] {
            let ours = child("ours", workload, more);
            assert_eq!((ours.records_out, &ours.checksum), (hand.records_out, &hand.checksum));
            assert!(ours.seconds > 0.0);
        }
    }
}

#[test]
fn ours_in_two_processes_agrees_with_the_hand_loop_in_two_and_in_one() {
    let child = |contender: &str, workload: Workload| -> Outcome {
        serde_json::from_str(&run(&["child", contender, workload.name(), "200000"])).unwrap()
    };
    let one = child("hand", Workload::Shuffle);
    for contender in ["hand", "ours"] {
        let two = child(contender, Workload::ShuffleGrpc);
        assert_eq!((two.records_out, &two.checksum), (one.records_out, &one.checksum));
        assert!(two.seconds > 0.0, "{contender}");
    }
}

#[test]
fn a_quick_run_of_one_row_and_one_line_prints_both_tables_and_writes_both() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("all.json");
    let json_arg = json.to_str().unwrap();
    let choice = ["--contender", "ours", "--workload", "q8", "--cost", "snapshot-by-state"];
    let args = [&["run", "--quick", "--rounds", "1", "--json", json_arg][..], &choice].concat();
    let printed = run(&args);
    assert!(
        printed.contains("Nexmark q8") && printed.contains("10 k changed of 1 M keys"),
        "{printed}"
    );
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(written["rows"][0]["workload"], "q8");
    assert_eq!(written["costs"][0]["name"], "snapshot-by-state");
}
