//! The worker's end of a session: takes a coordinator's commands, does the I/O, reports what it
//! saw.
//!
//! Receives [`Command`]s over a [`Link`], drives an [`Engine`](millstream_dataflow::engine::Engine)
//! through [`crate::host`], hands [`Report`]s back. Invariant: whatever waits for the store or a
//! sink runs beside the loop, so that a command is never kept waiting by one before it.

mod alone;
mod commit;
mod obeyed;

use std::sync::Arc;
use std::time::Duration;

use millstream_coordinator::channel::Link;
use millstream_dataflow::snapshot::Store;
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, Run, Term, WorkerIndex};
use millstream_protocol::path::JobPrefix;
use millstream_protocol::session::{Command, Deploy, Hello, Report};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::copy::Origin;
use crate::drift::{self, Teller};
use crate::exchange::{Exchange, Loss, Whose};
use crate::host::{self, Host, Seen};
use crate::local::prefix_of;
use crate::log_io;
use crate::metrics::Metrics;
use crate::parts::LocalParts;
use crate::program::Programs;

pub(crate) use self::obeyed::Obeyed;

/// How often counters are reported.
const RATES_EVERY: Duration = Duration::from_millis(500);

/// What a worker is given before any command.
#[derive(Clone)]
pub struct Worker {
    /// The programs of this binary.
    pub programs: Programs,
    /// The job's store.
    pub store: Arc<dyn Store>,
    /// Engine threads of this worker; none: as the job or the machine says.
    pub threads: Option<u32>,
    /// Names this executable: one run, one hash.
    pub executable: String,
    /// Names the job: `namespace/name`.
    pub job: Arc<str>,
    /// Where the job's objects lie.
    pub prefix: JobPrefix,
    /// Copies of parts on this machine's disk; none where the store is on it.
    pub local: Option<LocalParts>,
    /// What is counted here, the tasks' counters among it, for whoever shows it.
    pub(crate) metrics: Arc<Metrics>,
    /// Carries records between the tasks here and those of other workers.
    pub(crate) exchange: Exchange,
    /// Where other workers reach this one; none where it is the only one.
    pub(crate) address: Option<String>,
    /// Whose commands are carried out.
    pub(crate) obeyed: Obeyed,
    /// Whether this process was told to end.
    pub(crate) leaving: watch::Receiver<bool>,
}

/// A worker's end of the sessions with its coordinators, one after the other, and the tasks that
/// outlive them.
pub(crate) struct Session {
    worker: Worker,
    index: WorkerIndex,
    host: Option<Host>,
    /// Where the workers of the run are, and what breaks between them and this one.
    peers: Vec<String>,
    losses: Option<mpsc::Receiver<Loss>>,
    drift: Teller,
    /// The snapshot of another job that the log begins with.
    origin: Option<Origin>,
    /// Commands of lower runs are not obeyed.
    highest: Run,
    /// Work beside the loop; each ends in a report.
    beside: JoinSet<Report>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The coordinator said so: nothing is left.
    Stopped,
    /// The coordinator is gone: the tasks go on.
    Left,
}

/// Serves the only session of a worker that ends with it.
pub async fn serve(mut link: Link, worker: Worker) {
    let mut session = Session::new(worker, link.worker);
    session.serve(&mut link).await;
    session.end().await;
}

impl Session {
    pub(crate) fn new(worker: Worker, index: WorkerIndex) -> Self {
        Self {
            worker,
            index,
            host: None,
            peers: Vec::new(),
            losses: None,
            drift: Teller::default(),
            origin: None,
            highest: Run(0),
            beside: JoinSet::new(),
        }
    }

    /// Whether it is for this worker of this job.
    pub(crate) fn is_of(&self, hello: &Hello) -> bool {
        let same_job = prefix_of(hello).is_ok_and(|prefix| prefix == self.worker.prefix);
        same_job && self.index == hello.worker
    }

    /// Whether tasks are here, which another coordinator may go on with.
    pub(crate) fn has_tasks(&self) -> bool {
        self.host.is_some()
    }

