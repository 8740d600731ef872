//! The README's program and job are those that run, and all other Rust code in pages is compiled.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use millstream_protocol::field::FIELDS;
use millstream_protocol::job::StreamJob;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The first block of this language in the README.
fn block(language: &str) -> String {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_program_in_the_readme_is_the_one_that_runs() {
    let path = root().join("worker/src/program/bird_strikes.rs");
    let file = fs::read_to_string(path).unwrap();
    let (_, rest) = file.split_once("// begin: the program that the README shows\n").unwrap();
    assert_eq!(block("rust"), rest.split_once("// end").unwrap().0);
}

#[test]
fn the_job_in_the_readme_is_the_one_that_runs_and_counts_right() {
    let job = root().join("examples/quickstart/job.yaml");
    assert_eq!(block("yaml"), fs::read_to_string(&job).unwrap());
    // By its own settings, by other threads, and by processes.
    for args in [&[][..], &["--threads", "3"], &["--workers", "3"]] {
        run_and_count(&job, args);
    }
}

fn run_and_count(job: &Path, args: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    let rows = "Flight Date,Origin State,Cost Total $\n\
                1990-01-08,Ohio,100\n1990-01-09,Iowa,7\n1990-01-10,Ohio,20\n1990-06-01,Ohio,3\n";
    fs::write(folder.path().join("data/birdstrikes.csv"), rows).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_millstream-worker"))
        .arg("run")
        .arg(job)
        .args(args)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let mut lines: Vec<String> = Vec::new();
    for file in fs::read_dir(folder.path().join("out")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            lines.extend(fs::read_to_string(path).unwrap().lines().map(str::to_owned));
        }
    }
    lines.sort();
    let values: Vec<_> = lines.iter().map(|line| line.rsplit(':').next().unwrap()).collect();
    assert_eq!(values, ["[1,7]}", "[2,120]}", "[1,3]}"], "with {args:?}");
}

/// A job's value at a path; none where it is not there.
fn at<'a>(job: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    path.split('.').try_fold(job, |value, name| value.get(name))
}

#[test]
fn every_field_of_a_job_has_its_row_with_its_default() {
    let page = fs::read_to_string(root().join("docs/reference/streamjob.md")).unwrap();
    let rows: Vec<Vec<_>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let job = serde_json::to_value(StreamJob::default()).unwrap();
    for field in FIELDS {
        let mut row = rows.iter().filter(|row| row[0] == format!("`{}`", field.path));
        let (Some(row), None) = (row.next(), row.next()) else {
            panic!(
                "docs/reference/streamjob.md needs one row that begins with | `{}` |: \
                 cargo xtask generate",
                field.path
            )
        };
        assert_eq!(row.len(), 6, "{row:?}");
        let default = at(&job, field.path).map(|value| value.to_string().replace('"', ""));
        if let Some(default) = default.filter(|default| !default.is_empty()) {
            assert_eq!(row[2], format!("`{default}`"), "the default of {}", field.path);
        }
    }
    assert_eq!(rows.len(), FIELDS.len(), "a row of the page is of no field");
}

#[test]
fn the_job_on_its_page_is_one() {
    let page = fs::read_to_string(root().join("docs/reference/streamjob.md")).unwrap();
    let (_, rest) = page.split_once("```yaml\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("job.yaml");
    let job = rest
        .split_once("```")
        .unwrap()
        .0
        .replace("name: averages\n    args", "name: counter\n    args");
    fs::write(&path, job.replace("input: readings", "keys: \"5\"")).unwrap();
    let worker = env!("CARGO_BIN_EXE_millstream-worker");
    let described = Command::new(worker).arg("describe").arg(&path).output().unwrap();
    assert!(described.status.success(), "{}", String::from_utf8_lossy(&described.stderr));
}

/// All text of the Rust files below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

#[test]
fn every_test_that_the_page_on_guarantees_names_is_there() {
    let page = fs::read_to_string(root().join("docs/reference/guarantees.md")).unwrap();
    let tests = sources(&root().join("worker/tests")) + &sources(&root().join("dataflow/tests"));
    let named: Vec<_> = page.split('`').skip(1).step_by(2).collect();
    for folder in named.iter().filter(|name| name.contains("/tests/")) {
        assert!(root().join(folder).exists(), "{folder}");
    }
    let mut functions = named.iter().filter(|name| name.matches('_').count() > 2).peekable();
    assert!(functions.peek().is_some());
    for name in functions {
        let story = format!("\"{name}\"");
        let is_there = tests.contains(&format!("fn {name}(")) || tests.contains(&story);
        assert!(is_there, "the page names the test {name}, which is not there");
    }
}

/// The pages below a folder, by their paths from the root.
fn pages(folder: &str, into: &mut Vec<String>) {
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let (entry, folder) = (entry.unwrap(), folder.trim_start_matches('.'));
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{folder}/{name}").trim_start_matches('/').to_owned();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            pages(&path, into);
        } else if entry.path().extension().is_some_and(|ending| ending == "md") {
            into.push(path);
        }
    }
}

#[test]
fn rust_code_in_every_other_page_is_compiled() {
    let mut all = Vec::new();
    pages(".", &mut all);
    let has_code = |page: &String| {
        let text = fs::read_to_string(root().join(page)).unwrap();
        text.lines().any(|line| line.trim_start().starts_with("```rust"))
    };
    let (with_code, compiled) =
        (all.iter().filter(|page| has_code(page)), include_str!("../src/docs.rs"));
    for page in with_code.filter(|page| *page != "README.md") {
        let named = format!("include_str!(\"../../{page}\")");
        assert!(compiled.contains(&named), "{page} has Rust code: name it in worker/src/docs.rs");
    }
}
