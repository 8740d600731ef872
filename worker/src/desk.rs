//! What may be asked of a job while it runs here: another number of workers, a savepoint, a stop.
//!
//! Hears [`crate::control`], asks the coordinator through its handle, starts and ends the processes
//! of workers. Invariant: a worker's process ends only when no task of the spec in force is meant
//! to run on it.

mod door;
mod waits;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use millstream_coordinator::driver::{Handle, Request};
use millstream_coordinator::edit::Edit;
use millstream_coordinator::machine::StopMode;
use millstream_coordinator::status::{Phase, Refusal, Status};
use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::job::StreamJob;
use millstream_protocol::path::JobPrefix;
use millstream_protocol::validate::{self, Problem};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use self::door::Door;
use self::waits::Waits;
use crate::config::LocalJob;
use crate::control::{Answer, Ask, Asker};
use crate::end;
use crate::processes::Processes;
use crate::progress::brief;
use crate::terminal::say;

/// How long whoever waits may take to hear how the job ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often it is looked whether whoever asks finds this run: folders of temporary files are
/// cleared.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Those who may wait at once: a person or two.
const ASKERS_MAX: usize = 8;

/// What comes of what was asked.
type Said = Result<Answer, Failure>;

/// Answers for one run.
#[derive(Clone)]
pub(crate) struct Desk {
    handle: Handle,
    wanted: Arc<Mutex<Wanted>>,
    /// Its workers; none where it runs in one process.
    processes: Option<Arc<Mutex<Processes>>>,
}

/// The job as it was last asked to be.
struct Wanted {
    generation: u64,
    job: StreamJob,
    /// How many workers each generation has, from that of the spec in force on.
    workers: BTreeMap<u64, u32>,
}

impl Desk {
    pub(crate) fn new(
        local: &LocalJob,
        handle: Handle,
        processes: Option<Arc<Mutex<Processes>>>,
    ) -> Self {
        let (generation, job) = (local.config.generation, local.job.clone());
        let workers = BTreeMap::from([(generation, job.spec.workers)]);
        let wanted = Wanted { generation, job, workers };
        Self { handle, wanted: Arc::new(Mutex::new(wanted)), processes }
    }

    /// Answers until the job ends.
    pub(crate) async fn serve(self, job: JobPrefix) {
        let mut answering = JoinSet::new();
        self.answer(&job, &mut answering).await;
        let last_words = async { while answering.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, last_words).await;
    }

    async fn answer(&self, job: &JobPrefix, answering: &mut JoinSet<()>) {
        let mut door = Door::default();
        let mut look = interval(LOOK_EVERY);
        let mut is_claimed = false;
        loop {
            let asker = tokio::select! {
                asker = door.next() => asker,
                // Another run is asked until this one has the job: it may never get it.
                _ = look.tick() => {
                    door.keep(job).await;
                    continue;
                }
                () = claimed(self.handle.status.clone()), if !is_claimed => {
                    is_claimed = true;
                    door.take(job);
                    continue;
                }
                () = ended(self.handle.status.clone()) => return,
            };
            while answering.try_join_next().is_some() {}
            let is_full = answering.len() >= ASKERS_MAX;
            answering.spawn(self.clone().attend(asker, is_full));
        }
    }

    /// Does what is asked for, and says meanwhile what that waits for.
    async fn attend(self, mut asker: Asker, is_full: bool) {
        let Some(ask) = asker.ask().await else { return };
        // A stop is always let in.
        if is_full && !matches!(ask, Ask::Stop { .. }) {
            let message = "too much is asked of this job at once: try again";
            let failure = Failure::new(ErrorKind::Unavailable, message);
            asker.answer(&Answer::Failed(failure)).await;
            return;
        }
        // It has workers to start and to end, whoever waits for it.
        let goes_on = matches!(ask, Ask::Scale { .. });
        let mut waits = Waits::new(ask.clone(), self.handle.status.clone());
        let (note, mut notes) = mpsc::channel(1);
        let mut acted = pin!(self.act(ask, note));
        let mut is_there = true;
        let said = loop {
            let news = tokio::select! {
                // What was asked for goes to the coordinator, also of those who hang up at once.
                biased;
                Some(note) = notes.recv() => Answer::Note(note),
                acted = &mut acted => break acted,
                news = waits.next() => news,
                () = asker.gone(), if is_there => {
                    if !goes_on {
                        return;
                    }
                    is_there = false;
                    continue;
                }
            };
            is_there = is_there && asker.answer(&news).await;
        };
        if is_there {
            asker.answer(&said.unwrap_or_else(Answer::Failed)).await;
        }
    }

