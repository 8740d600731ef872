//! Prints the rows: a line per workload with medians, ratios and the gate; as text or as JSON.
//!
//! Receives [`Row`]s from the runner. Invariant: a ratio is one of this run, and the reference is
//! the hand loop unless timely beats it.

use std::fmt::Write;

use millstream_bench_stream::workload::{Bound, Gate, To};
use serde::Serialize;

use crate::registry::{GENERATOR, HAND, OURS, RENOIR, TIMELY};
use crate::runner::Row;
use crate::verdict::{Verdict, layout};

/// The contender that ours is measured against in this row: the hand loop, void where timely beats
/// it, round by round.
pub fn reference(row: &Row) -> Option<&'static str> {
    let ran = |name| row.cell(name).is_some_and(|cell| !cell.outcomes.is_empty());
    match (ran(HAND), ran(TIMELY)) {
        (true, true) if row.ratio(TIMELY, HAND).is_some_and(|ratio| ratio > 1.0) => Some(TIMELY),
        (true, _) => Some(HAND),
        (false, true) => Some(TIMELY),
        (false, false) => None,
    }
}

fn ratio_to(row: &Row, to: To) -> Option<f64> {
    let to = match to {
        To::Reference => reference(row)?,
        To::Renoir => RENOIR,
        To::Generator => GENERATOR,
    };
    row.ratio(OURS, to)
}

/// How the row stands. The target counts first: where ours and the peer that the floor is taken
/// from are both bound by the generator, who of them is ahead says nothing.
pub fn verdict(row: &Row) -> Verdict {
    let Gate { floor, target } = row.workload.gate();
    let (to_floor, to_target) = (ratio_to(row, floor.to), ratio_to(row, target.to));
    if to_target.is_some_and(|ratio| ratio >= target.ratio) {
        Verdict::Target
    } else if to_floor.is_some_and(|ratio| ratio < floor.ratio) {
        Verdict::Below
    } else if to_floor.is_some() {
        Verdict::Floor
    } else {
        Verdict::Open
    }
}

/// The table as text: million records per second, then ours by each other contender.
pub fn text(rows: &[Row]) -> String {
    let names = names(rows);
    let others: Vec<&str> = names.iter().copied().filter(|&n| n != OURS).collect();
    let mut lines = vec![header(&names, &others)];
    lines.extend(rows.iter().map(|row| line(row, &names, &others)));
    let columns = lines[0].len();
    let mut text = layout(&lines, columns);
    for row in rows {
        for cell in &row.cells {
            if let Some(trouble) = &cell.trouble {
                let _ = writeln!(text, "{} {}: {trouble}", row.workload, cell.contender);
            }
        }
    }
    text
}

/// A row with its verdict.
#[derive(Debug, Serialize)]
pub struct Full<'a> {
    #[serde(flatten)]
    row: &'a Row,
    reference: Option<&'static str>,
    ratio: Option<f64>,
    verdict: Verdict,
}

/// Everything, every run included, for JSON.
pub fn full(rows: &[Row]) -> Vec<Full<'_>> {
    let full = |row| {
        let ratio = ratio_to(row, row.workload.gate().floor.to);
        Full { row, reference: reference(row), ratio, verdict: verdict(row) }
    };
    rows.iter().map(full).collect()
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
        line.extend([bound(gate.floor), bound(gate.target), verdict(row).name().to_owned()]);
    }
    line
}

/// A bound, with whom it is a ratio to where that is not the reference.
fn bound(bound: Bound) -> String {
    let to = match bound.to {
        To::Reference => return format!("{:?}", bound.ratio),
        To::Renoir => RENOIR,
        To::Generator => GENERATOR,
    };
    format!("{:.1}/{to}", bound.ratio)
}

#[cfg(test)]
mod tests {
    use millstream_bench_stream::{Outcome, Stopwatch, Tally, Workload};

    use super::*;
    use crate::runner::Cell;

    fn row(rates: &[(&'static str, f64)]) -> Row {
        row_of(Workload::Sum, rates)
    }

    fn row_of(workload: Workload, rates: &[(&'static str, f64)]) -> Row {
        let cells = rates.iter().map(|&(contender, rate)| {
            let outcome = Stopwatch::start().stop(workload, 1_000_000, Tally::default());
            let outcomes = vec![Outcome { seconds: 1.0 / rate, ..outcome }];
            Cell { contender, outcomes, trouble: None }
        });
        Row { workload, cells: cells.collect() }
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
    fn timely_beats_the_hand_loop_where_it_does_so_in_most_rounds() {
        // The machine was three times as fast in the second round; in the third something held
        // timely up. By the medians of the rates the hand loop would be ahead, 20 to 11.
        let mut row = row(&[(HAND, 1.0), (TIMELY, 1.0)]);
        for (cell, rates) in row.cells.iter_mut().zip([[10.0, 30.0, 20.0], [11.0, 33.0, 5.0]]) {
            let first = cell.outcomes[0].clone();
            let of = |rate: f64| Outcome { seconds: 1.0 / rate, ..first.clone() };
            cell.outcomes = rates.map(of).to_vec();
        }
        assert_eq!(reference(&row), Some(TIMELY));
    }

    #[test]
    fn nexmark_has_to_beat_renoir_and_to_come_near_the_generator() {
        let of = |ours, renoir, generator| {
            let rates = [(OURS, ours), (RENOIR, renoir), (GENERATOR, generator)];
            verdict(&row_of(Workload::Q5, &rates))
        };
        assert_eq!(of(3.0, 4.0, 5.0), Verdict::Below);
        assert_eq!(of(4.2, 4.0, 5.0), Verdict::Floor);
        assert_eq!(of(4.6, 4.0, 5.0), Verdict::Target);
        assert_eq!(of(4.6, 4.7, 5.0), Verdict::Target);
        let without_renoir = row_of(Workload::Q5, &[(OURS, 4.6), (GENERATOR, 5.0)]);
        assert_eq!(verdict(&without_renoir), Verdict::Target);
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
