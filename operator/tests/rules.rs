//! What the API server takes and refuses, by the rules in CEL.
//!
//! The objects are those that `scripts/check-crds.sh` gives a real API server, which also knows the
//! bounds of the schema (`# schema:`) and what a rule may cost.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use kube_cel::Validator;
use millstream_operator::crd::{definitions, rules};
use serde_json::Value;

/// The documents of a file, each with its comment.
fn objects(file: &str) -> Vec<(String, Value)> {
    let text = support::read(file);
    let document = |text: &str| {
        let (comment, object) = text.split_once('\n').unwrap();
        (comment.trim_start_matches("# ").to_owned(), support::yaml(object))
    };
    text.split("---\n").map(document).collect()
}

/// The schema of an object's kind.
fn schema_of(object: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap();
    let definition = definitions().into_iter().find(|it| it.spec.names.kind == kind).unwrap();
    let schema = definition.spec.versions[0].schema.clone().unwrap();
    serde_json::to_value(schema.open_api_v3_schema.unwrap()).unwrap()
}

fn refusals(object: &Value, before: Option<&Value>) -> Vec<String> {
    let refused = Validator::new().validate(&schema_of(object), object, before);
    let errors = refused.err().map(kube_cel::ValidationErrors::into_vec).unwrap_or_default();
    errors.into_iter().map(|error| error.message).collect()
}

#[test]
fn what_is_valid_passes_and_can_be_read() {
    for (comment, object) in objects("objects/valid.yaml") {
        assert_eq!(refusals(&object, None), [""; 0], "{comment}");
        let read = if object["kind"] == "StreamJob" {
            serde_json::from_value::<millstream_operator::crd::StreamJob>(object).map(drop)
        } else {
            serde_json::from_value::<millstream_operator::crd::StreamSnapshot>(object).map(drop)
        };
        assert!(read.is_ok(), "{comment}: {read:?}");
    }
}

#[test]
fn what_is_refused_is_told_what_to_write() {
    let mut said = Vec::new();
    for (comment, object) in objects("objects/refused.yaml") {
        let Some(message) = comment.strip_prefix("rule: ") else { continue };
        let refusals = refusals(&object, None);
        assert!(refusals.iter().any(|it| it.contains(message)), "{comment}: {refusals:?}");
        assert_eq!(refusals.len(), 1, "{comment}: {refusals:?}");
        said.push(message.to_owned());
    }
    let valid = objects("objects/valid.yaml");
    for (comment, edited) in objects("objects/refused_edits.yaml") {
        let message = comment.strip_prefix("rule: ").unwrap();
        let same = |(_, other): &&(String, Value)| {
            other["kind"] == edited["kind"] && other["metadata"] == edited["metadata"]
        };
        let (_, before) = valid.iter().find(same).unwrap();
        assert_eq!(refusals(&edited, None), [""; 0], "{comment}: only the change is wrong");
        let refusals = refusals(&edited, Some(before));
        assert!(refusals.iter().any(|it| it.contains(message)), "{comment}: {refusals:?}");
        said.push(message.to_owned());
    }
    for rule in rules::OF_JOB.iter().chain(rules::OF_SNAPSHOT) {
        let is_shown = said.iter().any(|message| rule.message.contains(message.as_str()));
        assert!(is_shown, "no object breaks the rule of {}: {}", rule.at, rule.message);
    }
}
