//! [`Commits`]: the committers of all sink tasks of a worker, by epoch.
//!
//! Sink tasks put what they prepared in ([`Register`]); whoever runs the engine tells it to commit
//! or recover. Invariant: of one task, one commit or recovery runs at a time; tasks do not wait for
//! each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_protocol::id::Epoch;
use tokio::task::JoinSet;

use super::{Committer, Recovery};
use crate::error::{Error, Result};

/// The snapshot that a run goes on from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    /// Its epoch; 0 stands for none.
    pub(crate) epoch: Epoch,
    /// Whether all its output is known to be visible.
    pub(crate) committed: bool,
}

/// The committers of a worker.
#[derive(Clone, Default)]
pub(crate) struct Commits(Arc<Mutex<Vec<Arc<dyn Erased>>>>);

impl Commits {
    pub(crate) fn add<C: Committer>(&self, operator: Arc<str>, committer: C) -> Register<C> {
        let slot = Arc::new(Slot {
            operator,
            committer,
            turn: tokio::sync::Mutex::default(),
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
        let mut running = JoinSet::new();
        for slot in self.all() {
            running.spawn(async move { slot.commit(epoch).await });
        }
        all_done(running).await
    }

    /// Recovers from a snapshot.
    pub(crate) async fn recover(&self, base: Base) -> Result<()> {
        let mut running = JoinSet::new();
        for slot in self.all() {
            running.spawn(async move { slot.recover(base).await });
        }
        all_done(running).await
    }
}

/// Waits for all; the first error ends the others, at their next wait.
async fn all_done(mut running: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = running.join_next().await {
        done.unwrap_or_else(|error| Err(Error::bug(format!("a commit did not end: {error}"))))?;
    }
    Ok(())
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
    /// A command to commit may come twice: the second waits, and then finds what is left to do.
    turn: tokio::sync::Mutex<()>,
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
    async fn recover(&self, base: Base) -> Result<()>;
}

#[async_trait]
impl<C: Committer> Erased for Slot<C> {
    async fn commit(&self, epoch: Epoch) -> Result<()> {
        let _turn = self.turn.lock().await;
        loop {
            let next = lock(&self.prepared).first_key_value().map(|(at, it)| (*at, it.clone()));
            let Some((at, pending)) = next.filter(|(at, _)| *at <= epoch) else { return Ok(()) };
            let committed = self.committer.commit(at, pending).await;
            committed.map_err(|error| at_work(error, "commit", &self.operator))?;
            lock(&self.prepared).remove(&at);
        }
    }

    async fn recover(&self, base: Base) -> Result<()> {
        let _turn = self.turn.lock().await;
        let Base { epoch, committed } = base;
        let restored = std::mem::take(&mut *lock(&self.restored));
        // What is visible already may have been taken away by its readers: no sink looks for it.
        let pending = if committed { Vec::new() } else { restored };
        let recovered = self.committer.recover(Recovery { epoch, committed, pending }).await;
        recovered.map_err(|error| at_work(error, "recover", &self.operator))
    }
}

fn at_work(error: Error, what: &str, operator: &str) -> Error {
    error.context(what).in_operator(operator)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Barrier;

    use super::*;

    /// Notes what it commits, and how many of its commits ran at once.
    #[derive(Clone)]
    struct Noting {
        meet: Option<Arc<Barrier>>,
        running: Arc<AtomicU32>,
        overlap: Arc<AtomicU32>,
        committed: Arc<Mutex<Vec<u64>>>,
    }

    impl Noting {
        fn new(meet: Option<Arc<Barrier>>) -> Self {
            Self {
                meet,
                running: Arc::default(),
                overlap: Arc::default(),
                committed: Arc::default(),
            }
        }
    }

    #[async_trait]
    impl Committer for Noting {
        type Pending = u64;

        async fn commit(&self, _: Epoch, pending: u64) -> Result<()> {
            let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
            self.overlap.fetch_max(running, Ordering::SeqCst);
            if let Some(meet) = &self.meet {
                meet.wait().await;
            }
            tokio::task::yield_now().await;
            lock(&self.committed).push(pending);
            self.running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }

        async fn recover(&self, _: Recovery<u64>) -> Result<()> {
            Ok(())
        }
    }

    fn run(work: impl Future<Output = Result<()>>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(work).unwrap();
    }

    #[test]
    fn a_commit_that_is_asked_for_twice_is_made_once() {
        let (commits, noting) = (Commits::default(), Noting::new(None));
        let register = commits.add("out".into(), noting.clone());
        for epoch in 1..=3 {
            register.prepared(Epoch(epoch), epoch);
        }
        run(async {
            let (one, two) = tokio::join!(commits.commit(Epoch(2)), commits.commit(Epoch(2)));
            one.and(two)
        });
        assert_eq!(*lock(&noting.committed), [1, 2]);
        assert_eq!(noting.overlap.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn no_task_waits_for_the_commit_of_another() {
        let commits = Commits::default();
        let meet = Arc::new(Barrier::new(2));
        for task in 0..2 {
            let noting = Noting::new(Some(meet.clone()));
            commits.add("out".into(), noting).prepared(Epoch(1), task);
        }
        // Each waits until both are at work.
        run(commits.commit(Epoch(1)));
    }
}
