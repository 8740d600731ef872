//! `run`: a job on this machine, with the coordinator that a cluster would use.
//!
//! Puts the pieces together: the store, one worker served over channels, the coordinator's driver,
//! signals, and what is shown meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_coordinator::channel;
use millstream_coordinator::driver::{Driver, Handle, Request, Session, WallClock};
use millstream_coordinator::machine::{Outcome, StopMode};
use millstream_coordinator::status::{Phase, Status};
use millstream_dataflow::snapshot::Store;
use millstream_dataflow::{Context as _, Error, Kind, Result};
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::job::StreamJob;
use millstream_protocol::path::{JobPrefix, Store as Place};
use millstream_protocol::session::Hello;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::cli;
use crate::config::{self, LocalJob};
use crate::exchange::Exchange;
use crate::host::Shown;
use crate::parts::LocalParts;
use crate::processes::Processes;
use crate::program::Programs;
use crate::progress;
use crate::session::{Worker, serve};
use crate::store::{self, Access};
use crate::terminal::{self, say};

/// Runs the command.
pub(crate) fn run(programs: Programs, args: cli::Run) -> ExitCode {
    progress::init_log(args.log_format);
    let result = prepare(&args).and_then(|local| {
        let runtime = runtime()?;
        runtime.block_on(run_local(programs, local, &args))
    });
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => terminal::finish(Err(error)),
    }
}

fn prepare(args: &cli::Run) -> Result<LocalJob> {
    let job = config::read_job(&args.job, &args.sets)?;
    if job.spec.suspend {
        return Err(Error::invalid(
            "spec.suspend: is true, so that the job is not to run: leave it out, or add \
             --set spec.suspend=false",
        ));
    }
    config::local(job, (args.workers, args.threads), args.fresh, seed())
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    // Engine threads do the work; these wait for disks, timers and signals.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.or_kind(Kind::Unavailable, || "cannot start the runtime".to_owned())
}

/// Makes nonces unique from start to start.
fn seed() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

/// What a worker is by its process.
#[derive(Clone, Default)]
pub(crate) struct Process {
    pub(crate) programs: Programs,
    /// Engine threads; none: as the job or the machine says.
    pub(crate) threads: Option<u32>,
    pub(crate) executable: String,
    pub(crate) exchange: Exchange,
    /// Where other workers reach it.
    pub(crate) address: Option<String>,
}

impl Process {
    fn alone(programs: Programs, threads: u32) -> Result<Self> {
        let executable = executable_hash()?;
        Ok(Self { programs, threads: Some(threads), executable, ..Self::default() })
    }

    /// The worker of a job that a coordinator says hello for.
    pub(crate) async fn greeted(&self, hello: &Hello) -> Result<Worker> {
        let spec = &hello.spec;
        let place = spec.snapshots.store.parse();
        let place = place.or_kind(Kind::Invalid, || "spec.snapshots.store".to_owned())?;
        let prefix = JobPrefix::new(place, &hello.namespace, &hello.name);
        let prefix = prefix.or_kind(Kind::Invalid, || "metadata.namespace".to_owned())?;
        let store = store::open(&prefix, &Access::from(&spec.snapshots)).await?;
        let mut process = self.clone();
        process.threads = self.threads.or(spec.threads_per_worker);
        process.worker(hello.worker, &prefix, store)
    }

    fn worker(
        self,
        index: WorkerIndex,
        prefix: &JobPrefix,
        store: Arc<dyn Store>,
    ) -> Result<Worker> {
        Ok(Worker {
            programs: self.programs,
            store,
            threads: self.threads.unwrap_or_else(config::cores),
            executable: self.executable,
            job: prefix.id().into(),
            prefix: prefix.clone(),
            local: copies(prefix, index)?,
            shown: Arc::default(),
            exchange: self.exchange,
            address: self.address,
        })
    }
}

/// Copies of a worker's parts on this machine's disk. A store that is on it needs none beside it.
fn copies(prefix: &JobPrefix, worker: WorkerIndex) -> Result<Option<LocalParts>> {
    let is_remote = matches!(prefix.store(), Place::S3 { .. });
    let folder = is_remote.then(|| config::local_directory("parts")).transpose()?;
    Ok(folder.and_then(|folder| LocalParts::open(&folder, prefix, worker)))
}

/// Names this executable by its bytes.
pub(crate) fn executable_hash() -> Result<String> {
    let path = std::env::current_exe()?;
    let hash = hash_file(&path);
    let hash = hash.or_kind(Kind::Unavailable, || format!("cannot read {}", path.display()))?;
    Ok(format!("{hash:016x}"))
}

