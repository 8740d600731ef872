//! Records in error messages.

use serde::Serialize;

/// Characters of a record that a message shows: enough to know it, and a line stays a line.
const SHOWN_CHARS_MAX: usize = 200;

/// A record as JSON, cut where it is long.
#[cold]
pub(super) fn show(record: &impl Serialize) -> String {
    let Ok(json) = serde_json::to_string(record) else {
        return "(a record that cannot be shown as JSON)".into();
    };
    match json.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &json[..end]),
        None => json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_records_are_cut_between_characters() {
        assert_eq!(show(&("a", 1)), "[\"a\",1]");
        let long = show(&"ü".repeat(500));
        assert_eq!(long.chars().count(), 203);
        assert!(long.ends_with("ü..."));
    }
}
