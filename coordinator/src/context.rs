//! What every state of a job can see and do.
//!
//! Received from: [`crate::machine::Machine`], which lends it to the state that handles an event.
//! Handed to: the states. Invariant: commands go only to workers that are attached.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_protocol::error_kind::Failure;
use millstream_protocol::id::{Epoch, OperatorId, Run, Seq, Term, WorkerIndex};
use millstream_protocol::job::JobSpec;
use millstream_protocol::log::{Entry, Lineage, Nonce};
use millstream_protocol::plan::{Plan, Role};
use millstream_protocol::session::{Command, Facts, Going, Hello, PROTOCOL_VERSION, Rates, Report};
use millstream_protocol::time::Timestamp;

use crate::agreement;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::edit::{Edit, Next};
use crate::history::History;
use crate::machine::{Action, Event, StopMode};
use crate::savepoint::Wanted;
use crate::status::{Phase, Status};

/// How long a worker may take for one small request to the store before it is asked again. A
/// worker's own request time-outs are shorter.
pub(crate) const STORE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait after the store refused or failed before the next attempt.
pub(crate) const STORE_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a worker may take for an answer that needs no store before it is asked again.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A worker that has said nothing for so long is silent: one that runs says something twice a
/// second.
const SILENCE: Duration = Duration::from_secs(2);

/// What is known of one worker.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    pub(crate) attached: bool,
    /// When it last said something.
    pub(crate) heard: Timestamp,
    pub(crate) facts: Option<Facts>,
    /// The tasks that it had when it was greeted, and was not yet told to drop.
    pub(crate) going: Option<Box<Going>>,
    /// It was told to end: no tasks are given to it any more.
    pub(crate) leaving: bool,
    /// The run whose tasks it was told to drop and has not yet dropped.
    pub(crate) dropping: Option<Run>,
    pub(crate) rates: Rates,
    /// How far its sources have come, and in which run.
    pub(crate) marks: crate::drift::Heard,
}

/// The claim in force.
#[derive(Clone, Debug)]
pub(crate) struct Reign {
    pub(crate) run: Run,
    pub(crate) term: Term,
    pub(crate) lineage: Lineage,
    pub(crate) plan: Plan,
    pub(crate) fingerprint: String,
    /// The slot of our own last entry: the next one goes right behind it.
    pub(crate) last: Seq,
    /// The newest manifest of this run, or its base.
    pub(crate) parent: Option<Seq>,
    /// The highest epoch in the log or ever begun in this run.
    pub(crate) epoch: Epoch,
    /// How many of the newest snapshots the claim says that retention keeps: others rely on it.
    pub(crate) retain: u32,
    /// Whether parts that no manifest names may lie about.
    pub(crate) sweep: bool,
}

/// What every state can see and do.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) now: Timestamp,
    /// By ordinal; those that no spec has any more are kept in case that one has them again.
    pub(crate) workers: Vec<Worker>,
    pub(crate) status: Status,
    pub(crate) history: History,
    /// The highest slot this coordinator knows to be taken: a shorter log has lost entries.
    pub(crate) seen: Seq,
    pub(crate) reign: Option<Reign>,
    pub(crate) stop: Option<StopMode>,
    /// The snapshot to be kept that is asked for.
    pub(crate) savepoint: Option<Wanted>,
    /// Savepoints that are to be deleted.
    pub(crate) letting_go: BTreeSet<Seq>,
    /// Since when the job has stood still for an edit.
    pub(crate) still_since: Option<Timestamp>,
    /// The number of the spec in force.
    pub(crate) generation: u64,
    /// The spec that is to replace it.
    pub(crate) next: Option<Next>,
    /// What came while the job was stopped for that one.
    pub(crate) later: Option<Edit>,
    /// What is shown from the stop for an edit until the job runs again.
    pub(crate) editing: Option<Phase>,
    /// The run, or its start, is only for output that is to be visible before a wish is acted upon.
    pub(crate) is_completing: bool,
    /// The run and term of the last claim of this coordinator.
    pub(crate) held: Option<(Run, Term)>,
    /// Since when the tasks have been running.
    pub(crate) running_since: Option<Timestamp>,
    pub(crate) backoff: Backoff,
    actions: Vec<Action>,
    nonces: u64,
    requests: u64,
}

