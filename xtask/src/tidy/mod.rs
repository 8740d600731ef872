//! Tidy: the house rules that rustc and clippy cannot see.
//!
//! Receives the repository as a [`Tree`], hands each rule the files it is about, and returns what
//! they found. A rule is a file here and a line in [`check`]; it reads no disk, so its tests are
//! text.

mod arrows;
mod features;
mod header;
mod leftovers;
mod links;
mod manifest;
mod size;
mod source;
mod source_mask;
mod tree;

use std::fmt;

pub use tree::Tree;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Relative to the root, with forward slashes.
    pub path: String,
    /// Counted from 1; 0 where it is about the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(f, "{}: {}", self.path, self.message)
        } else {
            write!(f, "{}:{}: {}", self.path, self.line, self.message)
        }
    }
}

/// Every rule over every file, in the order of path and line.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(size::check(tree));
    findings.extend(header::check(tree));
    findings.extend(arrows::check(tree));
    findings.extend(leftovers::check(tree));
    findings.extend(links::check(tree));
    findings.extend(features::check(tree));
    findings.sort();
    findings
}
