//! A `StreamSnapshot` that is being deleted, and whose savepoint goes with it.
//!
//! Received from: [`super`]. Where its job runs, the job's coordinator deletes the savepoint; where
//! no worker can, an [`errand`] does. Handed to: the API server. Invariants: what a start of the
//! job may need stays; one that stays is told of.

use kube::ResourceExt;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use millstream_coordinator::driver::Clock as _;
use millstream_protocol::id::Seq;
use millstream_protocol::job::{JobSpec, OnDelete};
use millstream_protocol::path::JobPrefix;
use millstream_protocol::time::Timestamp;

use super::{Looking, WAIT_EVERY, write};
use crate::crd::StreamSnapshot;
use crate::crd::snapshot::{StoreCopy, StreamSnapshotStatus};
use crate::crd::status::Phase;
use crate::finalizer;
use crate::reconcile::build::errand::{Errand as Wanted, build};
use crate::reconcile::deletion::{prefix, workers};
use crate::reconcile::errand::{self, Begun, Came};
use crate::reconcile::events::{SNAPSHOTS_LEFT_BEHIND, SNAPSHOTS_NOT_DELETED, tell};
use crate::reconcile::removal::{Facts, decide};
use crate::reconcile::savepoint::Parting;
use crate::reconcile::validate;

/// Who can delete a savepoint.
#[derive(Clone, Debug, PartialEq)]
enum Way {
    /// The job's coordinator, which is so far.
    Coordinator(Parting),
    /// Nobody, until something has come about.
    Later(String),
    /// An errand: no task of the job runs.
    Errand,
    /// An errand, once no pod of the job is there: the job is gone.
    Gone,
}

/// One look at a savepoint that is being deleted.
pub(super) async fn look(
    looking: &Looking,
    snapshot: &StreamSnapshot,
    mut status: StreamSnapshotStatus,
) -> Result<Action, kube::Error> {
    let client = &looking.context.client;
    let address = status.uri.clone().unwrap_or_default();
    let named = JobPrefix::parse_snapshot_uri(&address).ok();
    let named = named.filter(|_| snapshot.spec.on_delete == OnDelete::Delete);
    let Some((place, seq)) = named else {
        // There is nothing that could go with it.
        finalizer::take_off(client, snapshot).await?;
        return Ok(Action::await_change());
    };
    let way = way(looking, snapshot, (&place, seq));
    let came = match &way {
        Way::Coordinator(Parting::Gone) => Came::Over,
        way => go(looking, snapshot, &status, (way, &place)).await?,
    };
    let message = match came {
        Came::Waits(message) => message,
        Came::Failed(message) => {
            let told = tell(true, SNAPSHOTS_NOT_DELETED, &*message);
            looking.context.teller.say(snapshot, &told).await;
            message
        }
        Came::LeftBehind(why) => {
            let store = spec(looking, snapshot, &status).snapshots;
            let command = errand::delete(&address, &[], &StoreCopy::of(&store)).join(" ");
            let note = format!(
                "the savepoint stays in {address}, {why}: delete it by `millstream-worker \
                 {command}`"
            );
            tracing::warn!(snapshot = snapshot.name_any(), "{note}");
            looking.context.teller.say(snapshot, &tell(true, SNAPSHOTS_LEFT_BEHIND, note)).await;
            finalizer::take_off(client, snapshot).await?;
            return Ok(Action::await_change());
        }
        Came::Over => {
            finalizer::take_off(client, snapshot).await?;
            return Ok(Action::await_change());
        }
    };
    status.message = Some(format!("is being deleted: {message}"));
    write(client, snapshot, &status).await?;
    Ok(Action::requeue(WAIT_EVERY))
}

