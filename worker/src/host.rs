//! [`Host`]: the tasks of one run on this worker, with their snapshot in the making.
//!
//! Built by [`crate::session`] from a [`Deploy`]; invariant: a snapshot's shares are uploaded
//! together, as one object, when all of them are there.

mod reading;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_dataflow::engine::{Deployment, Engine, Event, needs_of, plan_of};
use millstream_dataflow::sink::History;
use millstream_dataflow::snapshot::{Body, Needs, Put, Share};
use millstream_dataflow::{Barrier, Error, Kind, Result, TaskInfo, Timestamp};
use millstream_protocol::error_kind::Failure;
use millstream_protocol::id::{Epoch, Run, Seq, TaskIndex, WorkerIndex};
use millstream_protocol::job::JobSpec;
use millstream_protocol::log::Lineage;
use millstream_protocol::path::{Name, PartName};
use millstream_protocol::session::{Deploy, Facts, Going, PROTOCOL_VERSION, Rates, Report};
use millstream_protocol::share::{Extent, ShareData, TaskShare};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};
use uuid::Uuid;

use self::reading::{read_parts, tell_dropped, tell_read};
use crate::config;
use crate::metrics::Metrics;
use crate::parts::Places;
use crate::rates::{Loads, rates};
use crate::runs::LogRuns;
use crate::session::Worker;

/// Counters of the tasks that run, shared with whoever shows them.
pub type Shown = Arc<Mutex<Option<Vec<TaskInfo>>>>;

/// A failure for a report that has no place for the operator: it stands in front of what happened.
pub(crate) fn failure(error: &Error) -> Failure {
    let message = match error.operator() {
        Some(operator) => format!("operator {operator}: {error}"),
        None => error.to_string(),
    };
    Failure::new(error.kind(), message)
}

/// What this worker knows of a job once it has built the program.
pub(crate) fn facts(
    worker: &Worker,
    going: Option<Going>,
    generation: u64,
    spec: &JobSpec,
) -> Report {
    let threads = worker.threads.or(spec.threads_per_worker).unwrap_or_else(config::cores);
    let total = threads.saturating_mul(spec.workers);
    let plan = worker.programs.build(spec).and_then(|job| plan_of(&job, total));
    match plan {
        Ok(plan) => Report::Facts(Box::new(Facts {
            protocol: PROTOCOL_VERSION,
            generation,
            executable: worker.executable.clone(),
            fingerprint: plan.fingerprint(),
            plan,
            threads,
            address: worker.address.clone(),
            going: going.map(Box::new),
        })),
        Err(error) => Report::Unfit { generation, failure: failure(&error) },
    }
}

/// What the host has seen of its engine.
pub(crate) enum Seen {
    Restored,
    Captured(Capture),
    Declined { epoch: Epoch, error: Error },
    SnapshotWanted,
    Ended,
    Failed(Error),
}

/// All shares of a snapshot on this worker.
pub(crate) struct Capture {
    epoch: Epoch,
    /// When its barrier came.
    begun_ns: u64,
    shares: Vec<Share>,
}

/// The tasks of one run on this worker.
pub(crate) struct Host {
    pub(crate) run: Run,
    pub(crate) engine: Engine,
    /// The history that the run continues.
    pub(crate) lineage: Lineage,
    /// What the job is in this run.
    spec: JobSpec,
    started: bool,
    /// The last barrier was a stopping one.
    stopping: bool,
    /// The highest epoch whose barrier has come.
    pub(crate) barrier: Epoch,
    /// All tasks here have ended.
    pub(crate) ended: bool,
    /// A sink has asked for a snapshot since the last barrier.
    pub(crate) wanted: bool,
    /// A task has failed, or a stream to another worker is broken: nobody can go on with these.
    pub(crate) broken: bool,
    /// What the log says of other runs.
    pub(crate) runs: Arc<LogRuns>,
    /// Commits and recoveries under way; most have ended.
    pub(crate) at_sinks: Vec<AbortHandle>,
    events: mpsc::Receiver<Event>,
    clock: Arc<SystemClock>,
    deployed_ns: u64,
    /// The snapshot in the making.
    capture: Option<Capture>,
    /// What became of the tasks' time.
    loads: Mutex<Loads>,
    metrics: Arc<Metrics>,
}

