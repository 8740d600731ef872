//! What every state of a job can see and do.
//!
//! Received from: [`crate::machine::Machine`], which lends it to the state that handles an event.
//! Handed to: the states. Invariant: commands go only to workers that are attached.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, OperatorId, Run, Seq, Term, WorkerIndex};
use millstream_protocol::log::{Entry, Lineage, Nonce};
use millstream_protocol::plan::{Plan, Role};
use millstream_protocol::session::{Command, Facts, Hello, PROTOCOL_VERSION, Rates, Report};
use millstream_protocol::time::Timestamp;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::history::History;
use crate::machine::{Action, Event, Outcome, StopMode};
use crate::state::State;
use crate::status::{FailureStatus, Phase, Status, Totals};

/// How long a worker may take for one small request to the store before it is asked again. A
/// worker's own request time-outs are shorter.
pub(crate) const STORE_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait after the store refused or failed before the next attempt.
pub(crate) const STORE_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a worker may take for an answer that needs no store before it is asked again.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the store is waited for once the job is to stop. Kubernetes kills what has not ended
/// 30 s after it was told to: who gives up before can still say why.
const PATIENCE_AT_STOP: Duration = Duration::from_secs(20);

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
    /// The run whose tasks it was told to drop and has not yet dropped.
    pub(crate) dropping: Option<Run>,
    rates: Rates,
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
    /// Whether parts that no manifest names may lie about.
    pub(crate) sweep: bool,
}

/// What every state can see and do.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) now: Timestamp,
    pub(crate) workers: Vec<Worker>,
    pub(crate) status: Status,
    pub(crate) history: History,
    /// The highest slot this coordinator knows to be taken: a shorter log has lost entries.
    pub(crate) seen: Seq,
    pub(crate) reign: Option<Reign>,
    pub(crate) stop: Option<StopMode>,
    /// The run, or its start, is only for output that is to be visible before a wish is acted upon.
    pub(crate) is_completing: bool,
    /// Since when the tasks have been running.
    pub(crate) running_since: Option<Timestamp>,
    backoff: Backoff,
    actions: Vec<Action>,
    nonces: u64,
    requests: u64,
}

impl Context {
    pub(crate) fn new(config: Config) -> Self {
        let workers = (0..config.spec.workers).map(|_| Worker::default()).collect();
        let backoff = Backoff::new(config.spec.restart, config.seed);
        Self {
            config,
            now: Timestamp(0),
            workers,
            status: Status::default(),
            history: History::default(),
            seen: Seq(0),
            reign: None,
            stop: None,
            is_completing: false,
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

    /// The ordinals of all workers.
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
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            namespace: self.config.prefix.namespace().to_owned(),
            name: self.config.prefix.job().to_owned(),
            spec: self.config.spec.clone(),
            worker,
        };
        self.send(worker, Command::Hello(Box::new(hello)));
    }