impl Context {
    pub(crate) fn new(config: Config) -> Self {
        let workers = (0..config.spec.workers).map(|_| Worker::default()).collect();
        let backoff = Backoff::new(config.spec.restart, config.seed);
        let generation = config.generation;
        let status = Status { generation, workers: config.spec.workers, ..Status::default() };
        Self {
            config,
            now: Timestamp(0),
            workers,
            status,
            history: History::default(),
            seen: Seq(0),
            reign: None,
            stop: None,
            savepoint: None,
            letting_go: BTreeSet::new(),
            still_since: None,
            generation,
            next: None,
            later: None,
            editing: None,
            is_completing: false,
            held: None,
            running_since: None,
            backoff,
            actions: Vec::new(),
            nonces: 0,
            requests: 0,
        }
    }

    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    pub(crate) fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn send(&mut self, worker: WorkerIndex, command: Command) {
        if self.workers.get(worker.0 as usize).is_some_and(|worker| worker.attached) {
            self.actions.push(Action::Send(worker, command));
        }
    }

    pub(crate) fn send_all(&mut self, command: &Command) {
        for worker in self.indexes() {
            self.send(worker, command.clone());
        }
    }

    /// Also to those that the spec in force does not have.
    pub(crate) fn send_everybody(&mut self, command: &Command) {
        for worker in (0..self.workers.len() as u32).map(WorkerIndex) {
            self.send(worker, command.clone());
        }
    }

    /// Makes room for so many workers.
    pub(crate) fn know(&mut self, workers: u32) {
        let workers = self.workers.len().max(workers as usize);
        self.workers.resize_with(workers, Worker::default);
    }

