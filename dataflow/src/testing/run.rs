//! [`Harness`]: runs a piece of dataflow on scripted elements.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use millstream_protocol::id::{Epoch, Run, TaskIndex, WorkerIndex};
use millstream_protocol::key_group::KeyGroupRange;
use millstream_protocol::plan::Plan;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::script::{self, Element};
use crate::clock::{Clock, ManualClock};
use crate::connector::collect::Collect;
use crate::data::Data;
use crate::engine::{Deployment, Engine, Event, needs_of};
use crate::error::{Error, Result};
use crate::sink::History;
use crate::snapshot::{Needs, Restore, RestoredPart, Share};
use crate::state::Backend;
use crate::stream::{Job, JobSettings, Stream};
use crate::task::Barrier;
use crate::time::Timestamp;

/// How long the harness waits for the engine before it calls it stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a piece of dataflow on scripted elements, with a restore at each snapshot in the script.
///
/// ```
/// # use millstream_dataflow::{testing::{Element, Harness}, Timestamp};
/// let out = Harness::new()
///     .run(vec![Element::Record(1, Timestamp(5))], |numbers, _| numbers.map(|n| n * 2))
///     .unwrap();
/// assert_eq!(out, [(2, Timestamp(5))]);
/// ```
#[derive(Clone)]
pub struct Harness {
    /// The engine threads of each worker in each life, in turn: a restore goes on with the next.
    threads: Vec<Vec<u32>>,
    restore: bool,
    clock: Arc<ManualClock>,
    settings: JobSettings,
}

/// What came out: records with their event times.
pub type Output<U> = Vec<(U, Timestamp)>;

impl Default for Harness {
    fn default() -> Self {
        Self::new()
    }
}

impl Harness {
    /// One thread, a restore at each snapshot.
    pub fn new() -> Self {
        Self {
            threads: vec![vec![1]],
            restore: true,
            clock: Arc::default(),
            settings: JobSettings::default(),
        }
    }

    /// So many engine threads in the first life, in the second, and so on in turn.
    #[must_use]
    pub fn threads(self, threads: &[u32]) -> Self {
        Self { threads: threads.iter().map(|&threads| vec![threads]).collect(), ..self }
    }

    /// So many workers of so many engine threads each in the first life, in the second, and so on
    /// in turn: what they send each other is encoded as between processes.
    #[must_use]
    pub fn workers(self, threads: &[&[u32]]) -> Self {
        Self { threads: threads.iter().map(|threads| threads.to_vec()).collect(), ..self }
    }

    /// Takes the snapshots in the script, but goes on without restoring.
    #[must_use]
    pub fn without_restore(self) -> Self {
        Self { restore: false, ..self }
    }