    /// Keeps the table of workers; what else an event means is the state's to say.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Attached(index) => {
                if let Some(worker) = self.workers.get_mut(index.0 as usize) {
                    let heard = self.now;
                    *worker = Worker { attached: true, heard, ..Worker::default() };
                    self.hello(*index);
                }
            }
            Event::Lost(index, _) => {
                if let Some(worker) = self.workers.get_mut(index.0 as usize) {
                    *worker = Worker::default();
                }
            }
            Event::Report(index, report) => self.note_report(*index, report),
            Event::Stop(mode) => self.stop = self.stop.max(Some(*mode)),
            Event::Snapshot | Event::Tick => {}
        }
    }

    fn note_report(&mut self, index: WorkerIndex, report: &Report) {
        let run = self.reign.as_ref().map(|reign| reign.run);
        let now = self.now;
        let Some(worker) = self.workers.get_mut(index.0 as usize) else { return };
        worker.heard = now;
        match report {
            Report::Facts(facts) => worker.facts = Some((**facts).clone()),
            Report::Dropped { run } if worker.dropping.is_some_and(|waited| waited <= *run) => {
                worker.dropping = None;
            }
            Report::Rates(rates) if Some(rates.run) == run => {
                worker.rates = rates.clone();
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
            self.act(Action::Dismiss(peer));
        }
        is_silent
    }

    fn sum_rates(&mut self, run: Run) {
        let rates = self.workers.iter().map(|worker| &worker.rates);
        let rates = rates.filter(|rates| rates.run == run);
        let mut totals = Totals::default();
        for (i, rates) in rates.enumerate() {
            totals.records_in += rates.records_in;
            totals.records_out += rates.records_out;
            for (sink, records) in &rates.sinks {
                *totals.sinks.entry(sink.clone()).or_default() += records;
            }
            for (operator, records) in &rates.late {
                *totals.late.entry(operator.clone()).or_default() += records;
            }
            totals.records_failed += rates.records_failed;
            // A worker without a watermark holds the whole job's.
            totals.watermark =
                if i == 0 { rates.watermark } else { totals.watermark.min(rates.watermark) };
        }
        self.status.totals = totals;
    }

    /// The one place where the kind of a failure decides what comes next.
    pub(crate) fn fail(&mut self, mut failure: Failure) -> State {
        let kind = failure.kind;
        if self.is_completing && matches!(kind, ErrorKind::Invalid | ErrorKind::Corrupt) {
            failure.message = format!(
                "output of the newest snapshot may not be visible yet, and must be before the job \
                 can begin from something else: {}. Where that cannot be mended, only {} is left, \
                 which gives up every snapshot of the job and whatever of that output is not \
                 visible",
                failure.message,
                self.config.deletion()
            );
        }
        self.status.last_failure = Some(FailureStatus { failure: failure.clone(), at: self.now });
        match kind {
            ErrorKind::Fenced => self.end(Outcome::Fenced(failure)),
            ErrorKind::Invalid | ErrorKind::Corrupt => self.end(Outcome::Failed(failure)),
            // A job that does not run takes a stop at once.
            ErrorKind::User | ErrorKind::Unavailable | ErrorKind::Bug if self.stop.is_some() => {
                self.end(Outcome::Suspended { snapshot: false })
            }
            ErrorKind::User | ErrorKind::Unavailable | ErrorKind::Bug => self.restart(),
        }
    }

    /// Until when the store is waited for: for so long, or for less where the job is to stop.
    pub(crate) fn patience(&self, while_it_runs: Duration) -> Timestamp {
        let patience = match self.stop {
            Some(_) => while_it_runs.min(PATIENCE_AT_STOP),
            None => while_it_runs,
        };
        self.now.after(patience)
    }

    /// Somebody else's entry stands in the log, where only a newer run can have put it.
    pub(crate) fn superseded(&self, seq: Seq) -> Failure {
        let message = format!(
            "a newer run of this job owns it now: it wrote entry {seq} of the log in {}. This run \
             stops, and nothing is lost: the newer one goes on from the last snapshot. If no \
             second one was meant to run, look for what started it; another job needs another \
             metadata.name, or another store",
            self.config.prefix
        );
        Failure::new(ErrorKind::Fenced, message)
    }

    fn restart(&mut self) -> State {
        let healthy = self.running_since.take().map_or(Duration::ZERO, |at| self.now.since(at));
        let delay = self.backoff.delay(healthy);
        let until = self.now.after(delay);
        self.status.restarts += 1;
        self.status.restarts_in = Some(delay);
        self.status.log_failure = None;
        self.status.phase = Phase::Restarting;
        self.drop_tasks();
        State::Restarting { until }
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
            worker.dropping = Some(run);
        }
        self.send_all(&Command::Drop { run });
    }

    /// Stops the workers and says how it ended.
    pub(crate) fn end(&mut self, outcome: Outcome) -> State {
        self.status.phase = match &outcome {
            Outcome::Finished { .. } => Phase::Finished,
            Outcome::Suspended { .. } => Phase::Suspended,
            Outcome::Failed(_) | Outcome::Fenced(_) => Phase::Failed,
        };
        self.status.restarts_in = None;
        if self.seen > Seq(0) {
            let next = self.history.restorable();
            self.status.has_snapshot = Some(next.is_some());
            let manifest = next.and_then(|seq| self.history.manifest(seq));
            self.status.resumes_from = manifest.map(|manifest| manifest.epoch);
        }
        self.send_all(&Command::Stop);
        self.act(Action::Exit(outcome));
        State::Ended
    }

    /// What all workers agree on: the plan and its fingerprint. None until all have reported.
    pub(crate) fn agreed(&self) -> Option<Result<(), Failure>> {
        let facts: Option<Vec<&Facts>> =
            self.workers.iter().map(|worker| worker.facts.as_ref()).collect();
        let facts = facts?;
        let invalid = |message: String| Some(Err(Failure::new(ErrorKind::Invalid, message)));
        for (index, other) in facts.iter().enumerate() {
            if other.protocol != PROTOCOL_VERSION {
                return invalid(format!(
                    "worker {index} speaks protocol {}, the coordinator {PROTOCOL_VERSION}: run \
                     both from the same version",
                    other.protocol
                ));
            }
            if other.executable != facts[0].executable {
                return invalid(format!("workers 0 and {index} run different executables"));
            }
            if other.plan != facts[0].plan {
                return invalid(format!(
                    "workers 0 and {index} built different plans from the same program: a program \
                     must depend on nothing but its args"
                ));
            }
        }
        let threads: u32 = facts.iter().map(|facts| facts.threads).sum();
        let groups = self.config.key_groups.count();
        if threads > groups {
            return invalid(format!(
                "spec.workers x spec.threadsPerWorker is {threads}, more than spec.keyGroups \
                 ({groups}): use fewer threads"
            ));
        }
        Some(Ok(()))
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