impl Host {
    pub(crate) async fn deploy(
        worker: &Worker,
        index: WorkerIndex,
        deploy: Deploy,
    ) -> Result<Self> {
        let spec = &deploy.spec;
        let clock = Arc::new(SystemClock::new());
        let deployed_ns = clock.monotonic_ns();
        let places = Places { store: &*worker.store, local: worker.local.as_ref() };
        let needs = match &deploy.restore {
            Some(from) => {
                // In a scope of its own: a program under construction does not cross threads.
                let job = worker.programs.build(spec)?;
                needs_of(&job, &deploy.threads, index, &from.manifest.plan)?
            }
            None => Needs::default(),
        };
        let (mut restore, read) = read_parts(places, deploy.restore.as_ref(), &needs).await?;
        let took = Duration::from_nanos(clock.monotonic_ns().saturating_sub(deployed_ns));
        if deploy.restore.is_some() {
            worker.metrics.restored(read.from_disk, read.from_store, took);
        }
        // Of a store on this machine there is nothing to tell.
        if let Some(from) = deploy.restore.as_ref().filter(|_| worker.local.is_some()) {
            tell_read(worker, index, from.manifest.epoch, took, &read);
        }
        restore.drop_unfit = spec.restore.allow_dropped_state;
        let (history, runs) = history(worker, &deploy);
        let base = deploy.restore.map(|restore| restore.manifest);
        let deployment = Deployment {
            run: deploy.run,
            job: worker.job.clone(),
            threads: deploy.threads,
            worker: index,
            restore,
            history,
            clock: clock.clone(),
        };
        let (engine, events) = Engine::deploy(&worker.programs.build(spec)?, deployment)?;
        // Once per job.
        if let Some(base) = base.filter(|_| index == WorkerIndex(0)) {
            tell_dropped(&worker.job, base.epoch, &engine.plan().dropped(&base.plan));
        }
        let tasks = engine.tasks().to_vec();
        *worker.metrics.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(tasks);
        worker.metrics.set_links(Some(engine.links().clone()));
        Ok(Self {
            run: deploy.run,
            engine,
            lineage: deploy.lineage,
            spec: deploy.spec,
            started: false,
            stopping: false,
            barrier: Epoch(0),
            ended: false,
            wanted: false,
            broken: false,
            runs,
            at_sinks: Vec::new(),
            events,
            clock,
            deployed_ns,
            capture: None,
            loads: Mutex::default(),
            metrics: worker.metrics.clone(),
        })
    }

    pub(crate) fn since_deploy(&self) -> Duration {
        Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(self.deployed_ns))
    }

    pub(crate) fn start(&mut self) {
        self.started = true;
        self.metrics.set_runs(true);
        self.engine.start();
    }

    /// What another coordinator must know to go on with these tasks.
    pub(crate) fn going(&self) -> Going {
        Going {
            run: self.run,
            lineage: self.lineage.clone(),
            spec: self.spec.clone(),
            plan: self.engine.plan().clone(),
            started: self.started,
            stopping: self.stopping,
        }
    }

    pub(crate) fn barrier(&mut self, epoch: Epoch, stopping: bool) {
        self.barrier = self.barrier.max(epoch);
        self.wanted = false;
        if self.capture.as_ref().is_some_and(|capture| capture.epoch >= epoch) {
            return;
        }
        self.stopping = stopping;
        let begun_ns = self.clock.monotonic_ns();
        self.capture = Some(Capture { epoch, begun_ns, shares: Vec::new() });
        self.engine.barrier(Barrier { epoch, stopping });
    }

    /// Sources emit again, behind a stopping barrier.
    pub(crate) fn go_on(&mut self) {
        self.stopping = false;
        self.engine.go_on();
    }

    pub(crate) fn abort(&mut self, epoch: Epoch) {
        self.capture.take_if(|capture| capture.epoch <= epoch);
        self.engine.abort(epoch);
    }

    /// What happens next that the session must know of.
    pub(crate) async fn next(&mut self) -> Seen {
        // Where no task here keeps anything, there is nothing to wait for.
        if self.engine.shares() == 0
            && let Some(capture) = self.capture.take()
        {
            return Seen::Captured(capture);
        }
        loop {
            let Some(event) = self.events.recv().await else {
                // Of tasks that have failed that was said.
                if self.broken {
                    return std::future::pending().await;
                }
                return Seen::Failed(Error::bug("the engine is gone"));
            };
            match event {
                Event::Restored => return Seen::Restored,
                Event::SnapshotWanted => return Seen::SnapshotWanted,
                Event::Ended => return Seen::Ended,
                Event::Failed(error) => return Seen::Failed(error),
                Event::Share(epoch, share) => {
                    let Some(capture) = self.capture.as_mut().filter(|it| it.epoch == epoch) else {
                        continue;
                    };
                    match share {
                        Err(error) => {
                            self.capture = None;
                            return Seen::Declined { epoch, error };
                        }
                        Ok(share) => capture.shares.push(share),
                    }
                    if capture.shares.len() == self.engine.shares()
                        && let Some(capture) = self.capture.take()
                    {
                        let took = self.clock.monotonic_ns().saturating_sub(capture.begun_ns);
                        self.metrics.captured(Duration::from_nanos(took));
                        return Seen::Captured(capture);
                    }
                }
            }
        }
    }

    /// Sums up the counters of the tasks.
    pub(crate) fn rates(&self) -> Rates {
        let tasks = self.engine.tasks();
        let mut rates = rates(self.run, self.engine.plan(), tasks, self.clock.now());
        let mut loads = self.loads.lock().unwrap_or_else(PoisonError::into_inner);
        rates.flow.loads = loads.look(tasks, self.clock.monotonic_ns());
        rates
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.metrics.set_runs(false);
        *self.metrics.shown.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.metrics.set_links(None);
    }
}