    /// With its keyed state in this backend.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.settings.backend = backend;
        self
    }

    /// The clock that the engine reads: processing time stands still until the test moves it.
    pub fn clock(&self) -> Arc<ManualClock> {
        self.clock.clone()
    }

    /// Plays the elements through what `build` puts behind them; returns what came out of it.
    ///
    /// `build` is called once per life, and is given the job for whoever wants further sources.
    pub fn run<T: Data + PartialEq, U: Data>(
        &self,
        elements: Vec<Element<T>>,
        build: impl Fn(&Stream<T>, &mut Job) -> Stream<U>,
    ) -> Result<Output<U>> {
        let out = Collect::default();
        let snapshots = elements.iter().filter(|element| **element == Element::Snapshot).count();
        let make = || {
            let mut job = Job::new(self.settings.clone());
            let stream = script::source(&mut job, "script", elements.clone());
            build(&stream, &mut job).sink("shown", out.clone());
            job
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(self.live(make, snapshots))?;
        Ok(out.timed())
    }

    /// Plays two scripts, for operators of two inputs. Snapshots in both count together, one for
    /// one.
    pub fn run_two<A: Data + PartialEq, B: Data + PartialEq, U: Data>(
        &self,
        left: Vec<Element<A>>,
        right: Vec<Element<B>>,
        build: impl Fn(&Stream<A>, &Stream<B>) -> Stream<U>,
    ) -> Result<Output<U>> {
        let right = std::rc::Rc::new(right);
        self.run(left, move |left, job| {
            let right = script::source(job, "script-right", right.as_ref().clone());
            build(left, &right)
        })
    }

    /// Lives from snapshot to snapshot, then to the end and a last one.
    async fn live(&self, make: impl Fn() -> Job, snapshots: usize) -> Result<()> {
        let mut parts = Parts::default();
        let mut life = 0;
        let mut workers = self.start(&make(), life, &parts).await?;
        for epoch in (1..=snapshots as u64).map(Epoch) {
            let shares = workers.snapshot(epoch).await?;
            parts.add(epoch, workers.plan(), shares);
            workers.settle(epoch).await?;
            if self.restore {
                drop(workers);
                life += 1;
                workers = self.start(&make(), life, &parts).await?;
            }
        }
        workers.end().await?;
        let last = Epoch(snapshots as u64 + 1);
        workers.snapshot(last).await?;
        workers.settle(last).await
    }

    async fn start(&self, job: &Job, life: usize, parts: &Parts) -> Result<Workers> {
        let threads = &self.threads[life % self.threads.len()];
        let mut workers = Workers::default();
        for worker in (0..threads.len() as u32).map(WorkerIndex) {
            let needs = needs_of(job, threads, worker, &parts.plan)?;
            let deployment = Deployment {
                run: Run(life as u64 + 1),
                job: "test/harness".into(),
                threads: threads.clone(),
                worker,
                restore: parts.restore(&needs)?,
                history: History::default(),
                clock: self.clock.clone() as Arc<dyn Clock>,
            };
            let (engine, events) = Engine::deploy(job, deployment)?;
            workers.all.push(Worker { engine, events, ended: false });
        }
        workers.start().await?;
        Ok(workers)
    }
}

/// The engines of one life, and what carries messages between them.
#[derive(Default)]
struct Workers {
    all: Vec<Worker>,
    carriers: JoinSet<()>,
}

struct Worker {
    engine: Engine,
    events: Receiver<Event>,
    ended: bool,
}

impl Workers {
    fn plan(&self) -> &Plan {
        self.all[0].engine.plan()
    }

    async fn start(&mut self) -> Result<()> {
        for worker in &mut self.all {
            match worker.next().await? {
                Event::Restored => {}
                Event::Failed(error) => return Err(error),
                other => return Err(Error::bug(format!("{other:?} before the tasks restored"))),
            }
            worker.engine.recover().await?;
        }
        for (from, to) in pairs(self.all.len() as u32) {
            let ends = |at: WorkerIndex| self.all[at.0 as usize].engine.links();
            let (out, into) = (ends(from).outgoing(to), ends(to).incoming(from));
            let Some((out, into)) = out.zip(into) else { continue };
            let (out, into) = (Arc::new(out), Arc::new(into));
            let (there, back) = ((out.clone(), into.clone()), (out, into));
            self.carriers.spawn(async move {
                while let Some(message) = there.0.next().await {
                    there.1.take(&message).expect("what was sent is taken");
                }
            });
            self.carriers.spawn(async move {
                while let Some(message) = back.1.next_grants().await {
                    back.0.granted(&message).expect("what was granted is taken");
                }
            });
        }
        for worker in &self.all {
            worker.engine.start();
        }
        Ok(())
    }

    async fn snapshot(&mut self, epoch: Epoch) -> Result<Vec<Share>> {
        for worker in &self.all {
            worker.engine.barrier(Barrier { epoch, stopping: false });
        }
        let mut shares = Vec::new();
        for worker in &mut self.all {
            let wanted = shares.len() + worker.engine.shares();
            while shares.len() < wanted {
                match worker.next().await? {
                    Event::Share(at, share) if at == epoch => shares.push(share?),
                    Event::Failed(error) => return Err(error),
                    Event::Ended => worker.ended = true,
                    _ => {}
                }
            }
        }
        Ok(shares)
    }

