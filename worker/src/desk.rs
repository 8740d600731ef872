//! What may be asked of a job while it runs here: another number of workers, a savepoint, a stop.
//!
//! Hears [`crate::control`], asks the coordinator through its handle, starts and ends the processes
//! of workers. Invariant: a worker's process ends only when no task of the spec in force is meant
//! to run on it.

use std::sync::Arc;
use std::time::Duration;

use millstream_coordinator::driver::{Handle, Request};
use millstream_coordinator::edit::Edit;
use millstream_coordinator::machine::StopMode;
use millstream_coordinator::status::{Phase, Refusal, Status};
use millstream_dataflow::Result;
use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::job::StreamJob;
use millstream_protocol::path::JobPrefix;
use millstream_protocol::validate;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::LocalJob;
use crate::control::{Answer, Ask, Asker, Socket};
use crate::processes::Processes;
use crate::progress::brief;
use crate::terminal::say;

/// How long whoever waits may take to hear how the job ended.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Those who may wait at once: a person or two.
const ASKERS_MAX: usize = 8;

/// What comes of what was asked: words for whoever asked.
type Said = std::result::Result<String, Failure>;

/// Answers for one run.
#[derive(Clone)]
pub(crate) struct Desk {
    handle: Handle,
    /// The job as it was last asked to be.
    wanted: Arc<Mutex<(u64, StreamJob)>>,
    /// Its workers; none where it runs in one process.
    processes: Option<Arc<Mutex<Processes>>>,
}

impl Desk {
    pub(crate) fn new(
        local: &LocalJob,
        handle: Handle,
        processes: Option<Arc<Mutex<Processes>>>,
    ) -> Self {
        let wanted = (local.config.generation, local.job.clone());
        Self { handle, wanted: Arc::new(Mutex::new(wanted)), processes }
    }

    /// Answers until the job ends.
    pub(crate) async fn serve(self, job: JobPrefix) {
        let mut answering = JoinSet::new();
        if let Err(error) = self.answer(&job, &mut answering).await {
            tracing::warn!("nobody can ask this job for anything any more: {error}");
        }
        let last_words = async { while answering.join_next().await.is_some() {} };
        let _ = timeout(LAST_WORDS, last_words).await;
    }

    async fn answer(&self, job: &JobPrefix, answering: &mut JoinSet<()>) -> Result<()> {
        // Another run is asked until this one has the job: it may never get it.
        let mut socket = Socket::listen_unless_taken(job).await?;
        let mut is_claimed = false;
        loop {
            let next = tokio::select! {
                next = next(socket.as_ref()) => next,
                () = claimed(self.handle.status.clone()), if !is_claimed => {
                    is_claimed = true;
                    if !socket.as_ref().is_some_and(Socket::is_found) {
                        socket = Some(Socket::listen(job)?);
                    }
                    continue;
                }
                () = ended(self.handle.status.clone()) => return Ok(()),
            };
            let (ask, mut asker) = next?;
            while answering.try_join_next().is_some() {}
            // A stop is always let in.
            let is_stop = matches!(ask, Ask::Stop { .. });
            if answering.len() >= ASKERS_MAX && !is_stop {
                let message = "too much is asked of this job at once: try again";
                let failure = Failure::new(ErrorKind::Unavailable, message);
                asker.answer(&Answer::Failed(failure)).await;
                continue;
            }
            let desk = self.clone();
            answering.spawn(async move {
                let acted = match ask {
                    // It has workers to start and to end, whoever waits for it.
                    Ask::Scale { workers } => desk.scale(workers, &mut asker).await,
                    Ask::Savepoint | Ask::Stop { .. } => tokio::select! {
                        acted = desk.act(ask) => acted,
                        // What was asked for goes on, and nobody waits for it.
                        () = asker.gone() => return,
                    },
                };
                let answer = acted.map_or_else(Answer::Failed, Answer::Done);
                asker.answer(&answer).await;
            });
        }
    }