/// Takes a step on this way.
async fn go(
    looking: &Looking,
    snapshot: &StreamSnapshot,
    status: &StreamSnapshotStatus,
    (way, place): (&Way, &JobPrefix),
) -> Result<Came, kube::Error> {
    let client = &looking.context.client;
    let namespace = snapshot.namespace().unwrap_or_default();
    let uid = snapshot.uid().unwrap_or_default();
    let name = format!("snapshot-{uid}");
    let waits = match way {
        Way::Coordinator(Parting::Stays(why)) => Some(why.clone()),
        Way::Coordinator(_) => Some("the job deletes it between two snapshots".to_owned()),
        Way::Later(what) => Some(what.clone()),
        Way::Errand => None,
        Way::Gone => {
            let pods = workers(client, &namespace, place.job()).await?;
            (!pods.is_empty()).then(|| "waits until the pods of the job have ended".to_owned())
        }
    };
    let spec = spec(looking, snapshot, status);
    let options: &[&str] =
        if *way == Way::Gone { &["--if-there", "--job-is-gone"] } else { &["--if-there"] };
    let address = status.uri.as_deref().unwrap_or_default();
    let wanted = Wanted {
        name: name.clone(),
        owner: errand::owner(snapshot),
        job: (namespace.as_str(), place.job()),
        args: errand::delete(address, options, &StoreCopy::of(&spec.snapshots)),
        spec: &spec,
        checks: None,
    };
    let made = build(&wanted, &looking.context.operator);
    let seen = errand::see(client, &namespace, &name, &uid).await?;
    let trial = match (&waits, way) {
        (Some(_), Way::Later(_) | Way::Gone) => errand::can_begin(client, &made).await?,
        _ => Begun::Yes,
    };
    let at = snapshot.metadata.deletion_timestamp.as_ref();
    let step = decide(&Facts {
        since: Timestamp(at.map_or(0, |at| at.0.as_millisecond())),
        now: looking.context.clock.now(),
        waits: waits.as_deref(),
        errand: &seen.errand,
        namespace_ends: trial == Begun::NamespaceEnds,
        said: status.message.as_deref(),
    });
    errand::follow(client, &made, &seen, step).await
}

/// Who can delete a savepoint that lies there.
fn way(looking: &Looking, snapshot: &StreamSnapshot, (place, seq): (&JobPrefix, Seq)) -> Way {
    let name = &snapshot.spec.job_ref.name;
    let namespace = snapshot.namespace().unwrap_or_default();
    let job = looking.jobs.get(&ObjectRef::new(name).within(&namespace));
    let Some(job) = job else { return Way::Gone };
    let Ok(job) = &job.0 else {
        return Way::Later(format!("waits until the StreamJob {name} can be read"));
    };
    if job.metadata.deletion_timestamp.is_some() {
        return Way::Later(format!("waits until the StreamJob {name} is gone"));
    }
    let owner = validate::owner(job).ok();
    let is_of = |owner: &validate::Owner| prefix(owner, &job.spec.job).as_ref() == Some(place);
    let Some(owner) = owner.filter(is_of) else {
        // Its job is gone, and another one of its name has another store.
        return Way::Errand;
    };
    if let Some(parting) = looking.context.coordinators.let_go(&owner, seq) {
        return Way::Coordinator(parting);
    }
    match job.status.as_ref().and_then(|it| it.phase) {
        Some(Phase::Suspended | Phase::Finished | Phase::Failed) => Way::Errand,
        phase => {
            let is = phase.map(|it| format!(": it is {it:?}")).unwrap_or_default();
            Way::Later(format!("waits until the StreamJob {name} runs, or is suspended{is}"))
        }
    }
}

/// What the errand's pod is made of: the job's spec while it is there, else what was kept of it.
fn spec(looking: &Looking, snapshot: &StreamSnapshot, status: &StreamSnapshotStatus) -> JobSpec {
    let namespace = snapshot.namespace().unwrap_or_default();
    let job = looking.jobs.get(&ObjectRef::new(&snapshot.spec.job_ref.name).within(&namespace));
    let job = job.as_ref().and_then(|job| job.0.as_ref().ok()).map(|job| &job.spec.job);
    let store = |spec: &JobSpec| Some(StoreCopy::of(&spec.snapshots)) == status.store;
    let mut spec = match job.filter(|spec| store(spec)) {
        Some(spec) => spec.clone(),
        None => kept(status),
    };
    spec.image = spec.image.or_else(|| looking.context.operator.worker_image.clone());
    spec
}

fn kept(status: &StreamSnapshotStatus) -> JobSpec {
    let mut spec = JobSpec {
        image: status.image.clone(),
        pod_template: status.pod_template.clone(),
        ..JobSpec::default()
    };
    if let Some(StoreCopy { store, endpoint, region, path_style }) = status.store.clone() {
        spec.snapshots.store = store;
        spec.snapshots.endpoint = endpoint;
        spec.snapshots.region = region;
        spec.snapshots.path_style = path_style;
    }
    spec
}
