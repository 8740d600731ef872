//! Runs the cases that the asked lines need, each in a fresh child process, interleaved.
//!
//! Receives [`Line`]s, hands [`Costs`] to [`super::table`]. Invariant: a case that failed once is
//! not run again, and no line that needs it has a value.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::Context;

use super::line::{Line, Round};
use super::{Case, Figures, Size};
use crate::runner::{THIS_PROGRAM, json_line};

/// What came of it.
#[derive(Debug)]
pub struct Costs {
    /// The lines asked for.
    pub lines: Vec<Line>,
    /// What the cases have measured, by round.
    pub rounds: Vec<Round>,
    /// Why a case has no figures.
    pub troubles: BTreeMap<Case, String>,
}

/// Runs everything, and tells `progress` what goes on.
pub fn run(lines: &[Line], size: Size, rounds: usize, mut progress: impl FnMut(&str)) -> Costs {
    let cases: BTreeSet<Case> = lines.iter().flat_map(Line::cases).collect();
    let mut costs = Costs { lines: lines.to_vec(), rounds: Vec::new(), troubles: BTreeMap::new() };
    for _ in 0..rounds {
        let mut round = Round::new();
        for &case in &cases {
            if costs.troubles.contains_key(&case) {
                continue;
            }
            match child(case, size) {
                Ok(figures) => {
                    progress(&format!("{case:<14} {}", spelled(&figures)));
                    round.insert(case, figures);
                }
                Err(error) => {
                    progress(&format!("{case:<14} failed: {error:#}"));
                    costs.troubles.insert(case, format!("{error:#}"));
                }
            }
        }
        costs.rounds.push(round);
    }
    for round in &mut costs.rounds {
        round.retain(|case, _| !costs.troubles.contains_key(case));
    }
    costs
}

/// One run in a child process.
fn child(case: Case, size: Size) -> anyhow::Result<Figures> {
    let mut command = Command::new(THIS_PROGRAM);
    command.args(["case", case.name(), size.name()]);
    let line = json_line(command)?;
    serde_json::from_str(&line).with_context(|| format!("read its result '{line}'"))
}

fn spelled(figures: &Figures) -> String {
    let figures = figures.iter().map(|(name, value)| format!("{name} {value:.3}"));
    figures.collect::<Vec<_>>().join(", ")
}
