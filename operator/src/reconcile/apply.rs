//! The step that touches the API server: server-side apply of a job's objects and of its status.
//!
//! Invariants: what was applied as it is now is not applied again; a template that is in force
//! stays as it is.

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use millstream_protocol::job::{API_VERSION, KIND};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::build::Resources;
use super::fetch::{Objects, kinds};
use super::lost::Leaving;
use super::pods::Worker;
use super::step::Error;
use super::validate::Owner;
use crate::crd::{StreamJob, StreamJobStatus};
use crate::names::{APPLIED, OPERATOR};

/// Applies what has changed of a job's objects. Returns whether anything had.
pub(super) async fn apply(
    client: &Client,
    owner: &Owner,
    resources: Resources,
    there: &Objects,
    has_new_template: bool,
) -> Result<bool, Error> {
    // Without `..`: a new kind does not compile until it is applied.
    let Resources { stateful_set, service, pod_disruption_budget, network_policy } = resources;
    let json = |object: Result<Value, serde_json::Error>| object.expect("an object is JSON");
    let mut objects = [
        stateful_set,
        json(serde_json::to_value(service)),
        json(serde_json::to_value(pod_disruption_budget)),
        json(serde_json::to_value(network_policy)),
    ];
    mark(&mut objects, there.template.as_ref().filter(|_| !has_new_template));
    let mut has_changed = false;
    for ((kind, object), there) in kinds().into_iter().zip(objects).zip(&there.of_kind) {
        if there.as_ref().is_some_and(|there| {
            mark_of(there) == object["metadata"]["annotations"][APPLIED].as_str()
        }) {
            continue;
        }
        has_changed = true;
        tracing::info!(namespace = owner.namespace, job = owner.name, kind = kind.kind, "applied");
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &owner.namespace, &kind);
        let params = PatchParams::apply(OPERATOR).force();
        api.patch(&owner.name, &params, &Patch::Apply(&object)).await?;
    }
    Ok(has_changed)
}

/// Puts the hash of each object on it. A template that stays is not part of it: a later operator
/// may make another one of the same spec.
fn mark(objects: &mut [Value; 4], template: Option<&Value>) {
    let made = objects[0]["spec"]["template"].take();
    for object in &mut *objects {
        let hash = format!("{:016x}", xxh3_64(object.to_string().as_bytes()));
        let annotations = &mut object["metadata"]["annotations"];
        if annotations.is_null() {
            *annotations = json!({});
        }
        annotations[APPLIED] = hash.into();
    }
    objects[0]["spec"]["template"] = template.cloned().unwrap_or(made);
}

fn mark_of(there: &DynamicObject) -> Option<&str> {
    there.metadata.annotations.as_ref()?.get(APPLIED).map(String::as_str)
}

/// Has all pods of this `StatefulSet` end.
pub(super) async fn end(client: &Client, owner: &Owner, set: &DynamicObject) -> Result<(), Error> {
    let [kind, ..] = kinds();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &owner.namespace, &kind);
    let patch = json!({"metadata": {"uid": set.metadata.uid}, "spec": {"replicas": 0}});
    match api.patch(&owner.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        // It is gone, or another one is there.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        patched => patched.map(drop).map_err(Error::from),
    }
}

/// Deletes these pods, and none that has taken the place of one of them.
pub(super) async fn delete<'a>(
    client: &Client,
    owner: &Owner,
    workers: impl Iterator<Item = &'a Worker>,
) -> Result<(), Error> {
    for worker in workers.filter(|worker| !worker.is_leaving) {
        delete_pod(client, owner, &worker.pod, &worker.uid, None).await?;
    }
    Ok(())
}

/// Deletes this pod at once, without a word from its node.
pub(super) async fn give_up(client: &Client, owner: &Owner, lost: &Leaving) -> Result<(), Error> {
    let Leaving { pod, uid, .. } = lost;
    tracing::warn!(namespace = owner.namespace, job = owner.name, pod, "given up: it does not end");
    delete_pod(client, owner, pod, uid, Some(0)).await
}

async fn delete_pod(
    client: &Client,
    owner: &Owner,
    pod: &str,
    uid: &str,
    grace_period_seconds: Option<u32>,
) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &owner.namespace);
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
    let preconditions = Some(preconditions);
    let params = DeleteParams { preconditions, grace_period_seconds, ..DeleteParams::default() };
    match api.delete(pod, &params).await {
        // It is gone, or another one is there.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        deleted => deleted.map(drop).map_err(Error::from),
    }
}

/// Writes a status.
pub(super) async fn write(
    client: &Client,
    owner: &Owner,
    status: &StreamJobStatus,
) -> Result<(), Error> {
    let api: Api<StreamJob> = Api::namespaced(client.clone(), &owner.namespace);
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": KIND,
        // One of another job of the same name is not written.
        "metadata": {"name": owner.name, "uid": owner.uid},
        "status": status,
    });
    let params = PatchParams::apply(OPERATOR).force();
    match api.patch_status(&owner.name, &params, &Patch::Apply(&patch)).await {
        // The job is gone, or another one is there.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        written => written.map(drop).map_err(Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(image: &str, replicas: u32) -> [Value; 4] {
        let set = json!({"metadata": {}, "spec": {"replicas": replicas, "template": image}});
        [set, json!({"metadata": {}}), json!({"metadata": {}}), json!({"metadata": {}})]
    }

    fn marked(image: &str, replicas: u32, template: Option<&Value>) -> (Value, Value) {
        let mut objects = objects(image, replicas);
        mark(&mut objects, template);
        let [set, ..] = objects;
        (set["metadata"]["annotations"][APPLIED].clone(), set["spec"]["template"].clone())
    }

    #[test]
    fn a_template_that_stays_is_applied_as_it_is_and_never_again() {
        let old = json!("old");
        let first = marked("old", 2, None);
        let upgraded = marked("new", 2, Some(&old));
        assert_eq!(first, upgraded, "an upgrade of the operator changes nothing");
        assert_ne!(first.0, marked("old", 3, Some(&old)).0);
        assert_eq!(marked("new", 2, None).1, json!("new"));
    }
}
