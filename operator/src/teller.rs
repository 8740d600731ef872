//! Events on jobs and savepoints: what is told, and what was told before.
//!
//! Received from: [`crate::reconcile`], each status that is written. Handed to: the API server, as
//! events. Invariant: an event that cannot be told is left out, and hinders nothing.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use millstream_protocol::time::Timestamp;

use crate::crd::{StreamJob, StreamJobStatus};
use crate::names::OPERATOR;
use crate::reconcile::events::{Told, events};
use crate::reconcile::validate::Owner;

/// Tells of jobs.
pub(crate) struct Teller {
    client: Client,
    reporter: Reporter,
    recorder: Mutex<Kept>,
    /// The status of a job that was told of last, by its UID.
    told: Mutex<HashMap<String, StreamJobStatus>>,
}

/// What folds events that are repeated into one, and since when it keeps them in mind.
struct Kept {
    recorder: Recorder,
    since: Option<Timestamp>,
}

/// How long events are folded. What the recorder keeps in mind of each is 2 kB, and it never gives
/// back what it once had room for.
const FOLDED_FOR: Duration = Duration::from_mins(10);

impl Teller {
    /// One that tells in the name of the operator's pod.
    pub(crate) fn new(client: Client, pod: Option<String>) -> Self {
        let reporter = Reporter { controller: OPERATOR.to_owned(), instance: pod };
        let recorder = Recorder::new(client.clone(), reporter.clone());
        let recorder = Mutex::new(Kept { recorder, since: None });
        Self { client, reporter, recorder, told: Mutex::default() }
    }

    /// Tells what is new in a status. The first one that this process sees is compared with the
    /// one that was there.
    pub(crate) async fn tell(&self, job: &StreamJob, owner: &Owner, now: &StreamJobStatus) {
        let before = self.with(|told| told.insert(owner.uid.clone(), now.clone()));
        let before = before.or_else(|| job.status.clone()).unwrap_or_default();
        for told in events(&before, now) {
            self.say(job, &told).await;
        }
    }

    /// Tells of an object what stands in no status.
    pub(crate) async fn say<K>(&self, object: &K, told: &Told)
    where
        K: Resource<DynamicType = ()>,
    {
        let type_ = if told.is_warning { EventType::Warning } else { EventType::Normal };
        let event = Event {
            type_,
            reason: told.reason.clone(),
            note: Some(told.note.clone()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        let recorder = self.recorder().recorder.clone();
        if let Err(error) = recorder.publish(&event, &about(object)).await {
            let (name, namespace) = (object.name_any(), object.namespace());
            tracing::warn!(namespace, name, reason = event.reason, "an event is lost: {error}");
        }
    }

    /// Forgets the events that were told long ago.
    pub(crate) fn forget_old(&self, now: Timestamp) {
        let mut kept = self.recorder();
        let since = *kept.since.get_or_insert(now);
        if now.since(since) >= FOLDED_FOR {
            let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            *kept = Kept { recorder, since: Some(now) };
        }
    }

    fn recorder(&self) -> MutexGuard<'_, Kept> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the jobs of which none of these is the UID.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.with(|told| told.retain(|uid, _| is_there(uid)));
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, StreamJobStatus>) -> T) -> T {
        act(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Without a version, with which no event would be folded into the one before.
fn about<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    ObjectReference { resource_version: None, ..object.object_ref(&()) }
}
