//! The coordinators of this process: one for each job that is at work.
//!
//! Received from: [`crate::reconcile`], which says when one starts, what it is asked, and where the
//! job's workers are. Handed to: the workers, by sessions; and back to reconcile, whenever what it
//! shows has changed. Invariants: a job has one coordinator at most; when it is dropped, its
//! sessions end and nothing else; the log fences one of another process.

mod kept;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::runtime::reflector::ObjectRef;
use millstream_coordinator::config::Config;
use millstream_coordinator::driver::Request;
use millstream_coordinator::edit::Edit;
use millstream_coordinator::machine::StopMode;
use millstream_protocol::id::Seq;
use tokio::sync::mpsc;

use self::kept::{Kept, Told};
use crate::crd::StreamJob;
use crate::metrics::Metrics;
use crate::reconcile::accepted::Accepted;
use crate::reconcile::decide::Seen;
use crate::reconcile::pods::Worker;
use crate::reconcile::savepoint::{Parting, Progress};
use crate::reconcile::validate::Owner;

/// A job is named by its namespace and its name.
type Key = (String, String);

/// The coordinators of a set of jobs.
#[derive(Debug)]
pub(crate) struct Coordinators {
    kept: Mutex<HashMap<Key, Kept>>,
    changed: mpsc::Sender<Owner>,
    metrics: Arc<Metrics>,
}

/// Coordinators, and the jobs whose coordinator shows something new.
pub(crate) fn coordinators(metrics: Arc<Metrics>) -> (Coordinators, mpsc::Receiver<Owner>) {
    let (changed, changes) = mpsc::channel(CHANGES_MAX);
    (Coordinators { kept: Mutex::default(), changed, metrics }, changes)
}

/// Changes that may wait to be looked at; behind that those who watch coordinators wait.
const CHANGES_MAX: usize = 256;

/// How to name a job to the controller.
pub(crate) fn reference<K>(owner: &Owner) -> ObjectRef<K>
where
    K: kube::Resource<DynamicType = ()>,
{
    ObjectRef::new(&owner.name).within(&owner.namespace)
}

impl Coordinators {
    fn with<T>(&self, owner: &Owner, act: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_mut(&key(owner)).filter(|kept| kept.owner.uid == owner.uid)?;
        Some(act(kept))
    }

    /// What is seen of a job's coordinator, if it has one, and its restarts before that began.
    pub(crate) fn seen(&self, owner: &Owner) -> Option<(Seen, i64)> {
        self.with(owner, |kept| (kept.seen(), kept.restarts_before))
    }

    /// Starts a coordinator, in place of the one that was there. To be called within a runtime.
    pub(crate) fn start(
        &self,
        owner: &Owner,
        accepted: &Accepted,
        config: Config,
        restarts_before: i64,
    ) {
        let told = Told { changed: self.changed.clone(), present: self.metrics.coordinator() };
        let next = Kept::start(owner.clone(), accepted.clone(), config, restarts_before, told);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(key(owner), next);
    }

    /// Ends a job's coordinator. Its tasks run on.
    pub(crate) fn remove(&self, owner: &Owner) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&key(owner));
    }

    /// Ends the coordinators of jobs that are not there any more.
    pub(crate) fn sweep(&self, job: impl Fn(&ObjectRef<StreamJob>) -> Option<String>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, kept| job(&reference(&kept.owner)).as_ref() == Some(&kept.owner.uid));
    }

    /// Tells a job's coordinator where the workers are.
    pub(crate) fn locate(&self, owner: &Owner, workers: &[Worker]) {
        self.with(owner, |kept| kept.locate(workers));
    }

    /// Asks a job's coordinator to stop the job after a snapshot.
    pub(crate) fn stop(&self, owner: &Owner) {
        self.with(owner, |kept| {
            kept.is_stopping = kept.ask(Request::Stop(StopMode::AfterSnapshot));
        });
    }

    /// How far the savepoint is that the object of this UID asks for.
    pub(crate) fn savepoint(&self, owner: &Owner, uid: &str) -> Option<Progress> {
        self.with(owner, |kept| kept.savepoint(uid))
    }

    /// Asks a job's coordinator for a savepoint, for the object of this UID.
    pub(crate) fn ask_savepoint(&self, owner: &Owner, uid: &str) {
        self.with(owner, |kept| kept.ask_savepoint(uid));
    }

    /// Asks a job's coordinator to delete the savepoint in this slot, and how far it is; none where
    /// it is not at work.
    pub(crate) fn let_go(&self, owner: &Owner, seq: Seq) -> Option<Parting> {
        self.with(owner, |kept| kept.let_go(seq)).flatten()
    }

    /// Asks a job's coordinator to put a spec in force.
    pub(crate) fn edit(&self, owner: &Owner, accepted: &Accepted, config: Config) {
        let Config { spec, wish, generation, .. } = config;
        let edit = Edit { generation, spec, wish };
        self.with(owner, |kept| {
            if kept.ask(Request::Edit(Box::new(edit))) {
                kept.tell(accepted.clone());
            }
        });
    }
}

fn key(owner: &Owner) -> Key {
    (owner.namespace.clone(), owner.name.clone())
}
