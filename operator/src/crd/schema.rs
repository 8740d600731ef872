//! What is done to a derived definition until it is the one that is applied.
//!
//! Received from: the derives in [`super`], the tables in [`super::rules`], and what an edit costs
//! in [`millstream_protocol::field`]. Handed to: [`super::definitions`]. Invariant: a path that a
//! table names is in the schema, or this panics, in the test of each table.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    ValidationRule,
};
use millstream_protocol::field::{Edit, FIELDS};

use super::rules::{BOUNDS_OF_JOB, BOUNDS_OF_SNAPSHOT, Bound, OF_JOB, OF_SNAPSHOT, Rule};

const NO_SCHEMA: &str = "derived definitions have one version, with a schema";

/// The definition of jobs.
pub(super) fn of_job(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let root = root(&mut crd);
    shape(root, BOUNDS_OF_JOB, OF_JOB);
    say_what_edits_cost(root);
    crd
}

/// The definition of savepoints.
pub(super) fn of_snapshot(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    shape(root(&mut crd), BOUNDS_OF_SNAPSHOT, OF_SNAPSHOT);
    crd
}

fn root(crd: &mut CustomResourceDefinition) -> &mut JSONSchemaProps {
    let schema = crd.spec.versions.first_mut().and_then(|version| version.schema.as_mut());
    schema.and_then(|schema| schema.open_api_v3_schema.as_mut()).expect(NO_SCHEMA)
}

/// The schema of a definition.
pub(super) fn schema_of(crd: &CustomResourceDefinition) -> &JSONSchemaProps {
    let schema = crd.spec.versions.first().and_then(|version| version.schema.as_ref());
    schema.and_then(|schema| schema.open_api_v3_schema.as_ref()).expect(NO_SCHEMA)
}

fn shape(root: &mut JSONSchemaProps, bounds: &[(&str, Bound)], rules: &[Rule]) {
    plain(root);
    for (path, bound) in bounds {
        if matches!(bound, Bound::Required) {
            require(root, path);
        } else {
            set(at_mut(root, path), *bound);
        }
    }
    for Rule { at, rule, message } in rules {
        let rules = at_mut(root, at).x_kubernetes_validations.get_or_insert_default();
        rules.push(ValidationRule {
            rule: (*rule).to_owned(),
            message: Some((*message).to_owned()),
            ..ValidationRule::default()
        });
    }
    if let Some(conditions) = get_mut(root, "status.conditions") {
        conditions.x_kubernetes_list_type = Some("map".to_owned());
        conditions.x_kubernetes_list_map_keys = Some(vec!["type".to_owned()]);
    }
}

/// Takes out what the API server has no use for: null is as good as absent where it is not
/// nullable, and it knows no format of unsigned numbers.
fn plain(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    // The lines of a doc comment are those of its source.
    if let Some(said) = &mut schema.description {
        *said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    match schema.format.as_deref() {
        Some("uint32") => schema.format = Some("int32".to_owned()),
        Some("uint64") => schema.format = Some("int64".to_owned()),
        _ => {}
    }
    for below in schema.properties.iter_mut().flat_map(|below| below.values_mut()) {
        plain(below);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        plain(values);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        plain(items);
    }
}

fn set(schema: &mut JSONSchemaProps, bound: Bound) {
    match bound {
        Bound::Least(least) => schema.minimum = Some(least.into()),
        Bound::Most(most) => schema.maximum = Some(most.into()),
        Bound::Longest(longest) => schema.max_length = Some(longest.into()),
        Bound::Filled => schema.min_length = Some(1),
        Bound::IntOrString => {
            schema.type_ = None;
            schema.x_kubernetes_int_or_string = Some(true);
        }
        Bound::Opaque => {
            schema.type_ = Some("object".to_owned());
            schema.x_kubernetes_preserve_unknown_fields = Some(true);
        }
        Bound::Required => {}
    }
}

fn require(root: &mut JSONSchemaProps, path: &str) {
    at_mut(root, path).default = None;
    let (above, name) = path.rsplit_once('.').unwrap_or(("", path));
    let required = at_mut(root, above).required.get_or_insert_default();
    if !required.iter().any(|there| there == name) {
        required.push(name.to_owned());
    }
}

/// Ends the description of each field of a job with what a change of it costs.
fn say_what_edits_cost(root: &mut JSONSchemaProps) {
    let of_spec = FIELDS.iter().filter(|field| field.path.starts_with("spec."));
    for field in of_spec.filter(|field| field.edit != Edit::Wish) {
        let path = field.path.trim_end_matches(".*");
        let description = &mut at_mut(root, path).description;
        let said = description.take().unwrap_or_default();
        *description = Some(format!("{said} {}", field.edit.words()));
    }
}

/// The schema at a path below this one; none where there is no such field.
pub(super) fn get<'a>(root: &'a JSONSchemaProps, path: &str) -> Option<&'a JSONSchemaProps> {
    let mut names = path.split('.').filter(|name| !name.is_empty());
    names.try_fold(root, |schema, name| schema.properties.as_ref()?.get(name))
}

fn get_mut<'a>(root: &'a mut JSONSchemaProps, path: &str) -> Option<&'a mut JSONSchemaProps> {
    let mut names = path.split('.').filter(|name| !name.is_empty());
    names.try_fold(root, |schema, name| schema.properties.as_mut()?.get_mut(name))
}

fn at_mut<'a>(root: &'a mut JSONSchemaProps, path: &str) -> &'a mut JSONSchemaProps {
    get_mut(root, path).unwrap_or_else(|| panic!("no field of the resource is at {path}"))
}
