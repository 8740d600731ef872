//! [`Engine`]: the tasks of one worker, running. The surface that the worker drives.
//!
//! Built from the graph that a program wrote down. Told by the worker to start, to cut, to commit;
//! tells it of shares, failures and the end through [`Event`]s.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use millstream_protocol::drift::Marks;
use millstream_protocol::id::{Epoch, Run, TaskIndex, WorkerIndex};
use millstream_protocol::key_group::KeyGroupRange;
use millstream_protocol::place::place;
use millstream_protocol::plan::{EdgeKind, Plan};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::error::{Context as _, Error, Kind, Result};
use crate::exchange::remote::Links;
use crate::plan::{BuildSpec, build, resolve};
use crate::sink::{Base, Commits, History};
use crate::snapshot::{EncoderSpec, Need, Needs, Restore, Share, encoder};
use crate::state;
use crate::stream::Job;
use crate::task::{Barrier, Command, Doorbell, Drift, Loop, Report, Running, TaskEvent, TaskInfo};

/// What an engine tells the worker.
#[derive(Debug)]
pub enum Event {
    /// The tasks have restored; sinks may be recovered, then the engine started.
    Restored,
    /// One operator instance's share of a snapshot, or why there is none.
    Share(Epoch, Result<Share>),
    /// A sink asks for a snapshot before the next is due: it is running out of room.
    SnapshotWanted,
    /// All tasks have ended: the streams were bounded.
    Ended,
    /// A task failed. The engine does nothing more; drop it.
    Failed(Error),
}

/// How a worker's share of a job is to run.
pub struct Deployment {
    /// The run that this is a part of.
    pub run: Run,
    /// Names the job: `namespace/name`.
    pub job: Arc<str>,
    /// The engine threads of each worker.
    pub threads: Vec<u32>,
    /// Which worker this is.
    pub worker: WorkerIndex,
    /// The snapshot to go on from; an empty one for a fresh start.
    pub restore: Restore,
    /// What the sinks are told of earlier runs.
    pub history: History,
    /// Where processing time is read.
    pub clock: Arc<dyn Clock>,
}

/// Commands waiting for a thread. A thread takes all of them before each round of its tasks, and
/// there is one epoch in flight, so a handful is all there ever is.
const COMMANDS: usize = 64;

struct Thread {
    commands: SyncSender<Command>,
    doorbell: Doorbell,
    handle: Option<JoinHandle<()>>,
}

/// The tasks of one worker, running. Dropping it stops them, and waits until no thread is left.
pub struct Engine {
    threads: Vec<Thread>,
    encoder: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    infos: Vec<TaskInfo>,
    shares: usize,
    commits: Commits,
    links: Links,
    base: Base,
    plan: Plan,
    /// Where sources are held together with those of other workers.
    drift: Option<Arc<Drift>>,
}

/// The plan of a program at so many threads. Reports every mistake in the program.
pub fn plan_of(job: &Job, threads: u32) -> Result<Plan> {
    Ok(resolve(&job.graph.borrow(), threads, job.settings.key_groups)?.plan)
}

/// Which shares of a snapshot, which this plan wrote, are read on a worker, with so many threads on
/// each.
///
/// # Errors
/// Those of [`plan_of`].
pub fn needs_of(job: &Job, threads: &[u32], worker: WorkerIndex, old: &Plan) -> Result<Needs> {
    let (graph, key_groups) = (job.graph.borrow(), job.settings.key_groups);
    let resolved = resolve(&graph, threads.iter().sum(), key_groups)?;
    let mut needs = Needs::default();
    for (node, &parallelism) in graph.nodes.iter().zip(&resolved.parallelism) {
        let is_here = |task| place(TaskIndex(task), parallelism, threads).worker == worker;
        let mut tasks = (0..parallelism).filter(|task| is_here(*task));
        let Some(first) = tasks.next() else { continue };
        // Tasks are placed in their order.
        let last = tasks.next_back().unwrap_or(first);
        let [start, end] = [first, last].map(|it| key_groups.of_task(TaskIndex(it), parallelism));
        let was = old.operators.iter().find(|was| was.id.as_str() == node.id);
        let need = Need {
            tasks: first..last + 1,
            groups: KeyGroupRange { start: start.start, end: end.end },
            same_parallelism: was.is_some_and(|was| was.parallelism == parallelism),
            has_broadcast: node.inputs.iter().any(|edge| edge.kind == EdgeKind::Broadcast),
        };
        needs.add(&node.id, need);
    }
    Ok(needs)
}

