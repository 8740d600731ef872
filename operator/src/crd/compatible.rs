//! Whether a definition still takes what the last released one took.
//!
//! Received from: the definition of this tree, and that of the last release, which lies in
//! `operator/tests/released/`. Handed to: a test. Pure. Conversion between versions is `None`: an
//! object that was stored once is read by every later release, so that fields are only ever added.
//!
//! Caveats: rules in CEL are not compared, since none can tell whether one is narrower than
//! another: a change of them is for review.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSON, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// Everything by which the new definition breaks users of the released one, as `path: what`.
pub fn breaks(released: &CustomResourceDefinition, now: &CustomResourceDefinition) -> Vec<String> {
    let mut breaks = Breaks::default();
    let names = |crd: &CustomResourceDefinition| {
        let names = &crd.spec.names;
        (crd.spec.group.clone(), crd.spec.scope.clone(), names.kind.clone(), names.plural.clone())
    };
    breaks.if_not(names(released) == names(now), "", "group, scope, kind or plural is another");
    let short = |crd: &CustomResourceDefinition| crd.spec.names.short_names.clone();
    let gone = short(released).unwrap_or_default().into_iter();
    let there = short(now).unwrap_or_default();
    for name in gone.filter(|name| !there.contains(name)) {
        breaks.add("", &format!("the short name {name} is gone"));
    }
    for version in &released.spec.versions {
        let same = now.spec.versions.iter().find(|other| other.name == version.name);
        let Some(same) = same.filter(|same| same.served) else {
            breaks.add("", &format!("{} is not served any more", version.name));
            continue;
        };
        let schema = |version: &CustomResourceDefinitionVersion| {
            version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.clone())
        };
        if let (Some(released), Some(now)) = (schema(version), schema(same)) {
            breaks.compare("", &released, &now);
        }
    }
    breaks.0
}

#[derive(Default)]
struct Breaks(Vec<String>);

impl Breaks {
    fn add(&mut self, path: &str, what: &str) {
        self.0.push(format!("{path}: {what}"));
    }

    fn if_not(&mut self, holds: bool, path: &str, what: &str) {
        if !holds {
            self.add(path, what);
        }
    }

    fn compare(&mut self, path: &str, released: &JSONSchemaProps, now: &JSONSchemaProps) {
        let kind = |schema: &JSONSchemaProps| {
            (schema.type_.clone(), schema.x_kubernetes_int_or_string.unwrap_or(false))
        };
        self.if_not(kind(released) == kind(now), path, "has another type");
        self.if_not(released.format == now.format, path, "has another format");
        self.if_not(released.default == now.default, path, "has another default");
        let keeps =
            |schema: &JSONSchemaProps| schema.x_kubernetes_preserve_unknown_fields.unwrap_or(false);
        self.if_not(!keeps(released) || keeps(now), path, "drops what it does not know");
        let list = |schema: &JSONSchemaProps| {
            (schema.x_kubernetes_list_type.clone(), schema.x_kubernetes_list_map_keys.clone())
        };
        self.if_not(list(released) == list(now), path, "merges its items in another way");
        self.values(path, released, now);
        self.required(path, released, now);
        self.below(path, released, now);
    }

    /// What a value may be.
    fn values(&mut self, path: &str, released: &JSONSchemaProps, now: &JSONSchemaProps) {
        match (&released.enum_, &now.enum_) {
            (None, Some(_)) => self.add(path, "has become one of several words"),
            (Some(released), Some(now)) => {
                for JSON(gone) in released.iter().filter(|word| !now.contains(word)) {
                    self.add(path, &format!("{gone} is gone"));
                }
            }
            (_, None) => {}
        }
        let floor = |is: Option<f64>| is.unwrap_or(f64::NEG_INFINITY);
        let ceiling = |is: Option<f64>| is.unwrap_or(f64::INFINITY);
        let length = |is: Option<i64>| is.unwrap_or(i64::MAX);
        let wider = floor(now.minimum) <= floor(released.minimum)
            && ceiling(now.maximum) >= ceiling(released.maximum)
            && now.min_length.unwrap_or(0) <= released.min_length.unwrap_or(0)
            && length(now.max_length) >= length(released.max_length)
            && now.min_items.unwrap_or(0) <= released.min_items.unwrap_or(0)
            && length(now.max_items) >= length(released.max_items)
            && length(now.max_properties) >= length(released.max_properties);
        self.if_not(wider, path, "has a narrower bound");
        let pattern = now.pattern.is_none() || now.pattern == released.pattern;
        self.if_not(pattern, path, "has another pattern");
    }

    fn required(&mut self, path: &str, released: &JSONSchemaProps, now: &JSONSchemaProps) {
        let required = |schema: &JSONSchemaProps| schema.required.clone().unwrap_or_default();
        let before = required(released);
        for name in required(now).iter().filter(|name| !before.contains(name)) {
            self.add(&join(path, name), "must be there now");
        }
    }

    fn below(&mut self, path: &str, released: &JSONSchemaProps, now: &JSONSchemaProps) {
        let none = BTreeMap::new();
        let there = now.properties.as_ref().unwrap_or(&none);
        for (name, released) in released.properties.as_ref().unwrap_or(&none) {
            let path = join(path, name);
            match there.get(name) {
                Some(now) => self.compare(&path, released, now),
                None => self.add(&path, "is gone"),
            }
        }
        use JSONSchemaPropsOrBool as Values;
        match (&released.additional_properties, &now.additional_properties) {
            (Some(Values::Schema(released)), Some(Values::Schema(now))) => {
                self.compare(&join(path, "*"), released, now);
            }
            (released, now) => self.if_not(released == now, path, "takes other names"),
        }
        use JSONSchemaPropsOrArray::Schema;
        match (&released.items, &now.items) {
            (Some(Schema(released)), Some(Schema(now))) => {
                self.compare(&format!("{path}[]"), released, now);
            }
            (released, now) => self.if_not(released == now, path, "takes other items"),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