    async fn act(&self, ask: Ask, note: mpsc::Sender<String>) -> Said {
        match ask {
            Ask::Stop { savepoint } => self.stop(savepoint).await,
            Ask::Savepoint => self.savepoint().await,
            Ask::Scale { workers } => self.scale(workers, note).await,
        }
    }

    async fn scale(&self, workers: u32, note: mpsc::Sender<String>) -> Said {
        let invalid = |message: String| Failure::new(ErrorKind::Invalid, message);
        let Some(processes) = &self.processes else {
            let message = "only a job that was started with --workers can be scaled while it runs: \
                           this one runs in one process, or on workers that others started";
            return Err(invalid(message.to_owned()));
        };
        let (generation, before) = {
            let mut wanted = self.wanted.lock().await;
            let mut next = wanted.job.clone();
            next.spec.workers = workers;
            // What was asked for before may never have come to run.
            let before = self.handle.status.borrow().workers;
            if let Some(problem) = validate::job(&next).first() {
                return Err(invalid(of_workers(problem, &next)));
            }
            let mut processes = processes.lock().await;
            let kept = processes.count();
            processes.grow(workers).map_err(|error| crate::host::failure(&error))?;
            let generation = wanted.generation + 1;
            // A wish is acted upon when the job starts.
            let wish = millstream_protocol::wish::Wish::Latest;
            let edit = Edit { generation, spec: next.spec.clone(), wish };
            if let Err(failure) = self.request(Request::Edit(Box::new(edit))).await {
                processes.shrink(kept).await;
                return Err(failure);
            }
            let in_force = self.handle.status.borrow().generation;
            wanted.workers.retain(|generation, _| *generation >= in_force);
            wanted.workers.insert(generation, workers);
            (wanted.generation, wanted.job) = (generation, next);
            (generation, before)
        };
        say(&format!("scaling from {before} to {}", count(workers)));
        let clock = SystemClock::new();
        let asked = clock.monotonic_ns();
        let _ = note.send(format!("from {before} to {}", count(workers))).await;
        let scaled = self.scaled(generation, note).await;
        let took = Duration::from_nanos(clock.monotonic_ns().saturating_sub(asked));
        // Whoever asks next may have asked for more of them already.
        let wanted = self.wanted.lock().await;
        match &scaled {
            Ok(()) if wanted.generation == generation => {
                processes.lock().await.shrink(workers).await;
            }
            Ok(()) | Err(_) => {}
        }
        drop(wanted);
        // Where nothing moves, it is the last move's.
        let stood = self.handle.status.borrow().stood.filter(|_| workers != before);
        let stood = stood.map(|stood| format!(", and stood still for {}", brief(stood)));
        let stood = stood.unwrap_or_default();
        let said = format!("runs on {}: it took {}{stood}\n", count(workers), brief(took));
        scaled.map(|()| Answer::Done(said))
    }

    /// Waits until the job runs by the spec with this number. Says once what holds it.
    async fn scaled(&self, generation: u64, note: mpsc::Sender<String>) -> Result<(), Failure> {
        let of = |refused: &Option<Refusal>| {
            let own = refused.as_ref().filter(|refused| refused.generation == generation);
            own.map(|refused| refused.failure.clone())
        };
        let refusal = |status: &Status| of(&status.refused);
        let is_over = |status: &Status| {
            let runs = status.phase == Phase::Running && status.generation >= generation;
            runs || refusal(status).is_some() || has_ended(status.phase)
        };
        let mut status = self.handle.status.clone();
        let gone = || Failure::new(ErrorKind::Unavailable, "the job has ended");
        let held = |status: &Status| of(&status.held);
        let moves = |status: &Status| is_over(status) || held(status).is_some();
        let seen = status.wait_for(moves).await.map_err(|_| gone())?.clone();
        if let Some(Failure { message, .. }) = held(&seen) {
            let _ = note.send(message).await;
        }
        let status = status.wait_for(is_over).await.map_err(|_| gone())?.clone();
        match refusal(&status) {
            Some(failure) => {
                self.take_back(generation).await;
                Err(failure)
            }
            None if status.phase != Phase::Running => Err(gone()),
            None if status.generation > generation => {
                Err(Failure::new(ErrorKind::Invalid, "something else was asked for meanwhile"))
            }
            None => Ok(()),
        }
    }

