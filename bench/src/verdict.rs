//! How a figure stands against what is asked of it, and how tables are laid out.
//!
//! Used by both tables, [`crate::table`] and [`crate::costs::table`].

use std::fmt::Write;

use serde::Serialize;

/// How a figure stands against its gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// At the target or better.
    Target,
    /// At the floor or better.
    Floor,
    /// Worse than the floor.
    Below,
    /// What it needs did not run, or nothing is asked of it.
    Open,
}

impl Verdict {
    /// As the tables show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Floor => "floor",
            Self::Below => "BELOW",
            Self::Open => "-",
        }
    }
}

/// The median; the mean of the middle two where their number is even.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// Pads the columns: the first and those from `left_from` on to the left, the others to the right.
pub(crate) fn layout(lines: &[Vec<String>], left_from: usize) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (column, (field, width)) in line.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let _ = if column == 0 || column >= left_from {
                write!(row, "{gap}{field:<width$}")
            } else {
                write!(row, "{gap}{field:>width$}")
            };
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_few() {
        assert_eq!(median([].into_iter()), None);
        assert_eq!(median([3.0, 1.0].into_iter()), Some(2.0));
        assert_eq!(median([9.0, 1.0, 2.0].into_iter()), Some(2.0));
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let lines = [["a", "100", "x"], ["long", "1", "note"]];
        let lines = lines.map(|line| line.map(str::to_owned).to_vec());
        assert_eq!(layout(&lines, 2), "a     100  x\nlong    1  note\n");
    }
}