fn hash_file(path: &Path) -> io::Result<u64> {
    struct Hashing(Xxh3);
    impl io::Write for Hashing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hashing = Hashing(Xxh3::new());
    io::copy(&mut File::open(path)?, &mut hashing)?;
    Ok(hashing.0.digest())
}

async fn run_local(programs: Programs, local: LocalJob, args: &cli::Run) -> Result<u8> {
    for note in &local.notes {
        tracing::info!("{note}");
    }
    if let Some(workers) = args.workers {
        return run_processes(&local, args, workers).await;
    }
    let access = Access::from(&local.job.spec.snapshots);
    let store = store::open(&local.config.prefix, &access).await?;
    let process = Process::alone(programs, local.threads)?;
    let worker = process.worker(WorkerIndex(0), &local.config.prefix, store)?;
    let shown = worker.shown.clone();
    let (session, links) = channel::session(1);
    let mut beside = JoinSet::new();
    for link in links {
        beside.spawn(serve(link, worker.clone()));
    }
    let end = coordinate(&local, session, shown).await?;
    if let (Outcome::Finished { .. }, Some(copies)) = (&end.outcome, &worker.local) {
        copies.clear();
    }
    while beside.join_next().await.is_some() {}
    Ok(report(&end, &local, args))
}

/// The same with workers in processes of their own.
async fn run_processes(local: &LocalJob, args: &cli::Run, workers: u32) -> Result<u8> {
    let (processes, session) = Processes::start(workers, local.threads, args.log_format)?;
    let end = coordinate(local, session, Arc::default()).await?;
    processes.stop().await;
    if let Outcome::Finished { .. } = &end.outcome {
        for worker in (0..workers).map(WorkerIndex) {
            if let Some(copies) = copies(&local.config.prefix, worker)? {
                copies.clear();
            }
        }
    }
    Ok(report(&end, local, args))
}

/// Coordinates the workers of a session to the job's end, and shows it meanwhile.
async fn coordinate(local: &LocalJob, session: impl Session, shown: Shown) -> Result<End> {
    let (driver, handle) = Driver::new(local.config.clone(), session, WallClock::new());
    let twice = Arc::new(AtomicBool::new(false));
    let stop = stop_on_signals(handle.clone(), twice.clone())?;
    let view = progress::View::new(local, shown, handle.status.clone());
    let mut watching = JoinSet::new();
    watching.spawn(stop);
    watching.spawn(view.run());
    let outcome = driver.run().await;
    watching.shutdown().await;
    let status = handle.status.borrow().clone();
    Ok(End { outcome, status, twice: twice.load(Ordering::Relaxed) })
}

/// How a job ended.
struct End {
    outcome: Outcome,
    status: Status,
    /// It was told twice to stop.
    twice: bool,
}

/// The first signal stops the job after a snapshot, the second at once. Sets `twice` at the second.
fn stop_on_signals(handle: Handle, twice: Arc<AtomicBool>) -> Result<impl Future<Output = ()>> {
    let listen = |kind: SignalKind| -> Result<Signal> {
        signal(kind).or_kind(Kind::Unavailable, || "cannot listen for signals".to_owned())
    };
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    Ok(async move {
        next().await;
        say("stopping after a last snapshot; again to stop at once");
        let before = handle.status.borrow().snapshot_failure.clone();
        let _ = handle.requests.send(Request::Stop(StopMode::AfterSnapshot)).await;
        tokio::select! {
            () = next() => twice.store(true, Ordering::Relaxed),
            () = final_snapshot_failed(handle.status.clone(), before) => {}
        }
        let _ = handle.requests.send(Request::Stop(StopMode::AtOnce)).await;
    })
}

/// Waits until a snapshot has failed of a job that has read all its input. The coordinator takes
/// its final snapshot again for ever, as a job that nobody stops should; of one that stops while it
/// reads (it is suspending then), it bounds the attempts itself.
async fn final_snapshot_failed(mut status: watch::Receiver<Status>, before: Option<String>) {
    let failed = |now: &Status| {
        let failure = &now.snapshot_failure;
        now.phase == Phase::Running && failure.is_some() && *failure != before
    };
    if status.wait_for(failed).await.is_err() {
        // The coordinator has ended: there is nothing left to stop.
        std::future::pending::<()>().await;
    }
}

