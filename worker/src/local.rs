//! `run`: a job on this machine, with the coordinator that a cluster would use.
//!
//! Puts the pieces together: the store, one worker served over channels, the coordinator's driver,
//! signals, and what is shown meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use millstream_coordinator::channel;
use millstream_coordinator::driver::{Driver, Handle, Request, Session, WallClock};
use millstream_coordinator::machine::{Outcome, StopMode};
use millstream_coordinator::remote;
use millstream_coordinator::status::Status;
use millstream_dataflow::snapshot::Store;
use millstream_dataflow::{Context as _, Error, Kind, Result};
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::job::StreamJob;
use millstream_protocol::path::{JobPrefix, Store as Place};
use millstream_protocol::session::Hello;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use uuid::Uuid;
use xxhash_rust::xxh3::Xxh3;

use crate::cli;
use crate::config::{self, LocalJob};
use crate::desk::Desk;
use crate::end::{End, report};
use crate::exchange::Exchange;
use crate::health;
use crate::host::Shown;
use crate::metrics::Metrics;
use crate::parts::LocalParts;
use crate::processes::{Processes, Start};
use crate::program::Programs;
use crate::progress;
use crate::session::{Obeyed, Worker, serve};
use crate::store::{self, Access};
use crate::terminal::{self, say};
use crate::tls::transport;

/// How long what is left behind may take once all is said: it ends at once, or hangs.
const LEFT_BEHIND: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) fn run(programs: Programs, args: cli::Run) -> ExitCode {
    progress::init_log(args.log_format);
    let result = prepare(&args).and_then(|local| {
        let runtime = runtime()?;
        let code = runtime.block_on(run_local(programs, local, &args));
        // What still waits for a disk that does not answer is not waited for.
        runtime.shutdown_timeout(LEFT_BEHIND);
        code
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
    if args.at.is_empty() {
        return config::local(job, (args.workers, args.threads), args.fresh, seed());
    }
    for (at, address) in args.at.iter().enumerate() {
        if args.at[..at].contains(address) {
            return Err(Error::invalid(format!(
                "--at: names {address} twice: each worker is a process of its own"
            )));
        }
    }
    // Each of those workers has its own cores.
    let threads = args.threads.or(job.spec.threads_per_worker);
    let workers = u32::try_from(args.at.len()).unwrap_or(u32::MAX);
    let mut local = config::local(job, (Some(workers), args.threads), args.fresh, seed())?;
    local.config.spec.threads_per_worker = threads;
    Ok(local)
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
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) obeyed: Obeyed,
    /// Whether this process was told to end.
    pub(crate) leaving: Arc<watch::Sender<bool>>,
    /// Whether a coordinator has a session with it.
    pub(crate) coordinated: Arc<AtomicBool>,
}

impl Process {
    fn alone(programs: Programs, threads: u32) -> Result<Self> {
        let executable = executable_hash()?;
        Ok(Self { programs, threads: Some(threads), executable, ..Self::default() })
    }

    /// The worker of a job that a coordinator says hello for.
    pub(crate) async fn greeted(&self, hello: &Hello) -> Result<Worker> {
        let prefix = prefix_of(hello)?;
        let store = store::open(&prefix, &Access::from(&hello.spec.snapshots)).await?;
        self.clone().worker(hello.worker, &prefix, store)
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
            threads: self.threads,
            executable: self.executable,
            job: prefix.id().into(),
            prefix: prefix.clone(),
            local: copies(prefix, index)?,
            metrics: self.metrics,
            exchange: self.exchange,
            address: self.address,
            obeyed: self.obeyed,
            leaving: self.leaving.subscribe(),
        })
    }
}

