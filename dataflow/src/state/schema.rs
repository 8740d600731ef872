//! The schema of a state: the shape of its types, traced through serde, as text.

use std::collections::BTreeSet;

use serde_reflection::{FormatHolder, Samples, Tracer, TracerConfig};

use crate::data::Data;

/// The shape of a type as text. Two types are stored alike exactly when their texts are equal.
///
/// A type that cannot be traced (it borrows, or asks serde for "any") is opaque: its text is its
/// name, and a change of its fields is not noticed.
pub fn schema_of<T: Data>() -> String {
    let mut enums = BTreeSet::new();
    loop {
        match trace::<T>(&enums) {
            Traced::Whole(schema) => return schema,
            Traced::EnumsMissing(more) if enums.len() < ENUMS_MAX => {
                let before = enums.len();
                enums.extend(more);
                if enums.len() == before {
                    break;
                }
            }
            Traced::EnumsMissing(_) | Traced::Opaque => break,
        }
    }
    format!("opaque {}", std::any::type_name::<T>())
}

/// Enums in one type: more than anybody writes by hand.
const ENUMS_MAX: usize = 1000;
/// Passes over a type: each visits another variant of each enum within.
const PASSES_MAX: usize = 1000;

enum Traced {
    Whole(String),
    /// These enums need further passes, and the tracer must be asked about them by name.
    EnumsMissing(Vec<String>),
    Opaque,
}

fn trace<T: Data>(enums: &BTreeSet<String>) -> Traced {
    let mut tracer = Tracer::new(TracerConfig::default());
    let samples = Samples::new();
    let mut root = None;
    for _ in 0..PASSES_MAX {
        let Ok((format, _)) = tracer.trace_type_once::<T>(&samples) else { return Traced::Opaque };
        root = Some(format);
        let open = enums.iter().filter(|name| tracer.check_incomplete_enum(name).is_some());
        if open.count() == 0 {
            break;
        }
    }
    let (Some(mut root), registry) = (root, tracer.registry()) else { return Traced::Opaque };
    let registry = match registry {
        Ok(registry) => registry,
        Err(serde_reflection::Error::MissingVariants(names)) => return Traced::EnumsMissing(names),
        Err(_) => return Traced::Opaque,
    };
    root.reduce();
    let text = serde_json::to_string(&root).and_then(|root| {
        let types = serde_json::to_string(&registry)?;
        Ok(if registry.is_empty() { root } else { format!("{root} where {types}") })
    });
    text.map_or(Traced::Opaque, Traced::Whole)
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(u32),
        Named { name: String },
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Record {
        shape: Shape,
        sizes: Vec<u64>,
    }

    #[test]
    fn a_schema_names_every_field_and_variant() {
        let schema = schema_of::<(String, Record)>();
        for part in ["STR", "shape", "sizes", "U64", "Point", "Circle", "Named", "U32"] {
            assert!(schema.contains(part), "{part} in {schema}");
        }
        assert_ne!(schema_of::<u32>(), schema_of::<u64>());
        assert_eq!(schema_of::<u64>(), "\"U64\"");
    }
}
