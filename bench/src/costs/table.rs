//! Prints the second table, as text or as JSON.
//!
//! Receives [`Costs`] from [`super::runner`]. Invariant: the value is the median of the rounds, and
//! the verdict is that of the value.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::Figures;
use super::line::Line;
use super::runner::Costs;
use crate::verdict::{Verdict, layout, median};

const HEADER: [&str; 8] =
    ["what", "value", "worst", "unit", "floor", "target", "verdict", "beside it"];

/// The table as text.
pub fn text(costs: &Costs) -> String {
    let mut lines = vec![HEADER.map(str::to_owned).to_vec()];
    lines.extend(costs.lines.iter().map(|line| fields(line, costs)));
    let mut text = layout(&lines, HEADER.len() - 1);
    for (case, trouble) in &costs.troubles {
        let _ = writeln!(text, "{case}: {trouble}");
    }
    text
}

fn fields(line: &Line, costs: &Costs) -> Vec<String> {
    let rounds = &costs.rounds;
    vec![
        line.title.to_owned(),
        figure(line.median(rounds)),
        figure(line.worst(rounds)),
        line.unit.to_owned(),
        figure(line.gate.map(|gate| gate.floor)),
        figure(line.gate.map(|gate| gate.target)),
        line.verdict(rounds).name().to_owned(),
        beside(line, costs),
    ]
}

fn beside(line: &Line, costs: &Costs) -> String {
    let beside = line.beside.iter().map(|(name, value)| {
        let value = median(costs.rounds.iter().filter_map(|round| value.of(round)));
        format!("{name} {}", figure(value))
    });
    beside.collect::<Vec<_>>().join(", ")
}

/// Three digits that count.
fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 1.0 => format!("{value:.2}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// A line with all that was measured for it.
#[derive(Debug, Serialize)]
pub struct Full {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    value: Option<f64>,
    worst: Option<f64>,
    floor: Option<f64>,
    target: Option<f64>,
    verdict: Verdict,
    /// The figures of its cases, by case and round.
    cases: BTreeMap<&'static str, Vec<Figures>>,
    troubles: BTreeMap<&'static str, String>,
}

/// Everything, every run included, for JSON.
pub fn full(costs: &Costs) -> Vec<Full> {
    costs.lines.iter().map(|line| full_line(line, costs)).collect()
}

fn full_line(line: &Line, costs: &Costs) -> Full {
    let cases = line.cases();
    let by_round = |case| {
        let figures = costs.rounds.iter().filter_map(|round| round.get(&case));
        (case.name(), figures.cloned().collect())
    };
    let troubles = cases
        .iter()
        .filter_map(|case| costs.troubles.get(case).map(|trouble| (case.name(), trouble.clone())));
    Full {
        name: line.name,
        title: line.title,
        unit: line.unit,
        value: line.median(&costs.rounds),
        worst: line.worst(&costs.rounds),
        floor: line.gate.map(|gate| gate.floor),
        target: line.gate.map(|gate| gate.target),
        verdict: line.verdict(&costs.rounds),
        cases: cases.iter().copied().map(by_round).collect(),
        troubles: troubles.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{LINES, Round};
    use super::super::{Case, Size};
    use super::*;

    fn costs() -> Costs {
        let figures = |rate| Figures::from([("rate".to_owned(), rate)]);
        let round = |small, large| {
            Round::from([(Case::Records10m, figures(small)), (Case::Records100m, figures(large))])
        };
        let lines = LINES.iter().filter(|line| ["growth", "barrier-max"].contains(&line.name));
        Costs {
            lines: lines.copied().collect(),
            rounds: vec![round(50.0, 45.0), round(40.0, 44.0), round(50.0, 50.0)],
            troubles: [(Case::Sum1m, "no room".to_owned())].into(),
        }
    }

    #[test]
    fn the_text_lines_up_and_says_what_failed() {
        let expected = "\
what                                   value  worst  unit  floor  target  verdict  beside it
work at a barrier, 1 M keys, longest       -      -    ms   1.00   0.050        -
rate of 100 M records by that of 10 M   1.00  0.900     x  0.850   0.850   target  M/s 45.0
sum-1m: no room
";
        assert_eq!(text(&costs()), expected);
    }

    #[test]
    fn json_holds_every_round() {
        let full = serde_json::to_value(full(&costs())).unwrap();
        assert_eq!(full[1]["cases"]["records-10m"][1]["rate"], 40.0);
        assert_eq!(full[1]["verdict"], "target");
        assert_eq!(full[0]["troubles"]["sum-1m"], "no room");
        assert_eq!(Size::Tiny.name(), "tiny");
    }
}
