//! Arrows: which crate, and which module, may name which.
//!
//! Receives manifests and sources from [`super::check`], returns every arrow that is not drawn
//! here. The two tables are the map in ARCHITECTURE.md, as data: a new crate or arrow is a line in
//! them.

use super::manifest::{Dependency, Manifest};
use super::source::{Source, is_word};
use super::tree::File;
use super::{Finding, Tree};

/// What a crate may be built on.
struct Crate {
    folder: &'static str,
    /// Crates of this project.
    may_use: &'static [&'static str],
    /// Crates of others that would bring in what it must stay free of.
    never: &'static [&'static str],
}

/// For tests, and for the benchmark, which nobody ships.
const TESTKIT: &str = "millstream-testkit";

const CLIENTS: &[&str] = &["kube", "k8s-openapi", "tonic", "rdkafka", "rocksdb", "hyper"];
const CLIENTS_AND_RUNTIME: &[&str] =
    &["kube", "k8s-openapi", "tonic", "rdkafka", "rocksdb", "hyper", "tokio", "rand", "jiff"];

/// Optional dependencies (behind a feature, such as the stubs for gRPC) and those of tests alone
/// are free of `never`.
const CRATES: [Crate; 12] = [
    Crate { folder: "protocol", may_use: &[], never: CLIENTS_AND_RUNTIME },
    Crate { folder: "transport", may_use: &[TESTKIT], never: &["kube", "k8s-openapi", "rdkafka"] },
    Crate {
        folder: "coordinator",
        may_use: &["millstream-protocol", "millstream-transport"],
        never: CLIENTS,
    },
    Crate { folder: "s3", may_use: &["millstream-protocol"], never: CLIENTS },
    Crate {
        folder: "dataflow",
        may_use: &["millstream-protocol", "millstream-s3", TESTKIT],
        never: CLIENTS,
    },
    Crate {
        folder: "worker",
        may_use: &[
            "millstream-protocol",
            "millstream-transport",
            "millstream-coordinator",
            "millstream-s3",
            "millstream-dataflow",
            TESTKIT,
        ],
        never: &["kube", "k8s-openapi"],
    },
    Crate {
        folder: "operator",
        may_use: &["millstream-protocol", "millstream-transport", "millstream-coordinator"],
        never: &["rdkafka", "rocksdb"],
    },
    Crate {
        folder: "bench",
        may_use: &[
            "millstream-bench-stream",
            "millstream-protocol",
            TESTKIT,
            "millstream-dataflow",
            "millstream-worker",
        ],
        never: &[],
    },
    // What every contender shares: it knows no engine.
    Crate { folder: "bench/stream", may_use: &[], never: CLIENTS },
    // Stories drive the product from outside; what they compare with, they may read.
    Crate {
        folder: "e2e",
        may_use: &["millstream-protocol", "millstream-operator", "millstream-worker"],
        never: &[],
    },
    // Starts others' servers: it knows nothing of ours.
    Crate { folder: "testkit", may_use: &[], never: &["kube", "k8s-openapi", "rdkafka"] },
    Crate { folder: "xtask", may_use: &["millstream-operator"], never: &[] },
];

/// What an example may use: the one crate that users depend on, and real parts for its tests.
const EXAMPLE: Crate =
    Crate { folder: "examples", may_use: &["millstream-worker", TESTKIT], never: &[] };

/// Crates below this folder measure against others and have a workspace of their own.
const PEERS: &str = "bench/peers/";

/// Modules that never name others, tests aside: where they are, what they must not name, and why.
struct Module {
    start: &'static str,
    never: &'static [&'static str],
    why: &'static str,
}

const NO_OPERATORS: &[&str] =
    &["crate::operator", "crate::window", "crate::join", "crate::connector"];
const NO_EFFECTS: &[&str] =
    &["std::fs", "std::net", "std::env", "std::process", "std::thread", "tokio", "rand", "tracing"];
const NO_SETTINGS: &[&str] = &["std::env::var", "std::env::args", "env::var", "env::args"];

