//! [`Output`]: what the job has committed, and how it differs from what it should have.
//!
//! Invariant: only files that a reader would see count; what waits below `.pending` does not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::program::SINKS;
use crate::story::Failed;

/// How many lines of a difference are shown, of each kind.
const SHOWN: usize = 5;

/// The lines of each sink's files, sorted.
pub(crate) struct Output(BTreeMap<&'static str, Vec<String>>);

impl Output {
    /// Reads all that is committed below a directory.
    pub(crate) fn read(directory: &Path) -> Result<Self, Failed> {
        let mut sinks = BTreeMap::new();
        for sink in SINKS {
            let mut lines = Vec::new();
            let folder = directory.join("out").join(sink);
            for entry in fs::read_dir(&folder).map_err(|error| at(&folder, &error))? {
                let path = entry?.path();
                if path.is_file() {
                    let text = fs::read_to_string(&path).map_err(|error| at(&path, &error))?;
                    lines.extend(text.lines().map(str::to_owned));
                }
            }
            lines.sort_unstable();
            sinks.insert(sink, lines);
        }
        Ok(Self(sinks))
    }

    /// How many lines a sink has written.
    pub(crate) fn lines(&self, sink: &str) -> usize {
        self.0.get(sink).map_or(0, Vec::len)
    }

    /// What this output lacks and what it has too much, if it is not the expected one.
    pub(crate) fn check(&self, expected: &Self) -> Result<(), Failed> {
        let mut text = String::new();
        for (sink, expected) in &expected.0 {
            let have = &self.0[sink];
            if have != expected {
                let (missing, extra) = (minus(expected, have), minus(have, expected));
                let counts = (missing.len(), extra.len());
                let _ = writeln!(text, "{sink}: {} lines missing, {} too many", counts.0, counts.1);
                let missing = missing.iter().take(SHOWN).map(|line| format!("  - {line}\n"));
                let extra = extra.iter().take(SHOWN).map(|line| format!("  + {line}\n"));
                text.extend(missing.chain(extra));
            }
        }
        if text.is_empty() { Ok(()) } else { Err(Failed(text)) }
    }
}

fn at(path: &Path, error: &std::io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}

/// The lines of one sorted list that another lacks, a line as often as it is there too often.
fn minus<'a>(lines: &'a [String], others: &[String]) -> Vec<&'a str> {
    let mut others = others.iter().peekable();
    let mut left = Vec::new();
    for line in lines {
        while others.next_if(|other| *other < line).is_some() {}
        if others.next_if_eq(&line).is_none() {
            left.push(line.as_str());
        }
    }
    left
}
