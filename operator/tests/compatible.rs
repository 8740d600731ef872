//! An object that the last release took is taken by this tree, and keeps all its fields.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use millstream_operator::crd::compatible::breaks;
use millstream_operator::crd::definitions;
use serde_json::{Value, json};

/// The largest definition, in bytes: what server-side and client-side apply take with room to grow.
const BYTES_MAX: usize = 60_000;

#[test]
fn definitions_take_what_the_last_release_took() {
    for now in definitions() {
        let released = support::read(&format!("released/{}.json", now.spec.names.plural));
        let released: CustomResourceDefinition = serde_json::from_str(&released).unwrap();
        assert_eq!(breaks(&released, &now), [""; 0]);
    }
}

#[test]
fn definitions_are_small() {
    for definition in definitions() {
        let bytes = serde_yaml::to_string(&definition).unwrap().len();
        assert!(bytes < BYTES_MAX, "{}: {bytes} bytes", definition.spec.names.kind);
    }
}

/// What breaks, once a change was made to the definition of jobs.
fn after(change: impl Fn(&mut Value)) -> Vec<String> {
    let released = definitions().into_iter().next().unwrap();
    let mut now = serde_json::to_value(&released).unwrap();
    change(&mut now);
    breaks(&released, &serde_json::from_value(now).unwrap())
}

/// The spec's schema, in a definition.
fn spec(definition: &mut Value) -> &mut Value {
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    definition.pointer_mut(schema).unwrap()
}

#[test]
fn every_way_to_break_a_user_is_seen() {
    assert_eq!(after(|_| {}), [""; 0]);
    let broken = |change: &dyn Fn(&mut Value), says: &str| {
        assert_eq!(after(|definition| change(spec(definition))), [says]);
    };
    broken(
        &|spec| drop(spec["properties"].as_object_mut().unwrap().remove("suspend")),
        "spec.suspend: is gone",
    );
    broken(
        &|spec| spec["properties"]["workers"]["type"] = json!("string"),
        "spec.workers: has another type",
    );
    broken(
        &|spec| spec["properties"]["workers"]["minimum"] = json!(2),
        "spec.workers: has a narrower bound",
    );
    broken(
        &|spec| spec["properties"]["workers"]["default"] = json!(2),
        "spec.workers: has another default",
    );
    broken(
        &|spec| spec["properties"]["image"]["maxLength"] = json!(9),
        "spec.image: has a narrower bound",
    );
    broken(
        &|spec| spec["properties"]["image"]["enum"] = json!(["a"]),
        "spec.image: has become one of several words",
    );
    broken(
        &|spec| spec["required"] = json!(["snapshots", "image"]),
        "spec.image: must be there now",
    );
    broken(
        &|spec| {
            spec["properties"]["state"]["properties"]["backend"]["enum"] = json!(["Memory"]);
        },
        "spec.state.backend: \"RocksDB\" is gone",
    );
    broken(
        &|spec| {
            let args = &mut spec["properties"]["program"]["properties"]["args"];
            args["additionalProperties"]["type"] = json!("integer");
        },
        "spec.program.args.*: has another type",
    );
    broken(
        &|spec| {
            let template = spec["properties"]["podTemplate"].as_object_mut().unwrap();
            template.remove("x-kubernetes-preserve-unknown-fields");
        },
        "spec.podTemplate: drops what it does not know",
    );
    let gone = after(|definition| definition["spec"]["versions"][0]["served"] = json!(false));
    assert_eq!(gone, [": v1alpha1 is not served any more"]);
    let gone = after(|definition| definition["spec"]["names"]["shortNames"] = json!([]));
    assert_eq!(gone, [": the short name sj is gone"]);
}

#[test]
fn a_wider_definition_breaks_nobody() {
    let wider = after(|definition| {
        let spec = spec(definition);
        spec["properties"]["later"] = json!({"type": "string"});
        spec["required"] = json!([]);
        spec["properties"]["workers"]["maximum"] = json!(99_999);
        let backend = &mut spec["properties"]["state"]["properties"]["backend"];
        backend["enum"] = json!(["Memory", "RocksDB", "Later"]);
    });
    assert_eq!(wider, [""; 0]);
}