    /// The ordinals of all workers of the spec in force.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = WorkerIndex> + use<> {
        (0..self.config.spec.workers).map(WorkerIndex)
    }

    /// The worker that does the coordinator's own I/O: the first that is attached.
    pub(crate) fn leader(&self) -> WorkerIndex {
        let first = self.indexes().find(|worker| self.workers[worker.0 as usize].attached);
        first.unwrap_or_default()
    }

    /// A text that no other coordinator uses, nor this one again.
    pub(crate) fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        Nonce(format!("{:016x}-{}", self.config.seed, self.nonces))
    }

    /// Whether [`Context::nonce`] made it.
    pub(crate) fn is_own(&self, nonce: &Nonce) -> bool {
        nonce.0.starts_with(&format!("{:016x}-", self.config.seed))
    }

    pub(crate) fn request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    pub(crate) fn hello(&mut self, worker: WorkerIndex) {
        if self.is_member(worker) {
            self.send_hello(worker, self.generation, self.config.spec.clone());
        }
        self.hello_next(worker);
    }

    pub(crate) fn send_hello(&mut self, worker: WorkerIndex, generation: u64, spec: JobSpec) {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            namespace: self.config.prefix.namespace().to_owned(),
            name: self.config.prefix.job().to_owned(),
            generation,
            spec,
            worker,
            holds: self.held,
        };
        self.send(worker, Command::Hello(Box::new(hello)));
    }

    /// Whether a worker is one of the spec in force. Others are there for the next one, or on their
    /// way out.
    pub(crate) fn is_member(&self, worker: WorkerIndex) -> bool {
        worker.0 < self.config.spec.workers
    }

    /// Keeps the table of workers; what else an event means is the state's to say.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Attached(index) => {
                self.forget_facts(*index);
                self.know(index.0 + 1);
                if let Some(worker) = self.workers.get_mut(index.0 as usize) {
                    let heard = self.now;
                    *worker = Worker { attached: true, heard, ..Worker::default() };
                    self.hello(*index);
                }
            }
            Event::Lost(index, _) => {
                self.forget_facts(*index);
                if let Some(worker) = self.workers.get_mut(index.0 as usize) {
                    *worker = Worker::default();
                }
            }
            Event::Report(index, report) => self.note_report(*index, report),
            Event::Stop(mode) => self.stop = self.stop.max(Some(*mode)),
            Event::Edit(edit) => self.edit(edit),
            Event::Savepoint(request) => self.want(*request),
            Event::LetGo(seq) => self.let_go(*seq),
            Event::Snapshot | Event::Tick => {}
        }
    }

    fn note_report(&mut self, index: WorkerIndex, report: &Report) {
        let run = self.reign.as_ref().map(|reign| reign.run);
        let now = self.now;
        let Some(worker) = self.workers.get_mut(index.0 as usize) else { return };
        worker.heard = now;
        match report {
            Report::Facts(facts) if facts.generation == self.generation => {
                worker.going.clone_from(&facts.going);
                worker.facts = Some((**facts).clone());
            }
            Report::Leaving => worker.leaving = true,
            Report::Facts(facts) => self.note_next(index, facts),
            Report::Unfit { generation, failure } => self.note_unfit(*generation, failure),
            Report::Dropped { run } if worker.dropping.is_some_and(|waited| waited <= *run) => {
                worker.dropping = None;
            }
            // Nobody goes on with tasks that do not: it is said once, whatever is going on here.
            Report::TaskFailed { run, .. } | Report::PeerLost { run, .. } => {
                worker.going.take_if(|going| going.run == *run);
            }
            Report::Rates(rates) if Some(rates.run) == run => {
                worker.rates = (**rates).clone();
                self.sum_rates(rates.run);
            }
            Report::Drift { run, own } => self.answer_drift(index, *run, *own),
            _ => {}
        }
    }

    /// A worker whose stream to another one broke is lost where it says nothing either. What is not
    /// silent is only cut off from the other one.
    pub(crate) fn suspect(&mut self, peer: WorkerIndex) -> bool {
        let Some(worker) = self.workers.get_mut(peer.0 as usize) else { return false };
        let is_silent = worker.attached && self.now.since(worker.heard) >= SILENCE;
        if is_silent {
            *worker = Worker::default();
            self.forget_facts(peer);
            self.act(Action::Dismiss(peer));
        }
        is_silent
    }

    /// Notes an entry of our own that is now in the log.
    pub(crate) fn own(&mut self, seq: Seq, entry: Entry) {
        self.seen = self.seen.max(seq);
        self.reign().last = seq;
        self.history.insert(seq, entry);
    }

    /// Gives the run in force up. Its tasks may use the backoff to let go.
    pub(crate) fn drop_tasks(&mut self) {
        if let Some(Reign { run, .. }) = self.reign.take() {
            self.drop_up_to(run);
        }
    }

    /// Tells every worker to drop the tasks of this run and of lower ones.
    pub(crate) fn drop_up_to(&mut self, run: Run) {
        for worker in &mut self.workers {
            worker.going = None;
            worker.dropping = Some(run);
        }
        self.send_everybody(&Command::Drop { run });
    }

    /// Workers that have not answered for the spec in force.
    pub(crate) fn silent(&self) -> impl Iterator<Item = WorkerIndex> {
        self.indexes().filter(|index| {
            let worker = &self.workers[index.0 as usize];
            worker.attached && worker.facts.is_none() && !worker.leaving
        })
    }

    /// Whether a worker was told to end.
    pub(crate) fn is_left(&self) -> bool {
        self.indexes().any(|worker| self.workers[worker.0 as usize].leaving)
    }

    /// What all workers agree on: the plan and its fingerprint. None until all have reported.
    pub(crate) fn agreed(&self) -> Option<Result<(), Failure>> {
        let workers: Vec<&Worker> =
            self.indexes().map(|worker| &self.workers[worker.0 as usize]).collect();
        if self.is_left() {
            return None;
        }
        let facts: Option<Vec<&Facts>> =
            workers.iter().map(|worker| worker.facts.as_ref()).collect();
        Some(agreement::check(&facts?, self.config.key_groups))
    }

    /// The facts of worker 0, which all workers share once they have [agreed](Self::agreed).
    pub(crate) fn facts(&self) -> &Facts {
        self.workers[0].facts.as_ref().expect("all workers have reported before the log is read")
    }

    /// The claim in force.
    pub(crate) fn reign(&mut self) -> &mut Reign {
        self.reign.as_mut().expect("deploying and running follow a claim")
    }

    /// Parallelism of each sink of the plan.
    pub(crate) fn sink_parallelism(&self) -> BTreeMap<OperatorId, u32> {
        let operators = self.facts().plan.operators.iter();
        let sinks = operators.filter(|operator| matches!(operator.role, Role::Sink(_)));
        sinks.map(|operator| (operator.id.clone(), operator.parallelism)).collect()
    }
}
