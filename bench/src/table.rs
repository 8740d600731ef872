//! Prints the rows: a line per workload with medians, ratios and the gate; as text or as JSON.
//!
//! Receives [`Row`]s from the runner. Invariant: a ratio is one of this run, and the reference is
//! the hand loop unless timely beats it.

use std::fmt::Write;

use serde::Serialize;

use crate::registry::{HAND, OURS, TIMELY};
use crate::runner::Row;

/// How a row stands against its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// At the target or above.
    Target,
    /// At the floor or above.
    Floor,
    /// Below the floor.
    Below,
    /// Ours or the reference did not run, or the workload has no gate.
    Open,
}

/// The contender that ours is measured against in this row: the hand loop, void where timely beats
/// it.
pub fn reference(row: &Row) -> Option<&'static str> {
    let rate = |name| row.cell(name)?.rate();
    match (rate(HAND), rate(TIMELY)) {
        (Some(hand), Some(timely)) if timely > hand => Some(TIMELY),
        (Some(_), _) => Some(HAND),
        (None, Some(_)) => Some(TIMELY),
        (None, None) => None,
    }
}

/// How the row stands.
pub fn verdict(row: &Row) -> Verdict {
    let ratio = reference(row).and_then(|to| row.ratio(OURS, to));
    match (ratio, row.workload.gate()) {
        (Some(ratio), Some((_, target))) if ratio >= target => Verdict::Target,
        (Some(ratio), Some((floor, _))) if ratio >= floor => Verdict::Floor,
        (Some(_), Some(_)) => Verdict::Below,
        _ => Verdict::Open,
    }
}

/// The table as text: million records per second, then ours by each other contender.
pub fn text(rows: &[Row]) -> String {
    let names = names(rows);
    let others: Vec<&str> = names.iter().copied().filter(|&n| n != OURS).collect();
    let mut lines = vec![header(&names, &others)];
    lines.extend(rows.iter().map(|row| line(row, &names, &others)));
    let mut text = layout(&lines);
    for row in rows {
        for cell in &row.cells {
            if let Some(trouble) = &cell.trouble {
                let _ = writeln!(text, "{} {}: {trouble}", row.workload, cell.contender);
            }
        }
    }
    text
}

/// Everything, every run included, as JSON.
pub fn json(rows: &[Row]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Full<'a> {
        #[serde(flatten)]
        row: &'a Row,
        reference: Option<&'static str>,
        ratio: Option<f64>,
        verdict: Verdict,
    }
    let full: Vec<Full> = rows
        .iter()
        .map(|row| {
            let reference = reference(row);
            let ratio = reference.and_then(|to| row.ratio(OURS, to));
            Full { row, reference, ratio, verdict: verdict(row) }
        })
        .collect();
    serde_json::to_string_pretty(&full)
}

/// The contenders that ran anything, in the registry's order.
fn names(rows: &[Row]) -> Vec<&'static str> {
    let all = rows.first().map_or(&[][..], |row| &row.cells);
    let ran = |name: &str| {
        rows.iter().filter_map(|row| row.cell(name)).any(|cell| !cell.outcomes.is_empty())
    };
    all.iter().map(|cell| cell.contender).filter(|name| ran(name)).collect()
}

fn header(names: &[&str], others: &[&str]) -> Vec<String> {
    let mut header = vec!["workload".to_owned()];
    header.extend(names.iter().map(|&name| name.to_owned()));
    if names.contains(&OURS) {
        header.extend(others.iter().map(|name| format!("/{name}")));
        header.extend(["floor", "target", "verdict"].map(str::to_owned));
    }
    header
}

fn line(row: &Row, names: &[&str], others: &[&str]) -> Vec<String> {
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let mut line = vec![row.workload.title().to_owned()];
    line.extend(names.iter().map(|&name| {
        let rate = row.cell(name).and_then(crate::runner::Cell::rate);
        figure(rate, if rate.is_some_and(|rate| rate < 10.0) { 2 } else { 1 })
    }));
    if names.contains(&OURS) {
        let reference = reference(row);
        line.extend(others.iter().map(|&name| {
            let mark = if reference == Some(name) { "*" } else { "" };
            figure(row.ratio(OURS, name), 2) + mark
        }));
        let gate = row.workload.gate();
        line.push(figure(gate.map(|g| g.0), 1));
        line.push(figure(gate.map(|g| g.1), 1));
        line.push(
            match verdict(row) {
                Verdict::Target => "target",
                Verdict::Floor => "floor",
                Verdict::Below => "BELOW",
                Verdict::Open => "-",
            }
            .to_owned(),
        );
    }
    line
}

/// Pads the columns: the first to the left, the others to the right.
fn layout(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        for (column, (field, width)) in line.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{field:<width$}"),
                _ => write!(text, "  {field:>width$}"),
            };
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use millstream_bench_stream::{Outcome, Stopwatch, Tally, Workload};

    use super::*;
    use crate::runner::Cell;

    fn row(rates: &[(&'static str, f64)]) -> Row {
        let cells = rates.iter().map(|&(contender, rate)| {
            let outcome = Stopwatch::start().stop(Workload::Sum, 1_000_000, Tally::default());
            let outcomes = vec![Outcome { seconds: 1.0 / rate, ..outcome }];
            Cell { contender, outcomes, trouble: None }
        });
        Row { workload: Workload::Sum, cells: cells.collect() }
    }

    #[test]
    fn timely_is_the_reference_where_it_beats_the_hand_loop() {
        assert_eq!(reference(&row(&[(HAND, 10.0), (TIMELY, 8.0)])), Some(HAND));
        assert_eq!(reference(&row(&[(HAND, 10.0), (TIMELY, 12.0)])), Some(TIMELY));
        assert_eq!(reference(&row(&[("renoir", 12.0)])), None);
    }

    #[test]
    fn a_verdict_follows_floor_and_target() {
        assert_eq!(verdict(&row(&[(OURS, 10.5), (HAND, 10.0)])), Verdict::Target);
        assert_eq!(verdict(&row(&[(OURS, 7.0), (HAND, 10.0)])), Verdict::Floor);
        assert_eq!(verdict(&row(&[(OURS, 5.0), (HAND, 10.0)])), Verdict::Below);
        assert_eq!(verdict(&row(&[(OURS, 7.0), (HAND, 10.0), (TIMELY, 14.0)])), Verdict::Below);
        assert_eq!(verdict(&row(&[(HAND, 10.0)])), Verdict::Open);
    }

    #[test]
    fn the_text_lines_up() {
        let text = text(&[row(&[(OURS, 90.0), (HAND, 100.0), (TIMELY, 80.0)])]);
        let expected = "\
workload                       ours   hand  timely  /hand  /timely  floor  target  verdict
keyed running sum, 100 k keys  90.0  100.0    80.0  0.90*     1.12    0.6     1.0    floor
";
        assert_eq!(text, expected);
    }
}