impl Engine {
    /// Makes the tasks and starts their threads, which restore and then wait for [`Engine::start`].
    pub fn deploy(job: &Job, spec: Deployment) -> Result<(Self, mpsc::Receiver<Event>)> {
        let graph = job.graph.borrow();
        let key_groups = job.settings.key_groups;
        let resolved = resolve(&graph, spec.threads.iter().sum(), key_groups)?;
        let own = spec.threads.get(spec.worker.0 as usize).copied().unwrap_or(0);
        let doorbells: Vec<Doorbell> = (0..own).map(|_| Doorbell::default()).collect();
        let tiers = state::Base::open(&job.settings.backend)?;
        let built = build(
            &graph,
            &resolved,
            &BuildSpec {
                key_groups,
                linger_ms: crate::time::millis(graph.linger.unwrap_or(job.settings.linger)),
                threads: &spec.threads,
                worker: spec.worker,
                doorbells: &doorbells,
                run: spec.run,
                job: spec.job.clone(),
                history: Arc::new(spec.history),
                clock: spec.clock.clone(),
                tiers: tiers.as_ref(),
            },
        )?;
        // Each share, each thread's few reports: the queue never fills while somebody listens at
        // all.
        let (events, receiver) = mpsc::channel(built.shares * 2 + own as usize * 8 + 16);
        let encoding = EncoderSpec {
            groups: key_groups,
            shares: built.shares,
            bound: job.settings.backend.spool_bound(),
        };
        let shares = events.clone();
        let (encoder, work) = encoder(encoding, move |key, share| {
            let _ = shares.blocking_send(Event::Share(key.epoch, share));
        });
        let stop = Arc::new(AtomicBool::new(false));
        let base = Base { epoch: spec.restore.epoch, committed: spec.restore.committed };
        let restore = Arc::new(spec.restore);
        let reports = Reports::new(own as usize, events);
        let mut engine = Self {
            threads: Vec::new(),
            encoder: Some(spawn("encoder", work)?),
            stop: stop.clone(),
            infos: built.infos,
            shares: built.shares,
            commits: built.commits,
            links: built.links,
            base,
            plan: resolved.plan,
            drift: built.drift.filter(|_| spec.threads.len() > 1),
        };
        for (index, (tasks, doorbell)) in built.threads.into_iter().zip(doorbells).enumerate() {
            let (commands, received) = sync_channel(COMMANDS);
            let tasks = tasks.into_iter().map(|(task, info)| Running::new(task, info)).collect();
            let run = Loop {
                tasks,
                commands: received,
                doorbell: doorbell.clone(),
                clock: spec.clock.clone(),
                encoder: encoder.clone(),
                stop: stop.clone(),
            };
            let (restore, reports) = (restore.clone(), reports.clone());
            let work = move || run.run(&restore, &move |report| reports.take(report));
            let handle = Some(spawn(&format!("engine-{index}"), work)?);
            engine.threads.push(Thread { commands, doorbell, handle });
        }
        Ok((engine, receiver))
    }

    /// Recovers the sinks' pending output from the snapshot. Before [`Engine::start`].
    pub async fn recover(&self) -> Result<()> {
        self.commits.recover(self.base).await
    }

    /// Lets the tasks run.
    pub fn start(&self) {
        self.tell(|| Command::Start);
    }

