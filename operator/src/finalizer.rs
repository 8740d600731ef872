//! The mark on an object that is not to go before its snapshots have.
//!
//! Put on and taken off by: [`crate::reconcile`] and [`crate::savepoints`], as the spec says.
//! Invariants: the marks of others stay; it is on before anything is written to the store that is
//! to go with the object.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use millstream_protocol::job::OnDelete;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::names::FINALIZER;

/// Whether an object has the mark.
pub(crate) fn is_on(object: &impl Resource) -> bool {
    object.meta().finalizers.iter().flatten().any(|it| it == FINALIZER)
}

/// Makes an object that is not being deleted have the mark where its snapshots go with it. Returns
/// whether it was otherwise: the object comes again.
pub(crate) async fn follow<K>(
    client: &Client,
    object: &K,
    on_delete: OnDelete,
) -> Result<bool, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let is_wanted = on_delete == OnDelete::Delete;
    let is_other = is_wanted != is_on(object);
    if is_other {
        write(client, object, patch(object, is_wanted)).await?;
    }
    Ok(is_other)
}

/// Lets an object go.
pub(crate) async fn take_off<K>(client: &Client, object: &K) -> Result<(), kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    write(client, object, patch(object, false)).await
}

/// The whole list, of the version that was seen: of two that write it at once, one is refused.
fn patch(object: &impl Resource, is_wanted: bool) -> Value {
    let all = object.meta().finalizers.iter().flatten().map(String::as_str);
    let others = all.filter(|it| *it != FINALIZER);
    let list: Vec<&str> = others.chain(is_wanted.then_some(FINALIZER)).collect();
    let meta = object.meta();
    let (uid, version) = (&meta.uid, &meta.resource_version);
    json!({"metadata": {"finalizers": list, "uid": uid, "resourceVersion": version}})
}

async fn write<K>(client: &Client, object: &K, patch: Value) -> Result<(), kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    K: Clone + DeserializeOwned + Debug,
{
    let api: Api<K> =
        Api::namespaced(client.clone(), object.meta().namespace.as_deref().unwrap_or_default());
    let patch = Patch::Merge(patch);
    match api.patch_metadata(&object.name_any(), &PatchParams::default(), &patch).await {
        // It is gone, or another version is there, which is looked at next.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        written => written.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::StreamJob;
    use crate::testing;

    #[test]
    fn the_marks_of_others_stay() {
        let mut job = testing::job("averages", "snapshots: {store: 's3://b/p'}");
        job.metadata.resource_version = Some("7".to_owned());
        assert!(!is_on(&job));
        let list =
            |job: &StreamJob, is_wanted| patch(job, is_wanted)["metadata"]["finalizers"].clone();
        assert_eq!(list(&job, true), json!([FINALIZER]));
        job.metadata.finalizers = Some(vec!["a/b".to_owned(), FINALIZER.to_owned()]);
        assert!(is_on(&job));
        assert_eq!(list(&job, true), json!(["a/b", FINALIZER]));
        assert_eq!(list(&job, false), json!(["a/b"]));
        assert_eq!(patch(&job, false)["metadata"]["resourceVersion"], "7");
    }
}