    async fn act(&self, ask: Ask) -> Said {
        match ask {
            Ask::Stop { savepoint } => self.stop(savepoint).await,
            Ask::Savepoint | Ask::Scale { .. } => self.savepoint().await,
        }
    }

    async fn scale(&self, workers: u32, asker: &mut Asker) -> Said {
        let invalid = |message: String| Failure::new(ErrorKind::Invalid, message);
        let Some(processes) = &self.processes else {
            let message = "only a job that was started with --workers can be scaled while it runs: \
                           this one runs in one process, or on workers that others started";
            return Err(invalid(message.to_owned()));
        };
        let (generation, before) = {
            let mut wanted = self.wanted.lock().await;
            let (generation, job) = &mut *wanted;
            let mut next = job.clone();
            let before = std::mem::replace(&mut next.spec.workers, workers);
            if let Some(problem) = validate::job(&next).first() {
                return Err(invalid(problem.to_string().replace("spec.workers", "--workers")));
            }
            processes.lock().await.grow(workers).map_err(|error| crate::host::failure(&error))?;
            *generation += 1;
            *job = next;
            let (generation, spec) = (*generation, job.spec.clone());
            // A wish is acted upon when the job starts.
            let edit = Edit { generation, spec, wish: millstream_protocol::wish::Wish::Latest };
            self.request(Request::Edit(Box::new(edit))).await?;
            (generation, before)
        };
        say(&format!("scaling from {before} to {workers} workers"));
        let clock = SystemClock::new();
        let asked = clock.monotonic_ns();
        let note = Answer::Note(format!("from {before} to {workers} workers"));
        asker.answer(&note).await;
        let scaled = self.scaled(generation, asker).await;
        let took = Duration::from_nanos(clock.monotonic_ns().saturating_sub(asked));
        // Whoever asks next may have asked for more of them already.
        let wanted = self.wanted.lock().await;
        match &scaled {
            Ok(()) if wanted.0 == generation => processes.lock().await.shrink(workers).await,
            Ok(()) | Err(_) => {}
        }
        drop(wanted);
        let stood = self
            .handle
            .status
            .borrow()
            .stood
            .map(|stood| format!(", and stood still for {}", brief(stood)));
        let stood = stood.unwrap_or_default();
        scaled.map(|()| format!("runs on {workers} workers: it took {}{stood}\n", brief(took)))
    }

    /// Waits until the job runs by the spec with this number. Says once what holds it.
    async fn scaled(&self, generation: u64, asker: &mut Asker) -> std::result::Result<(), Failure> {
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
            asker.answer(&Answer::Note(message)).await;
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

    /// What was refused is wanted no more.
    async fn take_back(&self, generation: u64) {
        let mut wanted = self.wanted.lock().await;
        if wanted.0 == generation {
            let workers = self.handle.status.borrow().workers;
            wanted.1.spec.workers = workers;
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
        self.saved(asked).await
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
            Some(last) => last.result.map(|snapshot| format!("{}\n", snapshot.uri)),
            None => Err(gone()),
        }
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
        let ended = status.wait_for(|status| has_ended(status.phase)).await.map_err(|_| gone())?;
        match (ended.phase, &ended.last_failure, &ended.snapshot_failure) {
            (Phase::Failed, Some(last), _) => Err(last.failure.clone()),
            (Phase::Suspended, _, Some(reason)) => {
                let message = format!("stopped before its last snapshot was complete: {reason}");
                Err(Failure::new(ErrorKind::Unavailable, message))
            }
            _ => Ok(String::new()),
        }
    }

    async fn request(&self, request: Request) -> std::result::Result<(), Failure> {
        let gone = |_| Failure::new(ErrorKind::Unavailable, "the job has ended");
        self.handle.requests.send(request).await.map_err(gone)
    }
}

async fn next(socket: Option<&Socket>) -> Result<(Ask, Asker)> {
    match socket {
        Some(socket) => socket.next().await,
        None => std::future::pending().await,
    }
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
