//! Sizes: functions, files, lines, and what git is asked to keep.
//!
//! Receives files from [`super::check`], returns what is too long. The numbers are those of
//! CONTRIBUTING.md. Tests count in the width and in the functions, not in the length of a file.

use super::tree::File;
use super::{Finding, Tree};

/// From the line of `fn` to its closing brace: what a screen shows at once.
const FUNCTION_LINES_MAX: usize = 70;
/// Without tests.
const FILE_LINES_MAX: usize = 400;
/// In characters; rustfmt holds the code to it, but leaves comments and strings alone.
const WIDTH_MAX: usize = 100;
/// 1 MiB: fixtures stay small, data sets are fetched.
const TRACKED_BYTES_MAX: usize = 1024 * 1024;

/// Files that may be longer: path, lines, and why a split would make it worse. An entry that is no
/// longer needed is reported.
const LONGER_FILES: [(&str, usize, &str); 0] = [];

/// What is larger than the numbers above.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = unneeded(tree, &LONGER_FILES);
    for file in &tree.files {
        if file.bytes > TRACKED_BYTES_MAX {
            findings.push(Finding::new(
                &file.path,
                0,
                format!("{} bytes, {TRACKED_BYTES_MAX} at most: fetch or generate it", file.bytes),
            ));
        }
        findings.extend(file_length(file, &LONGER_FILES));
        findings.extend(function_lengths(file));
        findings.extend(widths(file));
    }
    findings
}

fn lines_without_tests(file: &File) -> Option<usize> {
    Some(file.rust.as_ref()?.lines.iter().filter(|line| !line.test).count())
}

fn file_length(file: &File, longer: &[(&str, usize, &str)]) -> Option<Finding> {
    let lines = lines_without_tests(file)?;
    let allowed = longer.iter().find(|(path, ..)| *path == file.path);
    let max = allowed.map_or(FILE_LINES_MAX, |(_, max, _)| *max);
    let message = format!("{lines} lines without tests, {max} at most: split it by what it does");
    (lines > max).then(|| Finding::new(&file.path, 0, message))
}

fn unneeded(tree: &Tree, longer: &[(&str, usize, &str)]) -> Vec<Finding> {
    let needed = |path: &str| {
        tree.file(path).and_then(lines_without_tests).is_some_and(|lines| lines > FILE_LINES_MAX)
    };
    longer
        .iter()
        .filter(|(path, ..)| !needed(path))
        .map(|(path, ..)| Finding::new(path, 0, "need not be in LONGER_FILES: take it out"))
        .collect()
}

fn function_lengths(file: &File) -> Vec<Finding> {
    let functions = file.rust.as_ref().map(super::source::Source::functions).unwrap_or_default();
    functions
        .into_iter()
        .map(|function| (function.last + 1 - function.first, function))
        .filter(|(lines, _)| *lines > FUNCTION_LINES_MAX)
        .map(|(lines, function)| {
            let name = function.name;
            let message = format!("`{name}` has {lines} lines, {FUNCTION_LINES_MAX} at most");
            Finding::new(&file.path, function.first, message)
        })
        .collect()
}

fn widths(file: &File) -> Vec<Finding> {
    let Some(text) = file.text.as_deref().filter(|_| file.is("rs") || file.is("sh")) else {
        return Vec::new();
    };
    text.lines()
        .enumerate()
        // An address cannot be broken.
        .filter(|(_, line)| line.chars().count() > WIDTH_MAX && !line.contains("://"))
        .map(|(i, line)| {
            let message = format!("{} columns, {WIDTH_MAX} at most", line.chars().count());
            Finding::new(&file.path, i + 1, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<(usize, String)> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|f| (f.line, f.message)).collect()
    }

    #[test]
    fn a_function_may_have_seventy_lines() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2));
        assert_eq!(found("a.rs", &function(70)), []);
        assert_eq!(found("a.rs", &function(71)), [(1, "`a` has 71 lines, 70 at most".to_owned())]);
    }

    #[test]
    fn tests_do_not_count_in_the_length_of_a_file() {
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    use a;\n".repeat(300));
        assert_eq!(found("a.rs", &("use a;\n".repeat(400) + &tests)), []);
        let long = found("a.rs", &("use a;\n".repeat(401) + &tests));
        assert!(long.len() == 1 && long[0].1.starts_with("401 lines"), "{long:?}");
    }

    #[test]
    fn a_longer_file_is_let_through_up_to_its_own_limit() {
        let tree = Tree::of(&[("a.rs", &"use a;\n".repeat(450))]);
        let with = |max| file_length(&tree.files[0], &[("a.rs", max, "a table")]);
        assert!(with(450).is_none() && with(449).is_some());
        assert_eq!(unneeded(&tree, &[("a.rs", 450, "a table")]), []);
        assert_eq!(unneeded(&tree, &[("b.rs", 450, "is gone")]).len(), 1);
    }

    #[test]
    fn width_is_counted_in_characters() {
        assert_eq!(found("a.rs", &"ä".repeat(100)), []);
        assert_eq!(found("a.rs", &"ä".repeat(101)), [(1, "101 columns, 100 at most".to_owned())]);
        assert_eq!(found("a.rs", &format!("// https://{}", "a".repeat(100))), []);
        assert_eq!(found("a.md", &"a".repeat(101)), []);
    }

    #[test]
    fn a_tracked_file_has_a_mebibyte_at_most() {
        assert_eq!(found("a.bin", &"a".repeat(TRACKED_BYTES_MAX)), []);
        assert_eq!(found("a.bin", &"a".repeat(TRACKED_BYTES_MAX + 1)).len(), 1);
    }
}
