//! The one place that reads YAML.

use serde_json::Value;

/// The largest text that is read, in bytes. Kubernetes takes no larger object.
const BYTES_MAX: usize = 1 << 20;
/// How many brackets may be open at once. What the parser does for each token grows with them.
const OPEN_MAX: i32 = 100;

/// Reads YAML text as a JSON value. A byte order mark in front, as some editors leave, is passed
/// over.
///
/// # Errors
/// Where it is not YAML, with line and column; where a mapping has a key twice; where it is larger,
/// or nested deeper, than any job.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    bounded(text)?;
    // A JSON value would silently keep the last of two equal keys; this one refuses them.
    let strict: serde_yaml::Value =
        serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    if let Some((place, tag)) = tagged(&strict) {
        let at = if place.is_empty() { String::new() } else { format!("{place}: ") };
        return Err(format!("{at}has the tag {tag}: leave it out, a job has no tags"));
    }
    serde_yaml::from_str(text).map_err(|error| error.to_string())
}

/// The first value with a tag: where it is, and its tag.
fn tagged(value: &serde_yaml::Value) -> Option<(String, String)> {
    use serde_yaml::Value;
    let below = |name: String, value: &Value| {
        let (place, tag) = tagged(value)?;
        let dot = if place.is_empty() { "" } else { "." };
        Some((format!("{name}{dot}{place}"), tag))
    };
    match value {
        Value::Tagged(tagged) => Some((String::new(), tagged.tag.to_string())),
        Value::Sequence(values) => {
            values.iter().enumerate().find_map(|(at, value)| below(at.to_string(), value))
        }
        Value::Mapping(fields) => fields
            .iter()
            .find_map(|(name, value)| below(name.as_str().unwrap_or("?").to_owned(), value)),
        _ => None,
    }
}

fn bounded(text: &str) -> Result<(), String> {
    if text.len() > BYTES_MAX {
        return Err(format!(
            "has {} bytes, and a job at most {BYTES_MAX}: is it the right file?",
            text.len()
        ));
    }
    let mut open = 0;
    for (line, text) in (1..).zip(text.lines()) {
        for byte in text.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = (open - 1).max(0),
                _ => {}
            }
        }
        if open > OPEN_MAX {
            return Err(format!(
                "line {line}: more than {OPEN_MAX} brackets are open: close some, or indent instead"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_or_deeper_than_a_job_is_not_parsed() {
        for (text, said) in [
            ("[".repeat(1_000_000), "line 1: more than 100 brackets are open"),
            (format!("a:\n  {}", "{b: ".repeat(200_000)), "line 2: more than 100"),
            ("x".repeat(1_100_000), "has 1100000 bytes"),
            ("- ".repeat(500_000), "recursion"),
            (format!("a: {}", "? ".repeat(500_000)), ""),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(parse(&format!("{}{}", "[".repeat(50), "]".repeat(50))).is_ok());
    }

    #[test]
    fn a_tag_is_named_with_its_place() {
        let error = parse("kind: a\nspec: {args: [x, !secret y]}").unwrap_err();
        assert_eq!(error, "spec.args.1: has the tag !secret: leave it out, a job has no tags");
        let error = parse("!job {kind: a}").unwrap_err();
        assert_eq!(error, "has the tag !job: leave it out, a job has no tags");
        assert!(parse("a: !!str 1").is_ok(), "a tag of YAML's own says what it is");
    }
}
