//! One job's coordinator: its driver as a task, the addresses that it calls, and what it was told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_coordinator::config::Config;
use millstream_coordinator::driver::{Clock, Driver, Handle, Request, WallClock};
use millstream_coordinator::machine::Outcome;
use millstream_coordinator::remote::{self, Process, Roster};
use millstream_coordinator::status::{Phase, Status};
use millstream_protocol::id::{Seq, WorkerIndex};
use millstream_protocol::time::Timestamp;
use millstream_transport::Transport;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::metrics::Present;
use crate::reconcile::accepted::Accepted;
use crate::reconcile::decide::Seen;
use crate::reconcile::flow::Flow;
use crate::reconcile::pods::Worker;
use crate::reconcile::savepoint::{Parting, Progress};
use crate::reconcile::status::is_old;
use crate::reconcile::validate::Owner;

/// One that was fenced tries again after so long: whoever has fenced it may be an operator that is
/// just being replaced by this one.
pub(crate) const FENCED_PAUSE: Duration = Duration::from_secs(10);

/// A job's coordinator.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) owner: Owner,
    pub(super) restarts_before: i64,
    pub(super) is_stopping: bool,
    told: Vec<Accepted>,
    /// The numbers of savepoints that were asked for, by the UID of the object that asks.
    savepoints: BTreeMap<String, u64>,
    handle: Handle,
    gauge: Gauge,
    clock: WallClock,
    ended: watch::Receiver<Option<(Outcome, Timestamp)>>,
    roster: Roster,
    /// The process that each worker is.
    workers: BTreeMap<u32, watch::Sender<Option<Process>>>,
    /// End with it.
    _tasks: JoinSet<()>,
}

/// Who is told of a coordinator.
#[derive(Debug)]
pub(super) struct Told {
    /// Whenever it shows something new.
    pub(super) changed: mpsc::Sender<Owner>,
    /// While it is at work.
    pub(super) present: Present,
}

/// What passes through the job, by what its coordinator shows from time to time.
#[derive(Clone, Debug)]
struct Gauge {
    flow: Arc<Mutex<Flow>>,
    clock: WallClock,
    /// Between two snapshots, as the spec says that was told last.
    interval: Arc<Mutex<Duration>>,
}

impl Gauge {
    fn see(&self, status: &Status) -> Flow {
        let mut flow = self.flow.lock().unwrap_or_else(PoisonError::into_inner);
        flow.see(status, self.clock.now());
        flow.clone()
    }

    /// Whether the last snapshot is too old.
    fn is_old(&self, status: &Status) -> bool {
        let interval = *self.interval.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_snapshot.as_ref().is_some_and(|last| is_old(last, interval, self.clock.now()))
    }
}