/// Says how the job ended and how to go on; returns the exit code.
fn report(end: &End, local: &LocalJob, args: &cli::Run) -> u8 {
    let End { outcome, status, twice } = end;
    let job = &local.job.metadata.name;
    match outcome {
        Outcome::Finished { already: true } => finished_before(status, local),
        Outcome::Finished { already: false } => {
            let totals = &status.totals;
            let line = format!(
                "{job} finished: {} records in, {} out{}, {}{}",
                totals.records_in,
                totals.records_out,
                progress::by_sink(totals, usize::MAX, |_, records| records.to_string()),
                progress::late(totals),
                progress::failed(", ", totals)
            );
            terminal::end(&line, 0)
        }
        Outcome::Suspended { snapshot: true } => {
            let epoch = status.last_snapshot.as_ref().map_or(0, |snapshot| snapshot.epoch.0);
            let failed = progress::failed(", ", &status.totals);
            let line = format!(
                "{job} stopped after snapshot {epoch}{failed}: {} resumes from it",
                again(args)
            );
            terminal::end(&line, 0)
        }
        Outcome::Suspended { snapshot: false } => {
            let why = why_no_snapshot(status, *twice);
            let goes_on = match status.has_snapshot {
                Some(true) => "resumes from the last one",
                Some(false) => "begins anew: there is none yet",
                None => "resumes from the last one, where there is one",
            };
            let again = again(args);
            let line = format!("{job} stopped without a snapshot{why}: {again} {goes_on}");
            terminal::end(&line, terminal::STOPPED_WITHOUT_SNAPSHOT)
        }
        Outcome::Failed(failure) | Outcome::Fenced(failure) => {
            terminal::fail(&format!("{job}: {}", failure.message), terminal::code_of(failure.kind))
        }
    }
}

/// What goes on from the last snapshot: the other options of the command are to be given again.
fn again(args: &cli::Run) -> &'static str {
    if args.fresh { "the same command without --fresh" } else { "the same command" }
}

/// Says that nothing was done, and returns the exit code: other arguments mean another input or
/// output, for which nothing was done either.
fn finished_before(status: &Status, local: &LocalJob) -> u8 {
    let job = &local.job.metadata.name;
    let place = &local.config.prefix;
    let anew = format!(
        "The same command with --fresh starts anew; the output of this run stays where it is, so \
         that an output directory then holds both. Snapshots are in {place}"
    );
    match &status.finished_with[..] {
        [] => {
            terminal::end(&format!("{job} had finished before: its output is complete. {anew}"), 0)
        }
        differs => {
            let reason = format!(
                "{job} had finished before, with other arguments ({}): nothing was done. For \
                 another input write another metadata.name. {anew}",
                differs.join(", ")
            );
            terminal::fail(&reason, terminal::INVALID)
        }
    }
}

/// In brackets, why a job stopped without a snapshot.
fn why_no_snapshot(status: &Status, twice: bool) -> String {
    let failure = status.last_failure.as_ref().map(|last| &last.failure.message);
    match (&status.snapshot_failure, failure) {
        (Some(reason), _) => format!(" (the last attempt failed: {reason})"),
        (None, _) if twice => " (at a second signal)".to_owned(),
        (None, Some(reason)) => format!(" (it was restarting: {reason})"),
        (None, None) => " (it was starting)".to_owned(),
    }
}

/// A job run by a benchmark or a test, without a command line.
pub struct Embedded {
    /// The programs to choose from.
    pub programs: Programs,
    /// The job.
    pub job: StreamJob,
    /// Its engine threads.
    pub threads: u32,
    /// Where its log and parts lie.
    pub store: Arc<dyn Store>,
}

/// Runs a job to its end, or to its failure.
pub async fn run_embedded(embedded: Embedded) -> Result<Status> {
    let local = config::local(embedded.job, (None, Some(embedded.threads)), false, seed())?;
    let process = Process::alone(embedded.programs, local.threads)?;
    let worker = process.worker(WorkerIndex(0), &local.config.prefix, embedded.store)?;
    let (session, links) = channel::session(1);
    let mut beside = JoinSet::new();
    for link in links {
        beside.spawn(serve(link, worker.clone()));
    }
    let (driver, handle) = Driver::new(local.config, session, WallClock::new());
    let outcome = driver.run().await;
    while beside.join_next().await.is_some() {}
    let status = handle.status.borrow().clone();
    match outcome {
        Outcome::Finished { .. } | Outcome::Suspended { .. } => Ok(status),
        Outcome::Failed(failure) | Outcome::Fenced(failure) => {
            Err(Error::new(failure.kind, failure.message))
        }
    }
}