    /// Cuts a snapshot. Its shares arrive as events, [`Engine::shares`] of them.
    pub fn barrier(&self, barrier: Barrier) {
        self.tell(|| Command::Event(TaskEvent::Barrier(barrier)));
    }

    /// The snapshot was published, and the next may build upon it.
    pub fn published(&self, epoch: Epoch) {
        self.tell(|| Command::Event(TaskEvent::Settled { epoch, published: true }));
    }

    /// The snapshot was given up.
    pub fn abort(&self, epoch: Epoch) {
        self.tell(|| Command::Event(TaskEvent::Settled { epoch, published: false }));
    }

    /// Lets sources emit again that the last barrier has stopped.
    pub fn go_on(&self) {
        self.tell(|| Command::Event(TaskEvent::GoOn));
    }

    /// What makes the output of published snapshots visible.
    pub fn committer(&self) -> EngineCommits {
        EngineCommits { commits: self.commits.clone(), base: self.base }
    }

    /// The channels to and from the tasks of other workers. They are closed when the engine is
    /// dropped.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// How far the sources of this worker have come, for those of other workers, which do not run
    /// too far ahead. None where they do not wait for each other.
    pub fn marks(&self) -> Option<Marks> {
        self.drift.as_ref().map(|drift| drift.marks())
    }

    /// How far the sources of all other workers have come, as of now. Before the first word of it
    /// nobody reads much further than where it began.
    pub fn others_stand_at(&self, others: Marks) {
        if let Some(drift) = &self.drift {
            drift.tell(others);
        }
    }

    /// How many shares a snapshot of this worker has.
    pub fn shares(&self) -> usize {
        self.shares
    }

    /// The plan that runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Every operator instance of this worker, with what it has done so far.
    pub fn tasks(&self) -> &[TaskInfo] {
        &self.infos
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for thread in &self.threads {
            // A thread that has failed takes no commands; its failure was reported.
            let _ = thread.commands.send(command());
            thread.doorbell.ring();
        }
    }
}

/// Makes the output of published snapshots visible, beside the engine.
#[derive(Clone)]
pub struct EngineCommits {
    commits: Commits,
    base: Base,
}

impl EngineCommits {
    /// Makes the output of this epoch and of earlier ones visible.
    pub async fn commit(&self, epoch: Epoch) -> Result<()> {
        self.commits.commit(epoch).await
    }

    /// Before the start of a run: recovers the pending output of the snapshot that it goes on from.
    pub async fn recover(&self) -> Result<()> {
        self.commits.recover(self.base).await
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.links.close();
        for thread in self.threads.drain(..) {
            drop(thread.commands);
            thread.doorbell.ring();
            if let Some(handle) = thread.handle {
                let _ = handle.join();
            }
        }
        if let Some(encoder) = self.encoder.take() {
            let _ = encoder.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.or_kind(Kind::Unavailable, || format!("cannot start the thread {name}"))
}

/// Sums the reports of the threads up to events of the engine.
#[derive(Clone)]
struct Reports(Arc<Mutex<Summed>>);

struct Summed {
    threads: usize,
    counts: HashMap<&'static str, usize>,
    events: mpsc::Sender<Event>,
}

impl Reports {
    fn new(threads: usize, events: mpsc::Sender<Event>) -> Self {
        Self(Arc::new(Mutex::new(Summed { threads, counts: HashMap::new(), events })))
    }

    fn take(&self, report: Report) {
        let mut summed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let event = match report {
            Report::Ready => summed.last("ready").then_some(Event::Restored),
            Report::Ended => summed.last("ended").then_some(Event::Ended),
            Report::SnapshotWanted => Some(Event::SnapshotWanted),
            Report::Failed(error) => Some(Event::Failed(error)),
        };
        if let Some(event) = event {
            let _ = summed.events.try_send(event);
        }
    }
}

impl Summed {
    /// Whether this was the last of the threads to say so.
    fn last(&mut self, what: &'static str) -> bool {
        let count = self.counts.entry(what).or_insert(0);
        *count += 1;
        *count == self.threads
    }
}