    /// Serves a session to its end.
    pub(crate) async fn serve(&mut self, link: &mut Link) -> Ending {
        let (mut leaving, mut said) = (self.worker.leaving.clone(), false);
        let mut rates = interval(RATES_EVERY);
        rates.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What is late or doubled never crosses from one session to the next.
        self.highest = self.host.as_ref().map(|host| host.run).unwrap_or_default();
        loop {
            let reports = tokio::select! {
                command = link.commands.recv() => match command {
                    Some(Command::Stop) => {
                        self.end().await;
                        return Ending::Stopped;
                    }
                    None => return Ending::Left,
                    Some(command) => self.on(command).await,
                },
                reports = self.happens() => reports,
                true = told(&mut leaving), if !said => {
                    said = true;
                    vec![Report::Leaving]
                }
                _ = rates.tick() => self.rates(),
            };
            for report in reports {
                if link.reports.send(report).await.is_err() {
                    return Ending::Left;
                }
            }
        }
    }

    /// What happens next here, whoever hears of it.
    async fn happens(&mut self) -> Vec<Report> {
        tokio::select! {
            seen = next_seen(&mut self.host) => self.seen(seen),
            Some(done) = self.beside.join_next() => match done {
                Ok(report) => vec![report],
                // A commit of tasks that were dropped.
                Err(error) if error.is_cancelled() => vec![],
                Err(error) => {
                    let error = millstream_dataflow::Error::bug(error.to_string());
                    vec![failed(self.highest, error)]
                }
            },
            (peer, reason) = next_loss(&mut self.losses) => self.lost(peer, reason),
            () = self.drift.due() => drift::report(self.host.as_ref()),
        }
    }

    /// Lets everything go.
    pub(crate) async fn end(&mut self) {
        self.beside.shutdown().await;
        self.drop_host().await;
    }
}

/// Returns when this process is told to end; false where nobody will do so.
async fn told(leaving: &mut watch::Receiver<bool>) -> bool {
    leaving.wait_for(|leaving| *leaving).await.is_ok()
}

async fn next_seen(host: &mut Option<Host>) -> Seen {
    match host {
        Some(host) => host.next().await,
        None => std::future::pending().await,
    }
}

async fn next_loss(losses: &mut Option<mpsc::Receiver<Loss>>) -> Loss {
    let next = match losses {
        Some(losses) => losses.recv().await,
        None => None,
    };
    match next {
        Some(loss) => loss,
        None => std::future::pending().await,
    }
}

/// The report of a failure of a run.
pub(crate) fn failed(run: Run, error: millstream_dataflow::Error) -> Report {
    let operator = error.operator().map(Into::into);
    // The coordinator puts the operator in front.
    let failure = Failure::new(error.kind(), error.to_string());
    Report::TaskFailed { run, operator, failure }
}

impl Session {
    async fn on(&mut self, command: Command) -> Vec<Report> {
        match command {
            Command::Hello(hello) => {
                self.origin = Origin::of(&hello);
                let going = self.host.as_ref().filter(|host| !host.broken).map(Host::going);
                vec![host::facts(&self.worker, going, hello.generation, &hello.spec)]
            }
            Command::Deploy(deploy) => self.deploy(*deploy).await,
            Command::Adopt { run, term } => self.adopt(run, term),
            Command::Start { run } => {
                if self.host.as_ref().is_some_and(|host| host.run == run) {
                    self.worker.exchange.start(self.index, &self.peers);
                }
                self.with(run, Host::start)
            }
            Command::Barrier { run, epoch, stopping } => {
                self.with(run, |host| host.barrier(epoch, stopping))
            }
            Command::ReadLog { request } => {
                let store = self.worker.store.clone();
                self.beside.spawn(log_io::report_log(store, self.origin.clone(), request));
                vec![]
            }
            Command::GoOn { run } => self.with(run, Host::go_on),
            Command::Abort { run, epoch } => self.with(run, |host| host.abort(epoch)),
            Command::Published { run, epoch, objects } => {
                let reports = self.with(run, |host| host.engine.published(epoch));
                if let Some(local) = self.worker.local.clone() {
                    // Nobody waits for it.
                    tokio::task::spawn_blocking(move || local.retain(epoch, &objects));
                }
                reports
            }
            Command::Commit { run, epoch, seq: _ } => {
                self.commit(run, epoch);
                vec![]
            }
            Command::Drift { run, others } => {
                self.with(run, |host| host.engine.others_stand_at(others))
            }
            Command::Drop { run } => {
                if self.host.as_ref().is_some_and(|host| host.run <= run) {
                    self.drop_host().await;
                }
                self.highest = self.highest.max(run);
                vec![Report::Dropped { run }]
            }
            other => {
                log_io::spawn(&mut self.beside, self.worker.store.clone(), other);
                vec![]
            }
        }
    }

