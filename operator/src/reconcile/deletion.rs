//! A job that is being deleted: its workers end, then its snapshots go, where they are to go with
//! it, and then it may go itself.
//!
//! Received from: [`super::step`]. Handed to: the API server, an [`errand`] among
//! other things. What is to be done is decided by [`super::removal`]. Invariant: no snapshot is
//! deleted while a pod of the job is there.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::runtime::controller::Action;
use kube::{Client, ResourceExt};
use millstream_coordinator::driver::Clock as _;
use millstream_protocol::job::{JobSpec, OnDelete};
use millstream_protocol::path::JobPrefix;
use millstream_protocol::time::Timestamp;
use serde_json::Value;

use super::accepted::{self, Accepted, Refused};
use super::apply;
use super::build::errand::{Errand as Wanted, build};
use super::errand::{self, Begun, Came};
use super::events::{SNAPSHOTS_LEFT_BEHIND, SNAPSHOTS_NOT_DELETED, tell};
use super::lost::{self, Leaving};
use super::pods::{self, Worker};
use super::removal::{Facts, decide};
use super::status::{Sight, status};
use super::step::{Context, Error, RETRY_PAUSE, give_up, restarts, say};
use super::validate::{Owner, validate};
use crate::crd::StreamJob;
use crate::crd::snapshot::StoreCopy;
use crate::finalizer;
use crate::names;

/// What is there of a job that goes.
struct There {
    /// Its `StatefulSet`.
    set: Option<DynamicObject>,
    workers: Vec<Worker>,
    leaving: Vec<Leaving>,
    /// How many pods of it there are, whoever made them.
    pods: usize,
    errand: errand::Seen,
}

/// What its snapshots are deleted by.
struct Means {
    /// Where they lie.
    place: String,
    /// How they are deleted by hand.
    command: String,
    errand: Value,
}

/// One look at a job that is being deleted.
pub(super) async fn look(
    context: &Context,
    job: &StreamJob,
    owner: &Owner,
) -> Result<Action, Error> {
    context.coordinators.remove(owner);
    let there = see(&context.client, owner).await?;
    if !finalizer::is_on(job) {
        show(context, job, owner, (&there, "")).await?;
        return Ok(Action::await_change());
    }
    let is_wanted = job.spec.job.snapshots.on_delete == OnDelete::Delete;
    let means = means(context, job, owner, there.set.as_ref()).filter(|_| is_wanted);
    let Some(means) = means else {
        finalizer::take_off(&context.client, job).await?;
        return Ok(Action::await_change());
    };
    give_up(context, owner, &there.leaving).await?;
    let waits = ends(&context.client, owner, &there).await?;
    let trial = match &waits {
        Some(_) => errand::can_begin(&context.client, &means.errand).await?,
        None => Begun::Yes,
    };
    let facts = Facts {
        since: deleted_at(job),
        now: context.clock.now(),
        waits: waits.as_deref(),
        errand: &there.errand.errand,
        namespace_ends: trial == Begun::NamespaceEnds,
        said: said(job),
    };
    let step = decide(&facts);
    let came = errand::follow(&context.client, &means.errand, &there.errand, step).await?;
    end(context, job, owner, (came, &there, &means)).await
}

/// Lets the job go, or says what it waits for.
async fn end(
    context: &Context,
    job: &StreamJob,
    owner: &Owner,
    (came, there, means): (Came, &There, &Means),
) -> Result<Action, Error> {
    match came {
        Came::Waits(message) => {
            show(context, job, owner, (there, &message)).await?;
            return Ok(Action::requeue(RETRY_PAUSE));
        }
        Came::Failed(message) => {
            context.teller.say(job, &tell(true, SNAPSHOTS_NOT_DELETED, &*message)).await;
            show(context, job, owner, (there, &message)).await?;
            return Ok(Action::requeue(RETRY_PAUSE));
        }
        Came::LeftBehind(why) => {
            let Means { place, command, .. } = means;
            let note = format!(
                "the snapshots stay in {place}, {why}: delete them by `millstream-worker {command}`"
            );
            // In a namespace that goes, an event is not taken either.
            tracing::warn!(namespace = owner.namespace, job = owner.name, "{note}");
            context.teller.say(job, &tell(true, SNAPSHOTS_LEFT_BEHIND, note)).await;
        }
        Came::Over => {}
    }
    finalizer::take_off(&context.client, job).await?;
    Ok(Action::await_change())
}

/// The name of the errand that deletes a job's snapshots.
fn name(owner: &Owner) -> String {
    format!("{}-delete", owner.name)
}

