//! Snapshots that a user asks for, and that retention leaves alone.
//!
//! Received from: the machine, as [`Event::Savepoint`](crate::machine::Event::Savepoint). Handed
//! to: the snapshot that is begun next, and to the status. Invariant: each request is answered,
//! once.

use millstream_protocol::error_kind::{ErrorKind, Failure};

use crate::context::Context;
use crate::snapshot::Purpose;
use crate::status::{Savepoint, SnapshotStatus};

/// So many snapshots are tried for a savepoint.
const ATTEMPTS_MAX: u32 = 3;

/// A savepoint that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) request: u64,
    attempts: u32,
}

impl Wanted {
    /// Nothing was tried for it: it does not wait for the next snapshot that is due.
    pub(crate) fn is_new(self) -> bool {
        self.attempts == 0
    }
}

impl Context {
    /// The snapshot that begins next is for this request as well as for those before it.
    pub(crate) fn want(&mut self, request: u64) {
        let last = self.status.last_savepoint.as_ref().map_or(0, |last| last.request);
        let wanted = self.savepoint.map_or(0, |wanted| wanted.request);
        if request > last.max(wanted) {
            self.savepoint = Some(Wanted { request, attempts: 0 });
        }
    }

    /// The request that the last snapshot of a job that stops answers, also one that came after it
    /// was begun: nothing is read behind it.
    pub(crate) fn savepoint_at(&self, purpose: Purpose) -> Option<u64> {
        let is_last = match purpose {
            Purpose::Periodic => false,
            Purpose::Edit | Purpose::Drain => self.stop.is_some(),
            Purpose::Suspend | Purpose::Final => true,
        };
        self.savepoint.filter(|_| is_last).map(|wanted| wanted.request)
    }

    /// The snapshot that was begun for a request is there.
    pub(crate) fn saved(&mut self, request: u64, snapshot: SnapshotStatus) {
        self.savepoint.take_if(|wanted| wanted.request <= request);
        self.status.last_savepoint = Some(Savepoint { request, result: Ok(snapshot) });
    }

    /// It is not: the next one is tried for it, or that is given up.
    pub(crate) fn not_saved(&mut self, request: u64, reason: &str) {
        let Some(wanted) = &mut self.savepoint else { return };
        if wanted.request == request {
            wanted.attempts += 1;
            if wanted.attempts >= ATTEMPTS_MAX {
                self.give_savepoint_up(reason);
            }
        }
    }

    pub(crate) fn give_savepoint_up(&mut self, reason: &str) {
        if let Some(Wanted { request, .. }) = self.savepoint.take() {
            let message = format!("no savepoint was taken: {reason}");
            let result = Err(Failure::new(ErrorKind::Unavailable, message));
            self.status.last_savepoint = Some(Savepoint { request, result });
        }
    }
}
