//! Headers: every Rust file opens by saying what it is.
//!
//! Receives the Rust files from [`super::check`], returns those whose first line is not a `//!`.

use super::{Finding, Tree};

/// A word or two is a placeholder, not a description.
const HEADER_WORDS_MIN: usize = 4;

/// The files without a header.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, source) in tree.rust() {
        let first = source.lines.iter().find(|line| !line.raw.trim().is_empty());
        let header = first.and_then(|line| line.raw.strip_prefix("//!"));
        if header.is_none_or(|header| header.split_whitespace().count() < HEADER_WORDS_MIN) {
            let message = "open with `//!`: what it is, from whom it receives, to whom it hands";
            findings.push(Finding::new(&file.path, 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_first_and_says_something() {
        let lines = |text: &str| check(&Tree::of(&[("a.rs", text)])).len();
        assert_eq!(lines("//! The plan of a job.\nuse a;\n"), 0);
        assert_eq!(lines("\n//! The plan of a job.\n"), 0);
        assert_eq!(lines("use a;\n//! The plan of a job.\n"), 1);
        assert_eq!(lines("/// The plan of a job.\nuse a;\n"), 1);
        assert_eq!(lines("//! stub\n"), 1);
        assert_eq!(lines(""), 1);
    }
}
