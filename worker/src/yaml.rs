//! The one place that reads YAML.

use serde_json::Value;

/// Reads YAML text as a JSON value. A byte order mark in front, as some editors leave, is passed
/// over.
///
/// # Errors
/// Where it is not YAML, with line and column.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    serde_yaml::from_str(text.strip_prefix('\u{feff}').unwrap_or(text))
        .map_err(|error| error.to_string())
}
