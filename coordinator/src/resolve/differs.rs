//! Where two schemas of a state differ, in words: of a large type, a user needs the fields alone.
//!
//! Received from: [`super`], of a state that does not fit. Handed to: its message. Pure. Invariant:
//! nothing is decided here; what cannot be read is shown whole by the caller.

use std::collections::BTreeSet;

use millstream_protocol::plan::StateSchema;
use serde_json::{Map, Value};

/// Two types whose texts are no longer than this, together, are shown whole: about two lines.
const WHOLE_MAX: usize = 160;
/// So many differences are told.
const TOLD_MAX: usize = 3;

/// The parts in which two large types of one kind differ; none where they are small, or where it is
/// not seen how they differ.
pub(super) fn between(old: &StateSchema, new: &StateSchema) -> Option<String> {
    if old.kind != new.kind || old.schema.len() + new.schema.len() <= WHOLE_MAX {
        return None;
    }
    let (old, new) = (Schema::read(&old.schema)?, Schema::read(&new.schema)?);
    let mut seen = Differences { old: &old, new: &new, told: Vec::new(), met: BTreeSet::new() };
    seen.compare("", &old.root, &new.root);
    let more = seen.told.len().saturating_sub(TOLD_MAX);
    seen.told.truncate(TOLD_MAX);
    let told = seen.told.join(", ");
    match (seen.told.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(told),
        (false, more) => Some(format!("{told}, and {more} more")),
    }
}

/// A type: `<format>`, or `<format> where {<name>: <fields or variants>}`.
struct Schema {
    root: Value,
    types: Map<String, Value>,
}

impl Schema {
    fn read(text: &str) -> Option<Self> {
        let (root, types) = text.split_once(" where ").unwrap_or((text, "{}"));
        Some(Self {
            root: serde_json::from_str(root).ok()?,
            types: serde_json::from_str(types).ok()?,
        })
    }
}

struct Differences<'a> {
    old: &'a Schema,
    new: &'a Schema,
    told: Vec<String>,
    /// Named types that were compared: a type may hold itself.
    met: BTreeSet<&'a str>,
}

impl<'a> Differences<'a> {
    fn tell(&mut self, path: &str, what: &str) {
        let path = path.trim_start_matches('.');
        self.told.push(if path.is_empty() { what.to_owned() } else { format!("{path} {what}") });
    }

    fn compare(&mut self, path: &str, old: &'a Value, new: &'a Value) {
        match (single(old), single(new)) {
            (Some(("TYPENAME", Value::String(a))), Some(("TYPENAME", Value::String(b))))
                if a == b =>
            {
                let types = (self.old.types.get(a), self.new.types.get(a));
                if let (true, (Some(was), Some(is))) = (self.met.insert(a), types) {
                    self.compare(path, was, is);
                }
            }
            (Some((a, was)), Some((b, is))) if a == b => match (was, is) {
                (Value::Array(was), Value::Array(is)) if a == "STRUCT" => {
                    self.fields(path, (fields(was), fields(is)));
                }
                (Value::Object(was), Value::Object(is)) if a == "ENUM" => {
                    self.fields(path, (fields(was.values()), fields(is.values())));
                }
                (Value::Array(was), Value::Array(is)) if was.len() == is.len() => {
                    for (at, (was, is)) in was.iter().zip(is).enumerate() {
                        self.compare(&format!("{path}.{at}"), was, is);
                    }
                }
                _ => self.compare(path, was, is),
            },
            _ if old == new => {}
            _ => self.tell(path, &format!("was {old} and is {new}")),
        }
    }

    /// Fields of a struct, or variants of an enum, in their order, which counts.
    fn fields(&mut self, path: &str, (old, new): (Vec<Field<'a>>, Vec<Field<'a>>)) {
        let before = self.told.len();
        for (name, was) in &old {
            match new.iter().find(|(other, _)| other == name) {
                Some((_, is)) => self.compare(&format!("{path}.{name}"), was, is),
                None => self.tell(&format!("{path}.{name}"), "is gone"),
            }
        }
        for (name, _) in new.iter().filter(|(name, _)| !old.iter().any(|(other, _)| other == name))
        {
            self.tell(&format!("{path}.{name}"), "is new");
        }
        let names =
            |fields: &[Field<'a>]| -> Vec<_> { fields.iter().map(|(name, _)| *name).collect() };
        if self.told.len() == before && names(&old) != names(&new) {
            let order = names(&new).join(", ");
            self.tell(path, &format!("has its fields in another order: {order}"));
        }
    }
}

type Field<'a> = (&'a str, &'a Value);

/// The one entry of `{<name>: <value>}`.
fn single(value: &Value) -> Option<Field<'_>> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().map(|(name, value)| (name.as_str(), value))
}

fn fields<'a>(all: impl IntoIterator<Item = &'a Value>) -> Vec<Field<'a>> {
    all.into_iter().filter_map(single).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differ(old: &str, new: &str) -> Option<String> {
        let filler = r#""Filler":{"STRUCT":[{"a_rather_long_name_of_a_field":"U64"},{"b":"STR"}]}"#;
        let state = |text: &str| StateSchema {
            name: "s".to_owned(),
            kind: "value".to_owned(),
            schema: format!(r#"{{"TUPLE":["U64",{{"TYPENAME":"R"}}]}} where {{{text},{filler}}}"#),
        };
        between(&state(old), &state(new))
    }

    #[test]
    fn of_a_large_type_only_what_differs_is_told() {
        let old =
            r#""R":{"STRUCT":[{"a":"U32"},{"b":"STR"},{"next":{"OPTION":{"TYPENAME":"R"}}}]}"#;
        let wider = old.replace("U32", "U64");
        assert_eq!(differ(old, &wider).unwrap(), "1.a was \"U32\" and is \"U64\"");
        let renamed = old.replace("\"b\"", "\"c\"");
        assert_eq!(differ(old, &renamed).unwrap(), "1.b is gone, 1.c is new");
        let turned =
            r#""R":{"STRUCT":[{"b":"STR"},{"a":"U32"},{"next":{"OPTION":{"TYPENAME":"R"}}}]}"#;
        let said = "1 has its fields in another order: b, a, next";
        assert_eq!(differ(old, turned).unwrap(), said);
        assert_eq!(differ(old, old), None);
    }

    #[test]
    fn variants_are_told_by_their_names_and_not_all_of_many() {
        let old = r#""R":{"ENUM":{"0":{"Point":"UNIT"},"1":{"Circle":{"NEWTYPE":"U32"}}}}"#;
        let new = old.replace("U32", "U64");
        assert_eq!(differ(old, &new).unwrap(), "1.Circle was \"U32\" and is \"U64\"");
        let many = r#""R":{"ENUM":{"0":{"A":"UNIT"},"1":{"B":"UNIT"},"2":{"C":"UNIT"}}}"#;
        let said = "1.Point is gone, 1.Circle is gone, 1.A is new, and 2 more";
        assert_eq!(differ(old, many).unwrap(), said);
    }
}
