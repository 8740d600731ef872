//! Looks after `StreamSnapshots`: asks coordinators for savepoints, says what became of them, and
//! has those deleted that go with their object.
//!
//! Received from: the API server, and the coordinators of this process. Handed to: the status of
//! each `StreamSnapshot`. What is to be done is decided by [`crate::reconcile::savepoint`].

mod removal;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Client, ResourceExt};
use millstream_protocol::job::API_VERSION;
use serde_json::json;

use crate::crd::snapshot::{SnapshotPhase, StreamSnapshotStatus};
use crate::crd::{StreamJob, StreamSnapshot};
use crate::finalizer;
use crate::names::OPERATOR;
use crate::reconcile::savepoint::{Progress, decide};
use crate::reconcile::step::Context;
use crate::reconcile::validate;

/// How often it is looked whether one that was asked for is there: a look is in memory.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is looked whether the job runs.
const WAIT_EVERY: Duration = Duration::from_secs(2);
/// Looks at the same time.
const LOOKS_MAX: u16 = 4;

type Watched = DeserializeGuard<StreamSnapshot>;

/// What all looks need.
struct Looking {
    context: Arc<Context>,
    jobs: Store<DeserializeGuard<StreamJob>>,
}

/// Looks after those that are watched, until it is dropped.
pub(crate) async fn control(
    snapshots: Api<Watched>,
    watch: watcher::Config,
    context: Arc<Context>,
    jobs: Store<DeserializeGuard<StreamJob>>,
) {
    // A job that is not known yet would be taken for one that is gone.
    if jobs.wait_until_ready().await.is_err() {
        return;
    }
    let looking = Arc::new(Looking { context, jobs });
    Controller::new(snapshots, watch)
        .with_config(controller::Config::default().concurrency(LOOKS_MAX))
        .run(look, on_error, looking)
        .for_each(async |looked| {
            if let Err(error) = looked {
                tracing::debug!("{error}");
            }
        })
        .await;
}

fn on_error(snapshot: Arc<Watched>, error: &kube::Error, _: Arc<Looking>) -> Action {
    let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
    tracing::warn!(namespace, snapshot = name, "cannot look after a StreamSnapshot: {error}");
    Action::requeue(WAIT_EVERY)
}

async fn look(snapshot: Arc<Watched>, looking: Arc<Looking>) -> Result<Action, kube::Error> {
    let Ok(snapshot) = &snapshot.0 else { return Ok(Action::await_change()) };
    let Some(namespace) = snapshot.namespace() else { return Ok(Action::await_change()) };
    let Looking { context, jobs } = &*looking;
    let is_going = snapshot.metadata.deletion_timestamp.is_some();
    if is_going && !finalizer::is_on(snapshot) {
        return Ok(Action::await_change());
    }
    // Before anything is asked for that is to go with it.
    if !is_going && finalizer::follow(&context.client, snapshot, snapshot.spec.on_delete).await? {
        return Ok(Action::requeue(WAIT_EVERY));
    }
    let job = jobs.get(&ObjectRef::new(&snapshot.spec.job_ref.name).within(&namespace));
    let job = job.as_ref().and_then(|job| job.0.as_ref().ok());
    let job = job.filter(|job| job.metadata.deletion_timestamp.is_none());
    let owner = job.and_then(|job| validate::owner(job).ok());
    let uid = snapshot.uid().unwrap_or_default();
    let coordinators = &context.coordinators;
    let progress = owner.as_ref().and_then(|owner| coordinators.savepoint(owner, &uid));
    let decision = decide(snapshot, job, &progress.unwrap_or(Progress::Away));
    if let Some(owner) = owner.filter(|_| decision.asks) {
        coordinators.ask_savepoint(&owner, &uid);
    }
    if is_going && decision.status.phase != Some(SnapshotPhase::Running) {
        return removal::look(&looking, snapshot, decision.status).await;
    }
    write(&context.client, snapshot, &decision.status).await?;
    Ok(match decision.status.phase {
        Some(SnapshotPhase::Running) => Action::requeue(LOOK_EVERY),
        Some(SnapshotPhase::Pending) | None => Action::requeue(WAIT_EVERY),
        Some(SnapshotPhase::Completed | SnapshotPhase::Failed) => Action::await_change(),
    })
}

/// Writes a status where it is another one.
async fn write(
    client: &Client,
    snapshot: &StreamSnapshot,
    status: &StreamSnapshotStatus,
) -> Result<(), kube::Error> {
    if snapshot.status.as_ref() == Some(status) {
        return Ok(());
    }
    let (namespace, name) = (snapshot.namespace().unwrap_or_default(), snapshot.name_any());
    let api: Api<StreamSnapshot> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "apiVersion": API_VERSION,
        "kind": "StreamSnapshot",
        // One of another object of the same name is not written.
        "metadata": {"name": name, "uid": snapshot.uid()},
        "status": status,
    });
    let params = PatchParams::apply(OPERATOR).force();
    match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
        // It is gone, or another one is there.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        written => written.map(drop),
    }
}