async fn see(client: &Client, owner: &Owner) -> Result<There, Error> {
    let Owner { namespace, name: job, uid } = owner;
    let kind = ApiResource::erase::<StatefulSet>(&());
    let sets: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let pods = async { Ok::<_, Error>(workers(client, namespace, job).await?) };
    let name = name(owner);
    let errand = async { Ok::<_, Error>(errand::see(client, namespace, &name, uid).await?) };
    let set = async { Ok::<_, Error>(sets.get_opt(job).await?) };
    let (set, pods, errand) = futures::try_join!(set, pods, errand)?;
    Ok(There {
        set: set.filter(|set| set.owner_references().iter().any(|it| it.uid == *uid)),
        workers: pods::workers(job, &pods),
        leaving: pods.iter().filter_map(lost::leaving).collect(),
        pods: pods.len(),
        errand,
    })
}

/// The pods of a job's workers.
pub(crate) async fn workers(
    client: &Client,
    namespace: &str,
    job: &str,
) -> Result<Vec<Pod>, kube::Error> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let labels: Vec<String> =
        names::selector(job).iter().map(|(label, value)| format!("{label}={value}")).collect();
    let list = ListParams::default().labels(&labels.join(","));
    Ok(pods.list(&list).await?.items)
}

/// Has the workers end; what is waited for, while they do.
async fn ends(client: &Client, owner: &Owner, there: &There) -> Result<Option<String>, Error> {
    let replicas = |set: &DynamicObject| set.data["spec"]["replicas"].as_u64().unwrap_or(1);
    let is_going = |set: &DynamicObject| set.metadata.deletion_timestamp.is_some();
    let runs = there.set.as_ref().filter(|set| replicas(set) > 0 && !is_going(set));
    if let Some(set) = runs {
        apply::end(client, owner, set).await?;
    }
    Ok(match there.pods {
        0 if runs.is_none() => None,
        1 => Some("waits until its pod has ended".to_owned()),
        _ => Some("waits until its pods have ended".to_owned()),
    })
}

/// What a job's snapshots are deleted by; nothing where it never had a valid spec, and with it no
/// snapshot.
fn means(
    context: &Context,
    job: &StreamJob,
    owner: &Owner,
    set: Option<&DynamicObject>,
) -> Option<Means> {
    let annotations = set.map(ResourceExt::annotations);
    let in_force = annotations.and_then(|it| Accepted::from_annotations(it).ok());
    let refused = annotations.and_then(|it| accepted::kept::<Refused>(it, names::REFUSED));
    // Whoever mends a wrong key by another template is listened to.
    let written = validate(job, &context.operator).ok();
    let written = written.filter(|it| refused.is_none_or(|refused| refused.hash != it.hash));
    let spec = written.map(|it| it.spec).or(in_force.map(|it| it.spec))?;
    let place = prefix(owner, &spec)?.to_string();
    let store = StoreCopy::of(&spec.snapshots);
    let command = |options: &[&str]| errand::delete(&place, options, &store);
    let wanted = Wanted {
        name: name(owner),
        owner: errand::owner(job),
        job: (owner.namespace.as_str(), owner.name.as_str()),
        args: command(&["--if-there", "--keep-savepoints"]),
        spec: &spec,
        checks: None,
    };
    let errand = build(&wanted, &context.operator);
    let command = command(&[]).join(" ");
    Some(Means { place, command, errand })
}

/// Where a job's snapshots lie.
pub(crate) fn prefix(owner: &Owner, spec: &JobSpec) -> Option<JobPrefix> {
    let store = spec.snapshots.store.parse().ok()?;
    JobPrefix::new(store, &owner.namespace, &owner.name).ok()
}

fn deleted_at(job: &StreamJob) -> Timestamp {
    let at = job.metadata.deletion_timestamp.as_ref();
    Timestamp(at.map_or(0, |at| at.0.as_millisecond()))
}

/// What the status says of the deletion.
fn said(job: &StreamJob) -> Option<&str> {
    let all = &job.status.as_ref()?.conditions;
    let deleting = all.iter().find(|it| it.reason == crate::crd::condition::DELETING)?;
    Some(&deleting.message)
}

async fn show(
    context: &Context,
    job: &StreamJob,
    owner: &Owner,
    (there, message): (&There, &str),
) -> Result<(), Error> {
    let sight = Sight {
        job,
        mistakes: None,
        blocked: None,
        unchecked: None,
        deleting: Some(message),
        decision: None,
        coordinator: None,
        restarts_before: restarts(job),
        workers: &there.workers,
        refusal: None,
        now: context.clock.now(),
    };
    say(context, job, owner, &status(&sight)).await
}
