//! The schema of a state: the shape of its types, traced through serde, as text.

use serde_reflection::{FormatHolder, Samples, Tracer, TracerConfig};

use crate::data::Data;

/// The shape of a type as text. Two types are stored alike exactly when their texts are equal.
///
/// A type that cannot be traced (it borrows, or asks serde for "any") is opaque: its text is its name, and a
/// change of its fields is not noticed.
pub fn schema_of<T: Data>() -> String {
    let traced = [1, 4, 16, 64].into_iter().find_map(trace::<T>);
    traced.unwrap_or_else(|| format!("opaque {}", std::any::type_name::<T>()))
}

/// Traces a type in so many passes: each visits another variant of the enums within.
fn trace<T: Data>(passes: usize) -> Option<String> {
    let mut tracer = Tracer::new(TracerConfig::default());
    let samples = Samples::new();
    let mut root = None;
    for _ in 0..passes {
        root = Some(tracer.trace_type_once::<T>(&samples).ok()?.0);
    }
    let registry = tracer.registry().ok()?;
    let mut root = root?;
    root.reduce();
    let root = serde_json::to_string(&root).ok()?;
    if registry.is_empty() {
        return Some(root);
    }
    Some(format!("{root} where {}", serde_json::to_string(&registry).ok()?))
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
