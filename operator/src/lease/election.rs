//! Who holds the lease, as far as one process can know.
//!
//! Received from: [`super`], the lease as the API server has it, and the time. Handed to: it, what
//! is to be written. Pure. Invariants: a process leads for [`LEADS_FOR`] from when it *asked* for
//! what was then written, and others take the lease [`LASTS`] after they have *seen* it change, by
//! their own clocks; nothing is written over what was not read.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp as Instant;
use millstream_protocol::time::Timestamp;

/// Others take a lease that has not changed for so long. As elsewhere in Kubernetes: it bridges a
/// restart of the API server.
pub(super) const LASTS: Duration = Duration::from_secs(15);
/// Who leads stops so long after it asked for the last renewal: what it has begun is over before
/// anybody else begins.
pub(super) const LEADS_FOR: Duration = Duration::from_secs(10);

/// What one process knows of the lease.
#[derive(Debug)]
pub(super) struct Election {
    namespace: String,
    name: String,
    /// By which this process is told from all others, earlier ones of its pod included.
    identity: String,
    /// The lease as it was read or written last; none where that is not known.
    known: Option<Lease>,
    /// What another one has written last, and when that was seen first.
    seen: Option<(Option<LeaseSpec>, Timestamp)>,
    /// When what this process wrote last was asked for; none while it does not lead.
    asked: Option<Timestamp>,
}

impl Election {
    pub(super) fn new(namespace: &str, name: &str, identity: String) -> Self {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Self { namespace, name, identity, known: None, seen: None, asked: None }
    }

    /// Until when this process leads.
    pub(super) fn leads_until(&self) -> Option<Timestamp> {
        self.asked.map(|asked| asked.after(LEADS_FOR))
    }

    pub(super) fn is_leader(&self, now: Timestamp) -> bool {
        self.leads_until().is_some_and(|until| now < until)
    }

    /// The time is over, where nothing was renewed in it.
    pub(super) fn step_down(&mut self, now: Timestamp) {
        if !self.is_leader(now) {
            self.asked = None;
        }
    }

    /// What a leader writes without a look at what is there: the API server looks.
    pub(super) fn renewal(&self, now: Timestamp) -> Option<Lease> {
        let known = self.known.as_ref().filter(|lease| self.is_ours(lease));
        known.filter(|_| self.asked.is_some()).map(|lease| self.written(lease, now))
    }

    /// What is to be written over what was read; none while it is another's.
    pub(super) fn on_read(&mut self, there: Option<Lease>, now: Timestamp) -> Option<Lease> {
        let Some(lease) = there else {
            (self.known, self.seen) = (None, None);
            return Some(self.written(&self.first(), now));
        };
        let holder = holder(&lease);
        if holder.is_some() && !self.is_ours(&lease) {
            self.asked = None;
            self.known = None;
            let since = match &self.seen {
                Some((spec, since)) if *spec == lease.spec => *since,
                _ => now,
            };
            self.seen = Some((lease.spec.clone(), since));
            if now.since(since) < lasts(&lease) {
                return None;
            }
        }
        Some(self.written(&lease, now))
    }

    /// It was written, and asked for at that time.
    pub(super) fn on_written(&mut self, lease: Lease, asked: Timestamp) {
        (self.known, self.seen, self.asked) = (Some(lease), None, Some(asked));
    }

    /// Another one was there first, or what was known is gone: it is to be read.
    pub(super) fn on_conflict(&mut self) {
        self.known = None;
    }

    /// What is written by one that ends: nobody needs to wait. It does not lead from here on.
    pub(super) fn release(&mut self, now: Timestamp) -> Option<Lease> {
        self.asked = None;
        let mut lease = self.known.take().filter(|lease| self.is_ours(lease))?;
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(time(now));
        Some(lease)
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == Some(self.identity.as_str())
    }

    fn first(&self) -> Lease {
        Lease {
            metadata: ObjectMeta {
                namespace: Some(self.namespace.clone()),
                name: Some(self.name.clone()),
                ..ObjectMeta::default()
            },
            spec: None,
        }
    }

    /// A lease as this process holds it. What else is on it stays, with the version that was read.
    fn written(&self, lease: &Lease, now: Timestamp) -> Lease {
        let mut lease = lease.clone();
        let is_ours = self.is_ours(&lease);
        let spec = lease.spec.get_or_insert_default();
        if !is_ours {
            let before = spec.lease_transitions;
            spec.lease_transitions = Some(before.map_or(0, |before| before.saturating_add(1)));
            spec.acquire_time = Some(time(now));
            spec.holder_identity = Some(self.identity.clone());
        }
        spec.lease_duration_seconds = Some(LASTS.as_secs() as i32);
        spec.renew_time = Some(time(now));
        lease
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref();
    holder.filter(|holder| !holder.is_empty())
}

/// As its holder has written it.
fn lasts(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or(LASTS, Duration::from_secs)
}

fn time(at: Timestamp) -> MicroTime {
    MicroTime(Instant::from_millisecond(at.0).unwrap_or_default())
}

#[cfg(test)]
mod tests;
