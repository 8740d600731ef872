//! The worker's end of a session: takes a coordinator's commands, does the I/O, reports what it
//! saw.
//!
//! Receives [`Command`]s over a [`Link`], drives an [`Engine`](millstream_dataflow::engine::Engine)
//! through [`crate::host`], hands [`Report`]s back. Invariant: whatever waits for the store or a
//! sink runs beside the loop, so that a command is never kept waiting by one before it.

use std::sync::Arc;
use std::time::Duration;

use millstream_coordinator::channel::Link;
use millstream_dataflow::snapshot::Store;
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, Run, WorkerIndex};
use millstream_protocol::path::JobPrefix;
use millstream_protocol::session::{Command, Deploy, Report};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::drift::{self, Teller};
use crate::exchange::{Exchange, Loss};
use crate::host::{self, Host, Seen};
use crate::log_io;
use crate::metrics::Metrics;
use crate::parts::LocalParts;
use crate::program::Programs;

/// How often counters are reported.
const RATES_EVERY: Duration = Duration::from_millis(500);

/// What a worker is given before any command.
#[derive(Clone)]
pub struct Worker {
    /// The programs of this binary.
    pub programs: Programs,
    /// The job's store.
    pub store: Arc<dyn Store>,
    /// Engine threads of this worker.
    pub threads: u32,
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
}

struct Session {
    worker: Worker,
    index: WorkerIndex,
    spec: Option<Arc<millstream_protocol::job::JobSpec>>,
    host: Option<Host>,
    /// Where the workers of the run are, and what breaks between them and this one.
    peers: Vec<String>,
    losses: Option<mpsc::Receiver<Loss>>,
    drift: Teller,
    /// Commands of lower runs are not obeyed.
    highest: Run,
    /// Work beside the loop; each ends in a report.
    beside: JoinSet<Report>,
}

/// Serves a session to its end.
pub async fn serve(mut link: Link, worker: Worker) {
    let mut session = Session {
        worker,
        index: link.worker,
        spec: None,
        host: None,
        peers: Vec::new(),
        losses: None,
        drift: Teller::default(),
        highest: Run(0),
        beside: JoinSet::new(),
    };
    let mut rates = interval(RATES_EVERY);
    rates.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let reports = tokio::select! {
            command = link.commands.recv() => match command {
                Some(Command::Stop) | None => break,
                Some(command) => session.on(command).await,
            },
            seen = next_seen(&mut session.host) => session.seen(seen),
            Some(done) = session.beside.join_next() => match done {
                Ok(report) => vec![report],
                // A commit of tasks that were dropped.
                Err(error) if error.is_cancelled() => vec![],
                Err(error) => {
                    let error = millstream_dataflow::Error::bug(error.to_string());
                    vec![failed(session.highest, error)]
                }
            },
            (peer, reason) = next_loss(&mut session.losses) => session.lost(peer, reason),
            _ = rates.tick() => session.rates(),
            () = session.drift.due() => drift::report(session.host.as_ref()),
        };
        for report in reports {
            if link.reports.send(report).await.is_err() {
                break;
            }
        }
    }
    session.beside.shutdown().await;
    session.drop_host().await;
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
                self.spec = Some(Arc::new(hello.spec));
                vec![self.facts()]
            }
            Command::Deploy(deploy) => self.deploy(*deploy).await,
            Command::Start { run } => {
                if self.host.as_ref().is_some_and(|host| host.run == run) {
                    self.worker.exchange.start(self.index, &self.peers);
                }
                self.with(run, |host| host.engine.start());
                vec![]
            }
            Command::Barrier { run, epoch, stopping } => {
                self.with(run, |host| host.barrier(epoch, stopping));
                vec![]
            }
            Command::Abort { run, epoch } => {
                self.with(run, |host| host.abort(epoch));
                vec![]
            }
            Command::Published { run, epoch, objects } => {
                self.with(run, |host| host.engine.published(epoch));
                if let Some(local) = self.worker.local.clone() {
                    // Nobody waits for it.
                    tokio::task::spawn_blocking(move || local.retain(epoch, &objects));
                }
                vec![]
            }
            Command::Commit { run, epoch, seq: _ } => {
                self.commit(run, epoch);
                vec![]
            }
            Command::Drift { run, others } => {
                self.with(run, |host| host.engine.others_stand_at(others));
                vec![]
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

    fn with(&mut self, run: Run, act: impl FnOnce(&mut Host)) {
        if let Some(host) = self.host.as_mut().filter(|host| host.run == run) {
            act(host);
        }
    }

    fn facts(&self) -> Report {
        let spec = self.spec.as_ref().expect("hello came with it");
        host::facts(&self.worker, spec)
    }

    async fn deploy(&mut self, deploy: Deploy) -> Vec<Report> {
        let run = deploy.run;
        let Some(spec) = self.spec.clone().filter(|_| run > self.highest) else { return vec![] };
        self.highest = run;
        self.drop_host().await;
        self.peers.clone_from(&deploy.peers);
        match Host::deploy(&self.worker, &spec, self.index, deploy).await {
            Ok(host) => {
                let links = host.engine.links().clone();
                self.losses = Some(self.worker.exchange.open(run, links));
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
        host.at_sinks.push(self.beside.spawn(async move {
            match commits.commit(epoch).await {
                Ok(()) => Report::Committed { run, epoch },
                Err(error) => failed(run, error),
            }
        }));
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
            Seen::SnapshotWanted => vec![Report::SnapshotWanted { run }],
            // The counters go first, so that the end is shown with the last of them.
            Seen::Ended => vec![Report::Rates(host.rates()), Report::Finished { run }],
            Seen::Failed(error) => vec![failed(run, error)],
        }
    }

    fn lost(&self, peer: WorkerIndex, reason: String) -> Vec<Report> {
        let run = self.host.as_ref().map(|host| host.run);
        run.map(|run| Report::PeerLost { run, peer, reason }).into_iter().collect()
    }

    fn rates(&self) -> Vec<Report> {
        self.host.as_ref().map(|host| Report::Rates(host.rates())).into_iter().collect()
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
