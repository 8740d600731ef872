//! Events on jobs: what is told, and what was told before.
//!
//! Received from: [`crate::reconcile`], each status that is written. Handed to: the API server, as
//! events. Invariant: an event that cannot be told is left out, and hinders nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use millstream_protocol::job::{API_VERSION, KIND};

use crate::crd::{StreamJob, StreamJobStatus};
use crate::names::OPERATOR;
use crate::reconcile::events::events;
use crate::reconcile::validate::Owner;

/// Tells of jobs.
pub(crate) struct Teller {
    recorder: Recorder,
    /// The status of a job that was told of last, by its UID.
    told: Mutex<HashMap<String, StreamJobStatus>>,
}

impl Teller {
    /// One that tells in the name of the operator's pod.
    pub(crate) fn new(client: Client, pod: Option<String>) -> Self {
        let reporter = Reporter { controller: OPERATOR.to_owned(), instance: pod };
        Self { recorder: Recorder::new(client, reporter), told: Mutex::default() }
    }

    /// Tells what is new in a status. The first one that this process sees is compared with the
    /// one that was there.
    pub(crate) async fn tell(&self, job: &StreamJob, owner: &Owner, now: &StreamJobStatus) {
        let before = self.with(|told| told.insert(owner.uid.clone(), now.clone()));
        let before = before.or_else(|| job.status.clone()).unwrap_or_default();
        let about = about(owner);
        for told in events(&before, now) {
            let type_ = if told.is_warning { EventType::Warning } else { EventType::Normal };
            let event = Event {
                type_,
                reason: told.reason,
                note: Some(told.note),
                action: "Reconcile".to_owned(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &about).await {
                let (job, namespace) = (&owner.name, &owner.namespace);
                tracing::warn!(namespace, job, reason = event.reason, "an event is lost: {error}");
            }
        }
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
fn about(owner: &Owner) -> ObjectReference {
    ObjectReference {
        api_version: Some(API_VERSION.to_owned()),
        kind: Some(KIND.to_owned()),
        namespace: Some(owner.namespace.clone()),
        name: Some(owner.name.clone()),
        uid: Some(owner.uid.clone()),
        ..ObjectReference::default()
    }
}