    async fn settle(&self, epoch: Epoch) -> Result<()> {
        for worker in &self.all {
            worker.engine.published(epoch);
            worker.engine.committer().commit(epoch).await?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        for worker in &mut self.all {
            while !worker.ended {
                match worker.next().await? {
                    Event::Ended => worker.ended = true,
                    Event::Failed(error) => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Worker {
    async fn next(&mut self) -> Result<Event> {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        let event = event.map_err(|_| Error::bug("the engine is stuck"))?;
        event.ok_or_else(|| Error::bug("the engine is gone"))
    }
}

/// Every worker with every other one.
fn pairs(workers: u32) -> impl Iterator<Item = (WorkerIndex, WorkerIndex)> {
    let all = move || (0..workers).map(WorkerIndex);
    all().flat_map(move |from| all().filter(move |&to| to != from).map(move |to| (from, to)))
}

/// The shares that make up the newest snapshot, as a manifest would list them.
#[derive(Default)]
struct Parts {
    epoch: Epoch,
    plan: Plan,
    /// Each with the key groups that are still to be read from it.
    shares: Vec<(Share, Vec<Option<KeyGroupRange>>)>,
}

impl Parts {
    fn add(&mut self, epoch: Epoch, plan: &Plan, shares: Vec<Share>) {
        self.epoch = epoch;
        self.plan = plan.clone();
        for new in &shares {
            let Some(full) = new.index.groups.filter(|_| new.index.since.is_none()) else {
                continue;
            };
            for (old, groups) in &mut self.shares {
                if old.index.operator == new.index.operator {
                    let left = groups.iter().flatten().flat_map(|it| it.subtract(full));
                    *groups = left.map(Some).collect();
                }
            }
        }
        // Shares without key groups are whole each time.
        self.shares.retain(|(share, groups)| share.index.groups.is_some() && !groups.is_empty());
        self.shares.extend(shares.into_iter().map(|share| {
            let groups = vec![share.index.groups];
            (share, groups)
        }));
    }

    /// What the tasks of one worker read of it.
    fn restore(&self, needs: &Needs) -> Result<Restore> {
        let mut restore = Restore::new(self.epoch, self.plan.clone());
        for (share, groups) in &self.shares {
            for groups in groups {
                if needs.share(&share.index.operator, TaskIndex(share.index.task), *groups) {
                    restore.add(RestoredPart::new(share.body.clone(), *groups)?);
                }
            }
        }
        Ok(restore)
    }
}

/// The suite that every operator passes: the output, sorted, is the same on one thread and on many,
/// with and without snapshots, with and without restores at each of them, when restored at another
/// parallelism, and with the tasks spread over several workers. In this crate's own tests also over
/// `RocksDB`, with no memory above it.
///
/// # Panics
/// Where an output differs from that of the undisturbed run on one thread, or the run fails.
pub fn suite<T, U>(
    elements: &[Element<T>],
    build: impl Fn(&Stream<T>, &mut Job) -> Stream<U>,
) -> Output<U>
where
    T: Data + PartialEq,
    U: Data + Ord + Debug,
{
    let run = |harness: Harness, elements: Vec<Element<T>>| {
        let mut out = harness.run(elements, &build).expect("the run succeeds");
        out.sort();
        out
    };
    let plain = run(Harness::new(), elements.to_vec());
    for threads in [&[1][..], &[2], &[3], &[1, 3, 2], &[3, 1]] {
        for every in [1, 2, 5] {
            let mut disturbed = Vec::new();
            for (index, element) in elements.iter().enumerate() {
                disturbed.push(element.clone());
                if index % every == 0 && disturbed.len() < 60 {
                    disturbed.push(Element::Snapshot);
                }
            }
            let harness = Harness::new().threads(threads);
            #[cfg(all(test, feature = "rocksdb"))]
            if every == 5 && threads.len() == 3 {
                let (backend, _home) = crate::state::without_memory();
                let harness = harness.clone().backend(backend);
                assert_eq!(run(harness, disturbed.clone()), plain, "restores over RocksDB");
            }
            let still = harness.clone().without_restore();
            assert_eq!(run(still, disturbed.clone()), plain, "snapshots at {threads:?} threads");
            assert_eq!(run(harness, disturbed), plain, "restores at {threads:?} threads");
        }
    }
    for workers in [&[&[1, 1][..]][..], &[&[2, 1], &[3], &[1, 1, 1]]] {
        let disturbed = elements.chunks(3).flat_map(|chunk| [chunk, &[Element::Snapshot]].concat());
        let out = run(Harness::new().workers(workers), disturbed.collect());
        assert_eq!(out, plain, "restores at {workers:?} threads of workers");
    }
    plain
}