const MODULES: [Module; 21] = [
    Module {
        start: "dataflow/src/exchange",
        never: NO_OPERATORS,
        why: "a new operator must not touch the exchange",
    },
    Module {
        start: "dataflow/src/snapshot",
        never: NO_OPERATORS,
        why: "a new operator must not touch snapshots",
    },
    Module {
        start: "dataflow/src/task",
        never: &["crate::window", "crate::join", "crate::connector"],
        why: "a new window, join or connector must not touch the run loop",
    },
    Module { start: "protocol/src/", never: NO_EFFECTS, why: "the protocol is data" },
    Module { start: "dataflow/src/plan", never: NO_EFFECTS, why: "plans are pure" },
    Module { start: "dataflow/src/time", never: NO_EFFECTS, why: "time is pure" },
    Module { start: "coordinator/src/machine", never: NO_EFFECTS, why: "the machine is pure" },
    Module { start: "coordinator/src/state/", never: NO_EFFECTS, why: "the machine is pure" },
    Module {
        start: "coordinator/src/resolve",
        never: NO_EFFECTS,
        why: "a restore is decided purely",
    },
    Module {
        start: "coordinator/src/retain",
        never: NO_EFFECTS,
        why: "retention is decided purely",
    },
    Module { start: "operator/src/reconcile/validate", never: NO_EFFECTS, why: "the step is pure" },
    Module { start: "operator/src/reconcile/decide", never: NO_EFFECTS, why: "the step is pure" },
    Module { start: "operator/src/reconcile/build", never: NO_EFFECTS, why: "the step is pure" },
    Module { start: "operator/src/reconcile/removal", never: NO_EFFECTS, why: "the step is pure" },
    Module { start: "operator/src/reconcile/status", never: NO_EFFECTS, why: "the step is pure" },
    Module {
        start: "operator/src/reconcile/pod_template",
        never: NO_EFFECTS,
        why: "templates are merged purely",
    },
    Module { start: "operator/src/crd", never: NO_EFFECTS, why: "definitions are data" },
    Module {
        start: "coordinator/src/",
        never: NO_SETTINGS,
        why: "a process reads its own settings",
    },
    Module {
        start: "dataflow/src/",
        never: NO_SETTINGS,
        why: "worker/src/config.rs reads settings",
    },
    Module { start: "dataflow/src/", never: &["tonic", "kube"], why: "the engine knows no client" },
    Module { start: "operator/src/reconcile/", never: NO_SETTINGS, why: "main reads settings" },
];

/// Arrows that are not in the tables.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
        if !file.path.starts_with(PEERS) {
            findings.extend(of_crate(file));
        }
    }
    for (file, source) in tree.rust() {
        for module in MODULES.iter().filter(|module| file.path.starts_with(module.start)) {
            findings.extend(of_module(file, source, module));
        }
    }
    findings
}

fn of_crate(file: &File) -> Vec<Finding> {
    let folder = file.path.trim_end_matches("/Cargo.toml");
    let rules = if folder.starts_with("examples/") {
        &EXAMPLE
    } else if let Some(rules) = CRATES.iter().find(|rules| rules.folder == folder) {
        rules
    } else {
        let message = "a new crate: draw its arrows in xtask/src/tidy/arrows.rs";
        return vec![Finding::new(&file.path, 0, message)];
    };
    let manifest = Manifest::parse(file.text.as_deref().unwrap_or_default());
    manifest
        .dependencies
        .iter()
        .filter_map(|dependency| {
            let message = forbidden(rules, dependency)?;
            Some(Finding::new(&file.path, dependency.line, message))
        })
        .collect()
}

fn forbidden(rules: &Crate, dependency: &Dependency) -> Option<String> {
    let (folder, name) = (rules.folder, dependency.name.as_str());
    if name == TESTKIT && !dependency.dev && folder != "bench" {
        return Some(format!("{name} is for tests: move it to dev-dependencies"));
    }
    if name.starts_with("millstream-") {
        let drawn = rules.may_use.contains(&name);
        return (!drawn).then(|| format!("{folder} may not use {name}: arrows.rs draws no arrow"));
    }
    let kept_out = rules.never.contains(&name) && !dependency.optional && !dependency.dev;
    kept_out.then(|| format!("{folder} never links {name}: put it behind a feature, or a level up"))
}

fn of_module(file: &File, source: &Source, module: &Module) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, path) in named_paths(source) {
        for never in module.never.iter().filter(|never| begins_with(&path, never)) {
            let message = format!("names `{never}`: {}", module.why);
            findings.push(Finding::new(&file.path, line, message));
        }
    }
    findings
}