/// Where the job lies that a coordinator says hello for.
pub(crate) fn prefix_of(hello: &Hello) -> Result<JobPrefix> {
    let place = hello.spec.snapshots.store.parse();
    let place = place.or_kind(Kind::Invalid, || "spec.snapshots.store".to_owned())?;
    let prefix = JobPrefix::new(place, &hello.namespace, &hello.name);
    prefix.or_kind(Kind::Invalid, || "metadata.namespace".to_owned())
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
    if !args.at.is_empty() {
        return run_at(&local, args).await;
    }
    if let Some(workers) = args.workers {
        return run_processes(&local, args, workers).await;
    }
    let access = Access::from(&local.job.spec.snapshots);
    let store = store::open(&local.config.prefix, &access).await?;
    let process = Process::alone(programs, local.threads)?;
    let worker = process.worker(WorkerIndex(0), &local.config.prefix, store)?;
    let shown = worker.metrics.shown.clone();
    // Ends with this function.
    let mut answers = JoinSet::new();
    if let Some(address) = args.health {
        answers.spawn(health::serve(health::listen(address).await?, worker.metrics.clone()));
    }
    let (session, links) = channel::session(1);
    let mut beside = JoinSet::new();
    for link in links {
        beside.spawn(serve(link, worker.clone()));
    }
    let end = coordinate(&local, session, shown, None).await?;
    if let (Outcome::Finished { .. }, Some(copies)) = (&end.outcome, &worker.local) {
        copies.clear();
    }
    while beside.join_next().await.is_some() {}
    Ok(report(&end, &local, args))
}

/// The same with workers in processes of their own.
async fn run_processes(local: &LocalJob, args: &cli::Run, workers: u32) -> Result<u8> {
    let start = Start {
        job: local.config.prefix.id(),
        threads: local.threads,
        log_format: args.log_format,
        health: args.health,
        tls: args.tls.clone(),
    };
    let (processes, session) = Processes::start(workers, start)?;
    let processes = Arc::new(Mutex::new(processes));
    let end = coordinate(local, session, Arc::default(), Some(processes.clone())).await?;
    processes.lock().await.shrink(0).await;
    if let Outcome::Finished { .. } = &end.outcome {
        for worker in (0..end.status.workers.max(workers)).map(WorkerIndex) {
            if let Some(copies) = copies(&local.config.prefix, worker)? {
                copies.clear();
            }
        }
    }
    Ok(report(&end, local, args))
}

/// The same with workers that others have started.
async fn run_at(local: &LocalJob, args: &cli::Run) -> Result<u8> {
    let transport = transport(args.tls.as_deref())?;
    let (roster, session) = remote::session(&local.config.prefix.id(), transport);
    let mut addresses = Vec::new();
    for (worker, address) in (0..).map(WorkerIndex).zip(&args.at) {
        let process = remote::Process { address: address.clone(), pod: None };
        let (address, found) = watch::channel(Some(process));
        roster.add(worker, found, None);
        addresses.push(address);
    }
    let end = coordinate(local, session, Arc::default(), None).await?;
    Ok(report(&end, local, args))
}

/// Coordinates the workers of a session to the job's end, and shows it meanwhile.
async fn coordinate(
    local: &LocalJob,
    session: impl Session,
    shown: Shown,
    processes: Option<Arc<Mutex<Processes>>>,
) -> Result<End> {
    let (driver, handle) = Driver::new(local.config.clone(), session, WallClock::new());
    let signals = Arc::new(AtomicU32::new(0));
    let stop = stop_on_signals(handle.clone(), signals.clone())?;
    let view = progress::View::new(local, shown, handle.status.clone());
    let mut watching = JoinSet::new();
    watching.spawn(stop);
    watching.spawn(view.run());
    let mut desk = JoinSet::new();
    let answers = Desk::new(local, handle.clone(), processes);
    desk.spawn(answers.serve(local.config.prefix.clone()));
    let outcome = driver.run().await;
    while desk.join_next().await.is_some() {}
    watching.shutdown().await;
    let status = handle.status.borrow().clone();
    Ok(End { outcome, status, signals: signals.load(Ordering::Relaxed) })
}

/// The first signal stops the job after a snapshot, the second at once. Counts them.
fn stop_on_signals(handle: Handle, signals: Arc<AtomicU32>) -> Result<impl Future<Output = ()>> {
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
        signals.store(1, Ordering::Relaxed);
        say("stopping after a last snapshot; again to stop at once");
        let _ = handle.requests.send(Request::Stop(StopMode::AfterSnapshot)).await;
        next().await;
        signals.store(2, Ordering::Relaxed);
        let _ = handle.requests.send(Request::Stop(StopMode::AtOnce)).await;
    })
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
