//! [`nearest`]: which name was meant, where one was misspelled.

/// The name that takes the fewest edits to become this one, if they are few enough for a slip.
pub fn nearest<'a>(name: &str, among: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let edits_max = (name.chars().count() + 1) / 3;
    let near = among.map(|other| (edits(name, other), other));
    near.filter(|(edits, _)| *edits <= edits_max).min().map(|(_, other)| other)
}

/// How many letters must be put in, taken out or changed to make one word of the other, in any
/// case (Levenshtein).
fn edits(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (column, wanted) in other.iter().enumerate() {
            let changed = before + usize::from(letter != *wanted);
            before = row[column + 1];
            row[column + 1] = changed.min(before + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_mended_and_another_word_is_not() {
        let near = |name| nearest(name, ["interval", "retain", "bird-strikes"].into_iter());
        assert_eq!(near("intervall"), Some("interval"));
        assert_eq!(near("Retian"), Some("retain"));
        assert_eq!(near("bird_strikes"), Some("bird-strikes"));
        assert_eq!(near("timeout"), None);
    }

    #[test]
    fn edits_are_counted() {
        let cases = [("", "abc", 3), ("kitten", "sitting", 3), ("Same", "same", 0), ("ab", "", 2)];
        for (one, other, count) in cases {
            assert_eq!(edits(one, other), count, "{one} {other}");
            assert_eq!(edits(other, one), count, "{other} {one}");
        }
    }
}