/// Whether `path` is `start` or goes on from it with `::`.
fn begins_with(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Every path with a `::` that the code outside tests names, with its line; the groups of a `use`
/// spelled out.
fn named_paths(source: &Source) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    // The prefixes of the groups around, and the path being read.
    let mut groups: Vec<String> = Vec::new();
    let mut path = String::new();
    for (number, line) in source.numbered().filter(|(_, line)| !line.test) {
        let code = format!("{}\n", line.code);
        let mut rest = code.as_str();
        while let Some(c) = rest.chars().next() {
            let length = match c {
                c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                // A path may be broken after its `::`.
                c if c.is_whitespace() && path.ends_with("::") => {
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                _ => 0,
            };
            if length > 0 {
                path.push_str(&rest[..length]);
                rest = &rest[length..];
                continue;
            }
            let opens_group = c == '{' && path.ends_with("::");
            let full = groups.last().cloned().unwrap_or_default() + &path;
            if !path.is_empty() && !opens_group && full.contains("::") {
                paths.push((number, full.clone()));
            }
            match c {
                '{' => groups.push(if opens_group { full } else { String::new() }),
                '}' => drop(groups.pop()),
                _ => {}
            }
            path.clear();
            rest = &rest[c.len_utf8()..];
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|f| (f.line, f.message)).collect()
    }

    #[test]
    fn crates_use_what_is_drawn() {
        let text = "[dependencies]\nmillstream-protocol.workspace = true\nserde = \"1\"\n";
        assert_eq!(found("dataflow/Cargo.toml", text), []);
        assert_eq!(found("examples/own-crate/Cargo.toml", text).len(), 1);
        let text = "[dependencies]\nmillstream-dataflow = { path = \"../dataflow\" }\n";
        let message = "operator may not use millstream-dataflow: arrows.rs draws no arrow";
        assert_eq!(found("operator/Cargo.toml", text), [(2, message.to_owned())]);
        assert_eq!(found("other/Cargo.toml", "").len(), 1);
        let testkit = "millstream-testkit.workspace = true\n";
        let linked = |section: &str| found("worker/Cargo.toml", &format!("{section}\n{testkit}"));
        assert_eq!(linked("[dependencies]").len(), 1);
        assert_eq!(linked("[dev-dependencies]"), []);
    }

    #[test]
    fn clients_stay_out_unless_a_feature_or_a_test_asks() {
        let with = |line: &str| found("protocol/Cargo.toml", line).len();
        assert_eq!(with("[dependencies]\ntokio.workspace = true\n"), 1);
        assert_eq!(with("[dependencies]\ntonic = { version = \"1\", optional = true }\n"), 0);
        assert_eq!(with("[dev-dependencies]\ntokio.workspace = true\n"), 0);
    }

    #[test]
    fn modules_do_not_name_what_lies_above_them() {
        let lines = |path: &str, text: &str| -> Vec<usize> {
            found(path, text).into_iter().map(|(line, _)| line).collect()
        };
        let exchange = "dataflow/src/exchange/frame.rs";
        assert_eq!(lines(exchange, "use crate::operator::Map;\n"), [1]);
        assert_eq!(
            lines(exchange, "use crate::{\n    time::Time,\n    window::{A, B},\n};\n"),
            [3, 3]
        );
        assert_eq!(lines(exchange, "fn a() { crate::join::b() }\n"), [1]);
        assert_eq!(lines(exchange, "use crate::operators;\n// crate::operator::Map\n"), [0; 0]);
        assert_eq!(
            lines(exchange, "#[cfg(test)]\nmod tests {\n    use crate::operator;\n}\n"),
            [0; 0]
        );
        assert_eq!(lines("dataflow/src/window/a.rs", "use crate::operator::Map;\n"), [0; 0]);
    }

    #[test]
    fn pure_modules_have_no_effects() {
        let path = "coordinator/src/machine.rs";
        assert_eq!(found(path, "use std::{fmt, fs::File};\n").len(), 1);
        assert_eq!(found(path, "tokio::spawn(a);\n").len(), 1);
        assert_eq!(found(path, "use std::collections::BTreeMap;\n"), []);
        assert_eq!(found("coordinator/src/driver.rs", "use std::fs;\ntokio::spawn(a);\n"), []);
    }

    #[test]
    fn paths_are_spelled_out_of_groups() {
        let source =
            Source::parse("a.rs", "use a::{b::{c, d}, e};\nif x { f::g() }\nh::\n    i();\n");
        let paths: Vec<String> = named_paths(&source).into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["a::b::c", "a::b::d", "a::e", "f::g", "h::i"]);
        let source = Source::parse("a.rs", "if a::B == c { rand } else { d::E { f } }\n");
        let paths: Vec<String> = named_paths(&source).into_iter().map(|(_, path)| path).collect();
        assert_eq!(paths, ["a::B", "d::E"]);
    }
}
