//! The cells of a row: what a field is, in words, as far as its schema tells.
//!
//! Received from: [`super`]. Pure.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSON, JSONSchemaProps};

/// What introduces the default in a field's documentation, where the schema has none.
const DEFAULT: &str = "Default: ";

/// The type, with its bounds.
pub(super) fn kind(schema: &JSONSchemaProps) -> String {
    let rules = schema.x_kubernetes_validations.iter().flatten();
    let is_duration = rules.into_iter().any(|rule| rule.rule.contains("duration(self)"));
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "quantity".to_owned();
    }
    if let Some(words) = &schema.enum_ {
        let words: Vec<_> = words.iter().map(|JSON(word)| format!("`{}`", text(word))).collect();
        return words.join(", ");
    }
    match schema.type_.as_deref() {
        Some("integer") => format!("number{}", bounds(schema)),
        Some("boolean") => "`true`, `false`".to_owned(),
        Some("array") => "list".to_owned(),
        Some("string") if schema.format.as_deref() == Some("date-time") => "time".to_owned(),
        Some("string") if is_duration => "duration".to_owned(),
        Some("object") if schema.additional_properties.is_some() => "text by name".to_owned(),
        Some("object") => "mapping".to_owned(),
        _ => "text".to_owned(),
    }
}

fn bounds(schema: &JSONSchemaProps) -> String {
    match (schema.minimum, schema.maximum) {
        (Some(least), Some(most)) if most < f64::from(i32::MAX) => format!(", {least} to {most}"),
        (Some(least), _) if least > 0.0 => format!(", at least {least}"),
        _ => String::new(),
    }
}

/// The default: of the schema, or as the documentation has it.
pub(super) fn default(schema: &JSONSchemaProps, required: bool) -> String {
    if required {
        return "must be there".to_owned();
    }
    match (&schema.default, sentence(schema)) {
        (Some(JSON(value)), _) if value.as_object().is_some_and(serde_json::Map::is_empty) => {
            "none".to_owned()
        }
        (Some(JSON(value)), _) => format!("`{}`", text(value)),
        (None, Some(said)) => said.trim_end_matches('.').to_owned(),
        (None, None) => "none".to_owned(),
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The documentation, without its default.
pub(super) fn said(schema: &JSONSchemaProps) -> String {
    let said = schema.description.as_deref().unwrap_or_default();
    let said = sentence(schema).map_or_else(
        || said.to_owned(),
        |default| said.replace(&format!("{DEFAULT}{default}"), ""),
    );
    said.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The sentence about the default, up to the next one.
fn sentence(schema: &JSONSchemaProps) -> Option<String> {
    let (_, rest) = schema.description.as_deref()?.split_once(DEFAULT)?;
    let end = rest.find(". ").map_or(rest.len(), |at| at + 1);
    Some(rest[..end].to_owned())
}