/// What the sinks of a run are told of the runs before it.
fn history(worker: &Worker, deploy: &Deploy) -> (History, Arc<LogRuns>) {
    // The claims behind the base are read, however old it is: that of this run is one of them.
    let base = deploy.restore.as_ref().map_or(Seq(0), |from| from.seq);
    let runs = LogRuns::behind(base, deploy.run, worker.store.clone(), worker.prefix.clone());
    let runs = Arc::new(runs);
    let history = History {
        lineage: deploy.lineage.clone(),
        sinks_ever: deploy.sinks_ever.clone(),
        runs: runs.clone(),
    };
    (history, runs)
}

impl Capture {
    /// Uploads the shares as one object.
    pub(crate) async fn upload(self, worker: &Worker, run: Run, index: WorkerIndex) -> Report {
        let (epoch, clock) = (self.epoch, SystemClock::new());
        let bytes = self.shares.iter().map(|share| share.body.len()).sum();
        let begun = clock.monotonic_ns();
        match self.try_upload(worker, run, index).await {
            Ok(shares) => {
                let took = Duration::from_nanos(clock.monotonic_ns().saturating_sub(begun));
                worker.metrics.uploaded(bytes, took);
                Report::PartUploaded { run, epoch, shares }
            }
            Err(error) => {
                worker.metrics.upload_failed();
                Report::Declined { run, epoch, reason: failure(&error).message }
            }
        }
    }

    async fn try_upload(
        self,
        worker: &Worker,
        run: Run,
        index: WorkerIndex,
    ) -> Result<Vec<TaskShare>> {
        if self.shares.is_empty() {
            return Ok(Vec::new());
        }
        let random = Uuid::new_v4().simple().to_string();
        let name =
            Name::Part(PartName { run, epoch: self.epoch, worker: index, random }).to_string();
        let mut body = Body::default();
        let mut shares = Vec::with_capacity(self.shares.len());
        for share in self.shares {
            let data = ShareData {
                object: name.clone(),
                offset: body.len(),
                length: share.body.len(),
                crc32c: share.body.checksum(),
                entries: share.entries,
            };
            body.append(share.body);
            let since = share.index.since.filter(|_| share.index.groups.is_some());
            shares.push(TaskShare {
                operator: share.index.operator.as_str().into(),
                task: TaskIndex(share.index.task),
                groups: share.index.groups,
                extent: since.map_or(Extent::Full, Extent::Since),
                data: Some(data),
                watermark: (share.index.watermark > Timestamp::MIN)
                    .then_some(share.index.watermark.0),
                pending_commit: share.facts.pending_commit,
                ended: share.facts.ended,
            });
        }
        if let Some(local) = worker.local.clone() {
            let (object, body) = (name.clone(), body.clone());
            let kept = spawn_blocking(move || local.keep(&object, &body)).await;
            kept.map_err(|error| Error::bug(error.to_string()))?;
        }
        match worker.store.create_of(&name, &body).await? {
            Put::Created => Ok(shares),
            Put::Exists => Err(Error::new(Kind::Bug, format!("{name} exists already"))),
        }
    }
}
