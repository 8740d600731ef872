//! The first step: what there is of a job in the API server.
//!
//! Handed to: [`super::decide`] and [`super::apply`]. Invariant: an object of the job's name that
//! is another's is an error, and nothing is done.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::{Client, ResourceExt};
use millstream_coordinator::driver::Clock as _;
use serde_json::Value;

use super::accepted::{self, Accepted};
use super::admission;
use super::check::Check;
use super::decide::Live;
use super::lost::{self, Leaving};
use super::pods::{self, Trouble, Worker};
use super::step::{Context, Error};
use super::validate::Owner;
use crate::crd::StreamSnapshot;
use crate::names;

/// A job's objects.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    /// Those of each kind, in the order of [`kinds`].
    pub(super) of_kind: [Option<DynamicObject>; 4],
    /// The template of its pods.
    pub(super) template: Option<Value>,
}

/// What there is of a job.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetched {
    /// Its objects; none where what there is was known, and there was nothing to do about it.
    pub(super) objects: Option<Box<Objects>>,
    /// What its `StatefulSet` says.
    pub(super) live: Option<Live>,
    /// The revision of the newest template; none until it has one.
    pub(super) revision: Option<String>,
    /// Its pods.
    pub(super) workers: Vec<Worker>,
    /// Its pods that are asked to end.
    pub(super) leaving: Vec<Leaving>,
    /// Whether there are fewer pods than there are to be.
    pub(super) lacks_pods: bool,
    /// Why pods are not made.
    pub(super) refusal: Option<Trouble>,
    /// The check of another version.
    pub(super) check: Option<Check>,
}

/// The kinds of a job's objects; the `StatefulSet` is the first.
pub(super) fn kinds() -> [ApiResource; 4] {
    [
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
    ]
}

/// What there is of a job, read where it is not known.
pub(super) async fn find(context: &Context, owner: &Owner) -> Result<Fetched, Error> {
    let now = context.clock.now();
    if let Some(found) = context.still.found(owner, now) {
        return Ok(found);
    }
    context.still.ask(owner, now);
    let mut found = fetch(&context.client, owner).await?;
    if let Some(live) = &mut found.live {
        context.templates.share(&mut live.accepted.spec.pod_template);
        if let Some(previous) = &mut live.previous {
            context.templates.share(&mut previous.accepted.spec.pod_template);
        }
    }
    Ok(found)
}

/// Reads what there is of a job.
async fn fetch(client: &Client, owner: &Owner) -> Result<Fetched, Error> {
    let Owner { namespace, name, .. } = owner;
    let get = async |kind: ApiResource| {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
        api.get_opt(name).await
    };
    let [set, service, budget, policy] = kinds();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let labels: Vec<String> =
        names::selector(name).iter().map(|(label, value)| format!("{label}={value}")).collect();
    let list = ListParams::default().labels(&labels.join(","));
    let (set, service, budget, policy, pods) =
        futures::try_join!(get(set), get(service), get(budget), get(policy), pods.list(&list))?;
    let objects = [set, service, budget, policy];
    for object in objects.iter().flatten() {
        is_owned(object, owner)?;
    }
    let set = objects[0].as_ref();
    let uid = set.and_then(ResourceExt::uid);
    let own: Vec<Pod> = pods.items.into_iter().filter(|pod| is_of(pod, uid.as_deref())).collect();
    let live = set.map(live).transpose()?;
    let template = set.map(|set| set.data["spec"]["template"].clone());
    let revision = set.and_then(revision);
    let workers = pods::workers(name, &own);
    let leaving = own.iter().filter_map(lost::leaving).collect();
    let lacks_pods = live.as_ref().is_some_and(|it| workers.len() < it.replicas as usize);
    let refusal = match uid.filter(|_| lacks_pods) {
        Some(uid) => admission::refusal(client, namespace, ("StatefulSet", uid.as_str())).await?,
        None => None,
    };
    let objects = Some(Box::new(Objects { of_kind: objects, template }));
    let check = None;
    Ok(Fetched { objects, live, revision, workers, leaving, lacks_pods, refusal, check })
}

/// The `StreamSnapshot` of this name, if there is one.
pub(super) async fn snapshot(
    client: &Client,
    owner: &Owner,
    name: &str,
) -> Result<Option<StreamSnapshot>, Error> {
    let snapshots: Api<StreamSnapshot> = Api::namespaced(client.clone(), &owner.namespace);
    match snapshots.get_opt(name).await {
        // No object can have such a name, which is said of the spec.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 400 | 422) => Ok(None),
        found => Ok(found?),
    }
}

fn is_of(pod: &Pod, uid: Option<&str>) -> bool {
    pod.owner_references().iter().any(|owner| Some(owner.uid.as_str()) == uid)
}

fn is_owned(object: &DynamicObject, owner: &Owner) -> Result<(), Error> {
    let is_own = object.owner_references().iter().any(|it| it.uid == owner.uid);
    if is_own {
        return Ok(());
    }
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str()).to_owned();
    Err(Error::Taken { kind, name: owner.name.clone() })
}

fn live(set: &DynamicObject) -> Result<Live, Error> {
    let annotations = set.annotations();
    Ok(Live {
        accepted: Accepted::from_annotations(annotations)?,
        refused: accepted::kept(annotations, names::REFUSED),
        previous: accepted::kept(annotations, names::PREVIOUS),
        replicas: set.data["spec"]["replicas"].as_u64().unwrap_or(1) as u32,
        is_finished: annotations.contains_key(names::FINISHED),
    })
}

/// The revision of the template, once the one that is there has been looked at.
fn revision(set: &DynamicObject) -> Option<String> {
    let status = &set.data["status"];
    let is_seen = status["observedGeneration"].as_i64() == set.metadata.generation;
    let revision = status["updateRevision"].as_str().filter(|_| is_seen)?;
    Some(revision.to_owned())
}

impl Fetched {
    /// Whether nothing is on its way that no watch shows.
    pub(super) fn is_still(&self) -> bool {
        let is_awaited = self.lacks_pods || self.refusal.is_some() || !self.leaving.is_empty();
        self.live.is_some() && !is_awaited
    }

    /// Whether there are pods of another template than the newest, or that is not known yet.
    pub(super) fn is_outdated(&self) -> bool {
        self.revision.is_none() || self.outdated().next().is_some()
    }

    /// Pods that are known to be of another template than the newest.
    pub(super) fn outdated(&self) -> impl Iterator<Item = &Worker> {
        let of_other = |it: &&Worker| self.revision.is_some() && it.revision != self.revision;
        self.workers.iter().filter(of_other)
    }
}
