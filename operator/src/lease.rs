//! The lease by which one of several operators works.
//!
//! Received from: the API server, a `Lease`. Handed to: [`crate::serve()`], whose work begins when
//! this process gets the lease and is over before others may get it. Invariant: work runs only
//! while [`Election`] says that this process leads.
//!
//! One that has lost the lease goes back to waiting, in the same process: all that works hangs on
//! one set of tasks, which is ended whole. Were it to end instead, the kubelet would start it again
//! after longer and longer pauses while the API server is away.

mod election;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, PostParams};
use millstream_coordinator::driver::{Clock, WallClock};
use millstream_protocol::time::Timestamp;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::election::Election;
use crate::metrics::Metrics;

/// Between two looks at the lease, by who leads and by who waits. As elsewhere in Kubernetes.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the API server may take to answer: a renewal that it does not answer is tried again in
/// time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(4);
/// How long work may take to end. It waits for nothing, so that this is long; and it is less than
/// is between the end of the lead and that of the lease.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A lease, and this process as one that wants it.
pub(crate) struct Candidate {
    leases: Api<Lease>,
    name: String,
    election: Election,
    identity: String,
    metrics: Arc<Metrics>,
    clock: WallClock,
    /// When it looks at the lease.
    next: Timestamp,
}

impl Candidate {
    /// One that wants the lease of this name. Its identity is that of no other process.
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: String,
        metrics: Arc<Metrics>,
    ) -> Self {
        let election = Election::new(namespace, name, identity.clone());
        let clock = WallClock::new();
        let leases = Api::namespaced(client, namespace);
        Self {
            leases,
            name: name.to_owned(),
            election,
            identity,
            metrics,
            clock,
            next: clock.now(),
        }
    }

    /// Works while the lease is held, until the end; then lets go of it.
    ///
    /// # Errors
    /// Where the work ends by itself, or does not end in time: then the process must.
    pub(crate) async fn run(
        mut self,
        mut work: impl FnMut() -> JoinSet<()>,
        end: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        tracing::info!(identity = self.identity, "waits for the lease");
        let mut tasks = None;
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                () = ended(&mut tasks) => anyhow::bail!("a part of the operator has ended"),
                () = self.turn() => {}
            }
            let is_leader = self.election.is_leader(self.clock.now());
            if is_leader && tasks.is_none() {
                tracing::info!(identity = self.identity, "leads");
                tasks = Some(work());
                self.metrics.set_leads(true);
            } else if !is_leader && let Some(tasks) = tasks.take() {
                tracing::warn!(identity = self.identity, "has lost the lease; jobs run on");
                stop(tasks).await?;
                self.metrics.set_leads(false);
            }
        }
        if let Some(tasks) = tasks.take() {
            stop(tasks).await?;
        }
        self.release().await;
        Ok(())
    }

    /// Waits for its time, then tries to get or to keep the lease. Returns at once where the lead
    /// is over.
    async fn turn(&mut self) {
        let was_leader = self.election.leads_until().is_some();
        self.clock.sleep_until(self.next).await;
        let now = self.clock.now();
        self.election.step_down(now);
        let until = self.election.leads_until();
        if was_leader && until.is_none() {
            return;
        }
        let patience = until.map_or(ANSWER_TIMEOUT, |until| until.since(now).min(ANSWER_TIMEOUT));
        match timeout(patience, self.attempt()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the lease: {error}"),
            Err(_) => tracing::warn!("the lease: the API server does not answer"),
        }
        let next = now.after(LOOK_EVERY);
        self.next = self.election.leads_until().map_or(next, |until| until.min(next));
    }

    /// Another one may write at the same time: then it is read what it wrote.
    async fn attempt(&mut self) -> Result<(), kube::Error> {
        for _ in 0..2 {
            let Some(lease) = self.wanted().await? else { return Ok(()) };
            let asked = self.clock.now();
            match self.write(&lease).await {
                Ok(lease) => {
                    self.election.on_written(lease, asked);
                    return Ok(());
                }
                Err(error) if is_conflict(&error) => self.election.on_conflict(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is to be written; none while the lease is another's.
    async fn wanted(&mut self) -> Result<Option<Lease>, kube::Error> {
        let renewal = self.election.renewal(self.clock.now());
        if renewal.is_some() {
            return Ok(renewal);
        }
        let there = self.leases.get_opt(&self.name).await?;
        Ok(self.election.on_read(there, self.clock.now()))
    }

    /// The version on a lease is what it must have in the API server; one without is new there.
    async fn write(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let params = PostParams::default();
        match lease.metadata.resource_version {
            Some(_) => self.leases.replace(&self.name, &params, lease).await,
            None => self.leases.create(&params, lease).await,
        }
    }

    /// Where that comes to nothing, others wait until the lease is over.
    async fn release(&mut self) {
        let Some(lease) = self.election.release(self.clock.now()) else { return };
        match timeout(ANSWER_TIMEOUT, self.write(&lease)).await {
            Ok(Ok(_)) => tracing::info!(identity = self.identity, "has released the lease"),
            Ok(Err(error)) => tracing::warn!("the lease cannot be released: {error}"),
            Err(_) => tracing::warn!("the lease cannot be released: no answer"),
        }
    }
}

/// Another version is there, or none, or one where none should be.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(answer) if matches!(answer.code, 404 | 409))
}

/// A part of the work has ended by itself.
async fn ended(tasks: &mut Option<JoinSet<()>>) {
    match tasks {
        Some(tasks) => drop(tasks.join_next().await),
        None => std::future::pending().await,
    }
}

async fn stop(mut tasks: JoinSet<()>) -> anyhow::Result<()> {
    let stopped = timeout(STOP_TIMEOUT, tasks.shutdown()).await;
    stopped.context("what worked under the lease does not end: the process does")
}
