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
    let strict: Result<serde_yaml::Value, _> = serde_yaml::from_str(text);
    strict.and_then(|_| serde_yaml::from_str(text)).map_err(|error| error.to_string())
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
}