    /// What was refused is wanted no more: the workers of the spec in force are left.
    async fn take_back(&self, generation: u64) {
        let mut wanted = self.wanted.lock().await;
        let in_force = self.handle.status.borrow().generation;
        let Some(workers) = wanted.workers.get(&in_force).copied() else { return };
        if wanted.generation == generation {
            wanted.job.spec.workers = workers;
            if let Some(processes) = &self.processes {
                processes.lock().await.shrink(workers).await;
            }
        }
    }

    async fn savepoint(&self) -> Said {
        let asked = {
            let status = self.handle.status.borrow();
            status.last_savepoint.as_ref().map_or(0, |last| last.request) + 1
        };
        self.request(Request::Savepoint(asked)).await?;
        match self.saved(asked).await? {
            Answer::Short(why) => {
                let message = format!("no savepoint was taken: {why}");
                Err(Failure::new(ErrorKind::Unavailable, message))
            }
            answer => Ok(answer),
        }
    }

    async fn saved(&self, request: u64) -> Said {
        let is_over = |status: &Status| {
            let last = status.last_savepoint.as_ref();
            last.is_some_and(|last| last.request >= request) || has_ended(status.phase)
        };
        let mut status = self.handle.status.clone();
        let gone = || Failure::new(ErrorKind::Unavailable, "the job has ended");
        let status = status.wait_for(is_over).await.map_err(|_| gone())?.clone();
        match status.last_savepoint.filter(|last| last.request >= request) {
            Some(last) => match last.result {
                Ok(snapshot) => Ok(Answer::Done(format!("{}\n", snapshot.uri))),
                Err(_) if status.has_last_snapshot == Some(false) => self.short().await,
                Err(failure) => Err(failure),
            },
            None if status.has_last_snapshot == Some(false) => self.short().await,
            None => Err(gone()),
        }
    }

    /// What is said of a job that was stopped and has left no snapshot of its end.
    async fn short(&self) -> Said {
        let name = self.wanted.lock().await.job.metadata.name.clone();
        Ok(Answer::Short(end::short(&name, &self.handle.status.borrow())))
    }

    async fn stop(&self, savepoint: bool) -> Said {
        let asked = {
            let status = self.handle.status.borrow();
            status.last_savepoint.as_ref().map_or(0, |last| last.request) + 1
        };
        if savepoint {
            self.request(Request::StopWithSavepoint(asked)).await?;
            return self.saved(asked).await;
        }
        self.request(Request::Stop(StopMode::AfterSnapshot)).await?;
        let mut status = self.handle.status.clone();
        let gone = || Failure::new(ErrorKind::Unavailable, "the job has ended");
        let has_ended = |status: &Status| has_ended(status.phase);
        let ended = status.wait_for(has_ended).await.map_err(|_| gone())?.clone();
        match (ended.phase, ended.last_failure) {
            (Phase::Failed, Some(last)) => Err(last.failure),
            _ if ended.has_last_snapshot == Some(false) => self.short().await,
            _ => Ok(Answer::Done(String::new())),
        }
    }

    async fn request(&self, request: Request) -> Result<(), Failure> {
        let gone = |_| Failure::new(ErrorKind::Unavailable, "the job has ended");
        self.handle.requests.send(request).await.map_err(gone)
    }
}

/// What is wrong with a job of another number of workers: the option is all that changes.
fn of_workers(problem: &Problem, job: &StreamJob) -> String {
    match (problem.path.as_str(), job.spec.threads_per_worker) {
        ("spec.threadsPerWorker", Some(threads)) => {
            let (workers, key_groups) = (job.spec.workers, job.spec.key_groups);
            format!(
                "--workers: is {workers}, with {threads} threads each: write a number from 1 to \
                 {}: spec.keyGroups is {key_groups}, and each thread needs one",
                key_groups.checked_div(threads).unwrap_or_default()
            )
        }
        _ => problem.to_string().replace("spec.workers", "--workers"),
    }
}

fn count(workers: u32) -> String {
    if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") }
}

/// Returns when this run has the job.
async fn claimed(mut status: watch::Receiver<Status>) {
    if status.wait_for(|status| status.run.is_some()).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn ended(mut status: watch::Receiver<Status>) {
    let _ = status.wait_for(|status| has_ended(status.phase)).await;
}

fn has_ended(phase: Phase) -> bool {
    matches!(phase, Phase::Finished | Phase::Failed | Phase::Suspended)
}
