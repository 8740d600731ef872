//! The one place that reads YAML.

use serde_json::Value;

/// Reads YAML text as a JSON value. A byte order mark in front, as some editors leave, is passed
/// over.
///
/// # Errors
/// Where it is not YAML, with line and column; where a mapping has a key twice.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // A JSON value would silently keep the last of two equal keys; this one refuses them.
    let strict: Result<serde_yaml::Value, _> = serde_yaml::from_str(text);
    strict.and_then(|_| serde_yaml::from_str(text)).map_err(|error| error.to_string())
}
