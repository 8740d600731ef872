//! [`Commits`]: the committers of all sink tasks of a worker, by epoch.
//!
//! Sink tasks put what they prepared in ([`Register`]); whoever runs the engine tells it to commit
//! or recover.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_protocol::id::Epoch;

use super::Committer;
use crate::error::{Error, Result};

/// The committers of a worker.
#[derive(Clone, Default)]
pub(crate) struct Commits(Arc<Mutex<Vec<Arc<dyn Erased>>>>);

impl Commits {
    pub(crate) fn add<C: Committer>(&self, operator: Arc<str>, committer: C) -> Register<C> {
        let slot = Arc::new(Slot {
            operator,
            committer,
            prepared: Mutex::default(),
            restored: Mutex::default(),
        });
        lock(&self.0).push(slot.clone());
        Register(slot)
    }

    fn all(&self) -> Vec<Arc<dyn Erased>> {
        lock(&self.0).clone()
    }

    /// Makes the output of this epoch, and of earlier ones, visible.
    pub(crate) async fn commit(&self, epoch: Epoch) -> Result<()> {
        for slot in self.all() {
            slot.commit(epoch).await?;
        }
        Ok(())
    }

    /// Drops what the snapshot held as pending: it is visible.
    pub(crate) fn forget_restored(&self) {
        self.all().iter().for_each(|slot| slot.forget_restored());
    }

    /// Recovers from the snapshot of this epoch; epoch 0 stands for none.
    pub(crate) async fn recover(&self, epoch: Epoch) -> Result<()> {
        for slot in self.all() {
            slot.recover(epoch).await?;
        }
        Ok(())
    }
}

/// Where one sink task puts what it has prepared.
pub(crate) struct Register<C: Committer>(Arc<Slot<C>>);

impl<C: Committer> Register<C> {
    /// Keeps the pending output of an epoch until its snapshot is published.
    pub(crate) fn prepared(&self, epoch: Epoch, pending: C::Pending) {
        lock(&self.0.prepared).insert(epoch, pending);
    }

    /// Keeps what a snapshot held until recovery.
    pub(crate) fn restored(&self, pending: Vec<C::Pending>) {
        lock(&self.0.restored).extend(pending);
    }

    /// What was prepared and not committed yet, older before newer.
    pub(crate) fn uncommitted(&self) -> Vec<C::Pending> {
        lock(&self.0.prepared).values().cloned().collect()
    }
}

struct Slot<C: Committer> {
    operator: Arc<str>,
    committer: C,
    prepared: Mutex<BTreeMap<Epoch, C::Pending>>,
    restored: Mutex<Vec<C::Pending>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panic while the lock was held left no half-made change: each holder does one insertion or
    // removal.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
trait Erased: Send + Sync {
    async fn commit(&self, epoch: Epoch) -> Result<()>;
    async fn recover(&self, epoch: Epoch) -> Result<()>;
    fn forget_restored(&self);
}

#[async_trait]
impl<C: Committer> Erased for Slot<C> {
    async fn commit(&self, epoch: Epoch) -> Result<()> {
        loop {
            let next = lock(&self.prepared).first_key_value().map(|(at, it)| (*at, it.clone()));
            let Some((at, pending)) = next.filter(|(at, _)| *at <= epoch) else { return Ok(()) };
            let committed = self.committer.commit(at, pending).await;
            committed.map_err(|error| at_work(error, "commit", &self.operator))?;
            lock(&self.prepared).remove(&at);
        }
    }

    async fn recover(&self, epoch: Epoch) -> Result<()> {
        let pending = std::mem::take(&mut *lock(&self.restored));
        let recovered = self.committer.recover(epoch, pending).await;
        recovered.map_err(|error| at_work(error, "recover", &self.operator))
    }

    fn forget_restored(&self) {
        lock(&self.restored).clear();
    }
}

fn at_work(error: Error, what: &str, operator: &str) -> Error {
    error.context(what).in_operator(operator)
}