    /// Has the tasks of a run do something that is not answered.
    fn with(&mut self, run: Run, act: impl FnOnce(&mut Host)) -> Vec<Report> {
        if let Some(host) = self.host.as_mut().filter(|host| host.run == run) {
            act(host);
        }
        vec![]
    }

    fn adopt(&mut self, run: Run, term: Term) -> Vec<Report> {
        let host = self.host.as_ref().filter(|host| host.run == run && !host.broken);
        let Some(host) = host else {
            let failure = Failure::new(ErrorKind::Unavailable, "the tasks to be adopted are gone");
            return vec![Report::TaskFailed { run, operator: None, failure }];
        };
        self.worker.obeyed.set(&self.worker.prefix, (run, term));
        // Whoever asked for a snapshot may have done so while nobody listened.
        let wanted = host.wanted.then_some(Report::SnapshotWanted { run });
        let adopted = Report::Adopted { run, term, epoch: host.barrier, ended: host.ended };
        wanted.into_iter().chain([adopted]).collect()
    }

    async fn deploy(&mut self, deploy: Deploy) -> Vec<Report> {
        let run = deploy.run;
        if run <= self.highest {
            return vec![];
        }
        self.highest = run;
        self.worker.obeyed.set(&self.worker.prefix, (run, deploy.term));
        self.drop_host().await;
        self.peers.clone_from(&deploy.peers);
        match Host::deploy(&self.worker, self.index, deploy).await {
            Ok(host) => {
                let (links, lineage) = (host.engine.links().clone(), host.lineage.clone());
                let whose = Whose { job: self.worker.job.clone(), run, lineage };
                self.losses = Some(self.worker.exchange.open(whose, links));
                self.drift = Teller::of(&host);
                self.host = Some(host);
                vec![]
            }
            Err(error) => vec![failed(run, error)],
        }
    }

    fn commit(&mut self, run: Run, epoch: Epoch) {
        let Some(host) = self.host.as_mut().filter(|host| host.run == run) else { return };
        let commits = host.engine.committer();
        host.at_sinks.retain(|commit| !commit.is_finished());
        let metrics = self.worker.metrics.clone();
        let commit = commit::commit(commits, metrics, run, epoch);
        host.at_sinks.push(self.beside.spawn(commit));
    }

    fn seen(&mut self, seen: Seen) -> Vec<Report> {
        let Some(host) = &mut self.host else { return vec![] };
        let run = host.run;
        match seen {
            Seen::Restored => {
                let commits = host.engine.committer();
                let restore_took = host.since_deploy();
                host.at_sinks.push(self.beside.spawn(async move {
                    match commits.recover().await {
                        Ok(()) => Report::Deployed { run, restore_took },
                        Err(error) => failed(run, error),
                    }
                }));
                vec![]
            }
            Seen::Captured(capture) => {
                let (worker, index) = (self.worker.clone(), self.index);
                self.beside.spawn(async move { capture.upload(&worker, run, index).await });
                vec![]
            }
            Seen::Declined { epoch, error } => {
                if error.kind() == ErrorKind::Unavailable {
                    let reason = host::failure(&error).message;
                    vec![Report::Declined { run, epoch, reason }]
                } else {
                    vec![failed(run, error)]
                }
            }
            Seen::SnapshotWanted => {
                host.wanted = true;
                vec![Report::SnapshotWanted { run }]
            }
            // The counters go first, so that the end is shown with the last of them.
            Seen::Ended => {
                host.ended = true;
                vec![Report::Rates(Box::new(host.rates())), Report::Finished { run }]
            }
            Seen::Failed(error) => {
                host.broken = true;
                vec![failed(run, error)]
            }
        }
    }

    fn lost(&mut self, peer: WorkerIndex, reason: String) -> Vec<Report> {
        let Some(host) = &mut self.host else { return vec![] };
        host.broken = true;
        vec![Report::PeerLost { run: host.run, peer, reason }]
    }

    fn rates(&self) -> Vec<Report> {
        let host = self.host.as_ref();
        host.map(|host| Report::Rates(Box::new(host.rates()))).into_iter().collect()
    }

    /// Lets the tasks go. When this returns, no thread of them is left, and no commit goes on.
    async fn drop_host(&mut self) {
        self.worker.exchange.close();
        self.losses = None;
        self.drift = Teller::default();
        if let Some(host) = self.host.take() {
            for commit in &host.at_sinks {
                commit.abort();
            }
            // A thread is joined between two batches: short, but not for the loop to wait on.
            let _ = tokio::task::spawn_blocking(move || drop(host)).await;
        }
    }
}
