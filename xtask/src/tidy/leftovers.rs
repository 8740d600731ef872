//! Leftovers: what was meant to be gone before anyone else reads it.
//!
//! Receives every text file from [`super::check`], returns unfinished code, notes to oneself, tests
//! that do not run, output from libraries, and paths of somebody's own machine.

use super::links::without_code;
use super::source::{Line, Source, find_word, is_word};
use super::tree::File;
use super::{Finding, Tree};

/// Macros that say "not now"; anywhere, tests included.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
/// Notes to oneself. In pieces, since this file is read too.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Folders that exist on one machine.
const FOREIGN_ROOTS: [&str; 4] = ["home", "work", "root", "Users"];
/// A library logs through `tracing`; its caller owns the terminal.
const PRINTS: [&str; 4] = ["println!", "eprintln!", "print!", "eprint!"];
/// The crates whose `src/` is library code.
const LIBRARIES: [&str; 5] = ["protocol", "coordinator", "dataflow", "worker", "operator"];
/// Where a library crate owns the terminal: the path it begins with, and why.
const MAY_PRINT: [(&str, &str); 5] = [
    ("worker/src/main.rs", "the stock binary's entry"),
    ("worker/src/cli", "the command line's output"),
    ("worker/src/bin/", "binaries"),
    ("operator/src/main.rs", "the operator's entry"),
    ("dataflow/src/connector/print", "the sink that prints records, by the user's wish"),
];

/// What should not be there.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        // The licence and the lock file are not ours to word.
        let Some(text) = file.text.as_deref().filter(|_| !is_given(&file.path)) else { continue };
        findings.extend(foreign_paths(file, text));
        match &file.rust {
            Some(source) => findings.extend(in_rust(file, source)),
            None => findings.extend(notes_in_text(file, text)),
        }
    }
    findings
}

fn is_given(path: &str) -> bool {
    path == "LICENSE" || path.ends_with("Cargo.lock")
}

fn in_rust(file: &File, source: &Source) -> Vec<Finding> {
    let is_library =
        LIBRARIES.iter().any(|folder| file.path.starts_with(&format!("{folder}/src/")))
            && !MAY_PRINT.iter().any(|(start, _)| file.path.starts_with(start));
    let mut findings = Vec::new();
    for (number, line) in source.numbered() {
        let mut found = |message: String| findings.push(Finding::new(&file.path, number, message));
        for name in UNFINISHED.iter().filter(|name| calls(line, name)) {
            found(format!("`{name}` is left over: finish it"));
        }
        if let Some(note) = NOTES.iter().find(|note| find_word(&line.comment, note).is_some()) {
            found(format!("{note} is left over: do it, or file an issue"));
        }
        if line.code.contains("#[ignore") {
            found("an ignored test proves nothing: run it, or take it out".to_owned());
        }
        let prints = PRINTS.iter().find(|name| is_library && !line.test && calls(line, name));
        if let Some(name) = prints {
            found(format!("`{name}` in a library: use `tracing`, or return the text"));
        }
    }
    findings
}

fn calls(line: &Line, name: &str) -> bool {
    line.code.match_indices(name).any(|(at, _)| !line.code[..at].ends_with(is_word))
}

fn notes_in_text(file: &File, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = if file.is("md") { without_code(line) } else { line.to_owned() };
        for note in NOTES.iter().filter(|note| find_word(&line, note).is_some()) {
            let message = format!("{note} is left over: do it, or file an issue");
            findings.push(Finding::new(&file.path, i + 1, message));
        }
    }
    findings
}

fn foreign_paths(file: &File, text: &str) -> Vec<Finding> {
    let roots = FOREIGN_ROOTS.map(|root| format!("/{root}/"));
    let mut findings = Vec::new();
    for (i, line) in text.lines().enumerate() {
        for root in roots.iter().filter(|root| names_path(line, root)) {
            let message = format!("a path under {root} exists on one machine only");
            findings.push(Finding::new(&file.path, i + 1, message));
        }
    }
    findings
}

/// Whether a path in the line begins with `root`; in `docs/root/x` it does not.
fn names_path(line: &str, root: &str) -> bool {
    let continues = |c: char| is_word(c) || "./-~$}*".contains(c);
    line.match_indices(root).any(|(at, _)| !line[..at].ends_with(continues))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn unfinished_code_is_found_wherever_it_runs() {
        assert_eq!(found("a.rs", "fn a() {\n    todo!()\n}\n"), [2]);
        assert_eq!(found("a.rs", "#[cfg(test)]\nmod t {\n    fn a() { dbg!(1); }\n}\n"), [3]);
        assert_eq!(found("a.rs", "// todo!() in prose\nlet a = \"todo!\"; my_todo!();\n"), [0; 0]);
    }

    #[test]
    fn notes_are_found_in_comments_and_pages() {
        for note in NOTES {
            assert_eq!(found("a.rs", &format!("let a = 1; // {note}: b\n")), [1]);
            assert_eq!(found("a.rs", &format!("let a = \"{note}\";\n")), [0; 0]);
            assert_eq!(found("a.md", &format!("a\n{note} b\n")), [2]);
            assert_eq!(found("a.md", &format!("a `{note}` b{note}\n")), [0; 0]);
        }
        assert_eq!(found("a.sh", &format!("mktemp a.{}\n", "X".repeat(6))), [0; 0]);
    }

    #[test]
    fn tests_are_not_ignored() {
        assert_eq!(found("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}\n"), [2]);
        assert_eq!(found("a.rs", "// #[ignore]\n"), [0; 0]);
    }

    #[test]
    fn libraries_do_not_print() {
        let text = "fn a() {\n    println!(\"\");\n}\n";
        assert_eq!(found("dataflow/src/a.rs", text), [2]);
        assert_eq!(found("dataflow/src/a/tests.rs", text), [0; 0]);
        assert_eq!(found("worker/src/cli/table.rs", text), [0; 0]);
        assert_eq!(found("bench/src/a.rs", text), [0; 0]);
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        for root in FOREIGN_ROOTS {
            assert_eq!(found("a.sh", &format!("cd /{root}/a\n")), [1]);
            assert_eq!(found("a.rs", &format!("let a = \"/{root}/a\";\n")), [1]);
            assert_eq!(
                found("a.md", &format!("see docs/{root}/a and https://a.b/{root}/\n")),
                [0; 0]
            );
        }
    }
}
