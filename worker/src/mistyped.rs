//! What to say of a job that cannot be read: the field, what stands there, what to write instead.
//!
//! Received from: [`crate::config`], when serde refuses a value. Handed to: the user. Pure.
//! Invariant: no message is longer than a person reads, whatever file was given as a job.

use millstream_protocol::field::{FIELDS, to_write};
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// The longest message, in characters: a screenful. A mistake that says more is in the wrong file.
const MESSAGE_MAX: usize = 1000;
/// How much of a value is shown, in characters: most of a line.
const VALUE_MAX: usize = 60;

/// What serde says of values that are not what a field takes. What else it says names the remedy
/// itself.
const MISTYPED: [&str; 4] = ["invalid type", "invalid value", "invalid length", "unknown variant"];

/// Says why a value is no job: serde met this error at this path of it.
pub(crate) fn explain(job: &Value, path: &Path, error: &serde_json::Error) -> String {
    let (at, error) = (dotted(path), error.to_string());
    let behind = if at.is_empty() { String::new() } else { format!("{at}.") };
    let missing = error.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    if let Some((name, _)) = missing {
        let field = format!("{behind}{name}");
        let what = to_write(&field).unwrap_or_else(|| "it".to_owned());
        return format!("{field}: is missing: write {what}");
    }
    let is_mistyped = MISTYPED.iter().any(|said| error.starts_with(said));
    match (found(job, path).filter(|_| is_mistyped), to_write(&at)) {
        (Some(value), Some(what)) if at.is_empty() => {
            format!("is {}, and not a StreamJob: write {what}", shown(value))
        }
        (Some(value), Some(what)) => format!("{at}: is {}: write {what}", shown(value)),
        _ if at.is_empty() => shortened(error),
        _ => shortened(format!("{at}: {error}")),
    }
}

/// Refuses lists where fields belong: serde would read them as the fields in their order.
pub(crate) fn no_lists(job: &Value) -> Result<(), String> {
    let is_list = |path: &str| {
        let mut names = path.split('.').filter(|name| !name.is_empty());
        names.try_fold(job, |value, name| value.get(name)).is_some_and(Value::is_array)
    };
    let above = |path: &'static str| path.match_indices('.').map(|(dot, _)| &path[..dot]);
    let mut with_fields = std::iter::once("").chain(FIELDS.iter().flat_map(|it| above(it.path)));
    let Some(path) = with_fields.find(|path| is_list(path)) else { return Ok(()) };
    let what = to_write(path).unwrap_or_else(|| "fields".to_owned());
    Err(match path {
        "" => format!("is a list, and not a StreamJob: write {what}"),
        path => format!("{path}: is a list: write {what}"),
    })
}

/// A message cut to what a person reads.
pub(crate) fn shortened(message: String) -> String {
    cut(message, MESSAGE_MAX)
}

fn cut(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text,
    }
}

/// The path as in `spec.workers`; empty for the whole.
fn dotted(path: &Path) -> String {
    if path.iter().next().is_none() { String::new() } else { path.to_string() }
}

fn found<'a>(job: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(job, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        value => cut(value.to_string(), VALUE_MAX),
    }
}
