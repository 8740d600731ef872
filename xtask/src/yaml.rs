//! The one place that writes YAML.
//!
//! Received from: [`crate::generate`]. `serde_yaml` is not maintained any more: whatever takes its
//! place, takes it here.

use anyhow::Result;

/// A value as a YAML document. Keys are in order, so that a change is a small diff.
pub fn write(value: &serde_json::Value) -> Result<String> {
    Ok(serde_yaml::to_string(value)?)
}