impl Kept {
    /// Starts a coordinator. To be called within a runtime.
    pub(super) fn start(
        owner: Owner,
        accepted: Accepted,
        config: Config,
        restarts_before: i64,
        told: Told,
    ) -> Self {
        let Told { changed, present } = told;
        let (roster, session) = remote::session(&config.prefix.id(), Transport::default());
        let clock = WallClock::new();
        let (driver, handle) = Driver::new(config, session, clock);
        let (end, ended) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let outcome = driver.run().await;
            drop(present);
            tracing::info!(?outcome, "a coordinator has ended");
            end.send_replace(Some((outcome, clock.now())));
        });
        let interval = Arc::new(Mutex::new(accepted.spec.snapshots.interval.0));
        let gauge = Gauge { flow: Arc::default(), clock, interval };
        let (status, end) = (handle.status.clone(), ended.clone());
        tasks.spawn(watch_changes(owner.clone(), status, end, changed, gauge.clone()));
        Self {
            owner,
            restarts_before,
            is_stopping: false,
            told: vec![accepted],
            savepoints: BTreeMap::new(),
            handle,
            gauge,
            clock,
            ended,
            roster,
            workers: BTreeMap::new(),
            _tasks: tasks,
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let ended = self.ended.borrow().clone();
        let status = self.handle.status.borrow().clone();
        Seen {
            flow: self.gauge.see(&status),
            status,
            is_rested: ended
                .as_ref()
                .is_some_and(|(_, at)| self.clock.now().since(*at) >= FENCED_PAUSE),
            outcome: ended.map(|(outcome, _)| outcome),
            is_stopping: self.is_stopping,
            told: self.told.clone(),
        }
    }

    /// Whether the request was taken. Where it was not, the next look at the job repeats it.
    pub(super) fn ask(&self, request: Request) -> bool {
        self.handle.requests.try_send(request).is_ok()
    }

    /// One answer may be to several.
    pub(super) fn savepoint(&self, uid: &str) -> Progress {
        let status = self.handle.status.borrow();
        let asked = self.savepoints.get(uid);
        let last = status.last_savepoint.as_ref();
        if let Some((asked, last)) = asked.zip(last)
            && last.request >= *asked
        {
            return Progress::Done(last.result.clone());
        }
        match asked {
            _ if self.ended.borrow().is_some() => Progress::Away,
            Some(_) => Progress::Asked,
            None if status.phase == Phase::Running => Progress::Ready,
            None => Progress::Away,
        }
    }

    /// Where the request is not taken, the next look repeats it.
    pub(super) fn ask_savepoint(&mut self, uid: &str) {
        let request = self.savepoints.values().max().unwrap_or(&0) + 1;
        if self.ask(Request::Savepoint(request)) {
            self.savepoints.insert(uid.to_owned(), request);
        }
    }

    /// What stays may go later: it is asked for again.
    pub(super) fn let_go(&self, seq: Seq) -> Option<Parting> {
        if self.ended.borrow().is_some() {
            return None;
        }
        let answers = self.handle.status.borrow().let_go.clone();
        let answer = answers.into_iter().find(|it| it.seq == seq).map(|it| it.result);
        let parting = match answer {
            Some(Some(Ok(()))) => return Some(Parting::Gone),
            Some(None) => return Some(Parting::Asked),
            Some(Some(Err(why))) => Parting::Stays(why),
            None => Parting::Asked,
        };
        self.ask(Request::LetGo(seq));
        Some(parting)
    }

    /// Keeps what may come in force, and what is.
    pub(super) fn tell(&mut self, accepted: Accepted) {
        let in_force = self.handle.status.borrow().generation;
        self.told.retain(|told| told.generation as u64 >= in_force);
        let interval = accepted.spec.snapshots.interval.0;
        *self.gauge.interval.lock().unwrap_or_else(PoisonError::into_inner) = interval;
        self.told.push(accepted);
    }

    /// Another pod is another process, also at the same address.
    pub(super) fn locate(&mut self, workers: &[Worker]) {
        for worker in workers {
            let say = self.workers.entry(worker.ordinal).or_insert_with(|| {
                let (say, found) = watch::channel(None);
                self.roster.add(WorkerIndex(worker.ordinal), found, None);
                say
            });
            let address = worker.address.clone();
            let process = address.map(|address| Process { address, pod: Some(worker.uid.clone()) });
            say.send_if_modified(|now| {
                let is_other = *now != process;
                *now = process;
                is_other
            });
        }
        for (ordinal, say) in &self.workers {
            if !workers.iter().any(|worker| worker.ordinal == *ordinal) {
                say.send_replace(None);
            }
        }
    }
}

/// Says when a coordinator shows something that cannot wait for the next look at its job.
async fn watch_changes(
    owner: Owner,
    mut status: watch::Receiver<Status>,
    mut ended: watch::Receiver<Option<(Outcome, Timestamp)>>,
    changed: mpsc::Sender<Owner>,
    gauge: Gauge,
) {
    let mut shown = (gist(&status.borrow_and_update()), false);
    // Its sender is gone when it has ended.
    while status.changed().await.is_ok() {
        let status = status.borrow_and_update().clone();
        gauge.see(&status);
        let now = (gist(&status), gauge.is_old(&status));
        if now != shown && changed.send(owner.clone()).await.is_err() {
            return;
        }
        shown = now;
    }
    let _ = ended.wait_for(Option::is_some).await;
    let _ = changed.send(owner).await;
}

/// A status without what changes all the time.
fn gist(status: &Status) -> Status {
    let mut gist = status.clone();
    gist.totals = Default::default();
    gist.restarts_in = None;
    // That there is one is worth a look; the next ones are seen at the next.
    if let Some(last) = &mut gist.last_snapshot {
        last.uri.clear();
        last.epoch = Default::default();
        last.seq = Default::default();
        last.completed_at = Default::default();
        last.duration = Duration::ZERO;
        (last.bytes, last.new_bytes) = (0, 0);
    }
    gist
}
