//! `serve`: a worker's process, at the service of a coordinator elsewhere.
//!
//! Takes a coordinator's session and the records of other workers over gRPC; hands commands to
//! [`crate::session`], messages to [`crate::exchange`]. Invariant: one session at a time; a newer
//! one takes the place of an older one of the same job, whose tasks are gone before the newer one
//! is heard, or are gone on with. While it works for a job, it takes no session of another one.

mod beside;
mod calls;
mod ends;
mod told;
mod whom;

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{Stream, StreamExt};
use millstream_coordinator::channel::Link;
use millstream_dataflow::{Context as _, Kind, Result};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::grpc::v1;
use millstream_protocol::grpc::v1::control_server::Control;
use millstream_protocol::grpc::v1::data_server::Data;
use millstream_protocol::session::{Command, Hello, Report};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub use self::beside::{Beside, serve_beside};
use self::calls::take_calls;
use self::ends::{leave, orphaned, take_name, told_to_end};
use self::told::Told;
use self::whom::Whom;
use crate::cli;
use crate::exchange::Exchange;
use crate::health;
use crate::host::failure;
use crate::local::{Process, executable_hash, prefix_of, runtime};
use crate::metrics::Metrics;
use crate::program::Programs;
use crate::progress;
use crate::session::{Ending, Session};
use crate::terminal;
use crate::tls::transport;

/// The variable that says the UID of the pod that this process is in.
const POD_UID: &str = "MILLSTREAM_POD_UID";
/// How long a coordinator may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands and reports on their way between the network and the session.
const QUEUE: usize = 64;

/// Runs the command.
pub(crate) fn run(programs: Programs, args: cli::Serve) -> ExitCode {
    progress::init_log(args.log_format);
    if args.child.is_some() {
        take_name();
    }
    let served = runtime().and_then(|runtime| runtime.block_on(serve(programs, args)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => terminal::finish(Err(error)),
    }
}

async fn serve(programs: Programs, args: cli::Serve) -> Result<()> {
    let transport = transport(args.tls.as_deref())?;
    let listen = args.listen;
    let listener = TcpListener::bind(listen).await;
    let listener = listener.or_kind(Kind::Invalid, || format!("--listen: cannot use {listen}"))?;
    let address = listener.local_addr()?;
    let told = Told { is_child: args.child.is_some() };
    let pod = std::env::var(POD_UID).ok().filter(|uid| !uid.is_empty());
    let process = Process {
        programs,
        threads: args.threads,
        executable: executable_hash()?,
        exchange: Exchange::over(transport.clone()),
        address: Some(args.address.unwrap_or_else(|| address.to_string())),
        ..Process::default()
    };
    let service = Service::new(told, Whom::of(pod), process);
    let process = service.process.clone();
    let health = match args.health {
        Some(address) => Some(health::listen(address).await?),
        None => None,
    };
    let answers = answer(health, service.process.metrics.clone());
    if let Some(file) = &args.announce {
        announce(file, address)?;
    }
    told.say(format_args!("serves at {address}, until a coordinator calls"));
    let server = take_calls(service, &transport, listener);
    let signal = told_to_end(args.child.is_some())?;
    let ends = async {
        let signal = signal.await;
        // At the end of a local run nobody is left to let it go.
        if args.child.is_none() {
            told.say(format_args!(
                "ends ({signal}): what runs here is let go behind a snapshot, within {}",
                args.grace
            ));
            leave(&process, args.grace.0).await;
        }
    };
    tokio::select! {
        served = server => served,
        () = answers => Ok(()),
        () = ends => Ok(()),
        () = orphaned(args.child) => Ok(()),
    }
}

/// Answers probes, where it is to.
async fn answer(at: Option<TcpListener>, metrics: Arc<Metrics>) {
    match at {
        Some(listener) => health::serve(listener, metrics).await,
        None => std::future::pending().await,
    }
}

/// Says where this process can be reached: in a file that appears whole.
fn announce(file: &Path, address: SocketAddr) -> Result<()> {
    let beside = file.with_extension("new");
    let attempt = || {
        format!(
            "--announce: cannot write {}: make room, or set TMPDIR to a disk with",
            file.display()
        )
    };
    std::fs::write(&beside, address.to_string()).or_kind(Kind::Invalid, attempt)?;
    std::fs::rename(&beside, file).or_kind(Kind::Invalid, attempt)
}

#[derive(Clone)]
struct Service {
    told: Told,
    process: Process,
    whom: Whom,
    /// Held by whoever serves a coordinator, with the tasks that outlive their coordinator.
    current: Arc<Mutex<Option<Session>>>,
    /// How many coordinators have come so far.
    arrivals: Arc<watch::Sender<u64>>,
    sessions: Arc<std::sync::Mutex<Sessions>>,
}

/// Sessions under way: one is served, those before it come to their end.
#[derive(Default)]
struct Sessions {
    tasks: JoinSet<()>,
    /// The job of the one that is served, or was served last, and what ends it.
    served: Option<(Arc<str>, AbortHandle)>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;
type Answer<T> = std::result::Result<Response<Answers<T>>, Status>;

#[tonic::async_trait]
impl Control for Service {
    type SessionStream = Answers<v1::Report>;

    async fn session(&self, request: Request<Streaming<v1::Command>>) -> Answer<v1::Report> {
        let (reports, said) = mpsc::channel(QUEUE);
        let service = self.clone();
        let (link_commands, received) = mpsc::channel(QUEUE);
        let mut sessions = self.sessions();
        let job = self.whom.meant(request.metadata(), self.occupant(&sessions).as_deref())?;
        let by = request.remote_addr();
        let commands = request.into_inner();
        while sessions.tasks.try_join_next().is_some() {}
        // Ends when the coordinator's end does, and with it the session.
        let hearing = sessions.tasks.spawn(hear(commands, link_commands));
        sessions.tasks.spawn(service.attend((job, by), hearing, received, reports));
        drop(sessions);
        let said = ReceiverStream::new(said).map(|report| Ok(v1::Report::from(&report)));
        Ok(Response::new(said.boxed()))
    }
}

#[tonic::async_trait]
impl Data for Service {
    type ExchangeStream = Answers<v1::Grants>;

    async fn exchange(&self, request: Request<Streaming<v1::Message>>) -> Answer<v1::Grants> {
        Ok(Response::new(self.process.exchange.accept(request)?.boxed()))
    }
}

async fn hear(mut messages: Streaming<v1::Command>, commands: mpsc::Sender<Command>) {
    loop {
        let command = match messages.message().await {
            Ok(Some(command)) => Command::try_from(command),
            Ok(None) => return,
            Err(status) => return tracing::debug!("the session is over: {status}"),
        };
        match command {
            Ok(command) => {
                if commands.send(command).await.is_err() {
                    return;
                }
            }
            Err(error) => return tracing::warn!("the session is over: {error}"),
        }
    }
}

/// Hands commands on to the session, and tells of them, until one of both is gone.
async fn hand_on(
    mut from: mpsc::Receiver<Command>,
    to: mpsc::Sender<Command>,
    told: &mut told::Of,
) {
    while let Some(command) = from.recv().await {
        told.command(&command);
        if to.send(command).await.is_err() {
            return;
        }
    }
}

impl Service {
    fn new(told: Told, whom: Whom, process: Process) -> Self {
        let arrivals = Arc::new(watch::Sender::new(0));
        Self { told, process, whom, current: Arc::default(), arrivals, sessions: Arc::default() }
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job that this process works for: it has a coordinator, or tasks that outlived theirs.
    fn occupant(&self, sessions: &Sessions) -> Option<Arc<str>> {
        let (job, hearing) = sessions.served.as_ref()?;
        let process = &self.process;
        let is_at_work = !hearing.is_finished()
            || process.coordinated.load(Ordering::Relaxed)
            || process.metrics.has_tasks();
        is_at_work.then(|| job.clone())
    }

    /// Serves one coordinator, once the one before is served no more.
    async fn attend(
        self,
        (job, by): (Arc<str>, Option<SocketAddr>),
        hearing: AbortHandle,
        mut commands: mpsc::Receiver<Command>,
        reports: mpsc::Sender<Report>,
    ) {
        let hello = match timeout(HELLO_TIMEOUT, commands.recv()).await {
            Ok(Some(Command::Hello(hello))) => hello,
            Ok(Some(other)) => return tracing::warn!("a session begins with {other:?}"),
            Ok(None) | Err(_) => return,
        };
        if *job != *format!("{}/{}", hello.namespace, hello.name) {
            return tracing::warn!("a session for {job} says hello for {}", hello.name);
        }
        let mut told = self.told.of(job.clone(), hello.worker, by);
        match self.take_place(job, &hello, hearing) {
            Ok(true) => {}
            // It calls again, and hears whose worker this is.
            Ok(false) => return,
            Err(failure) => {
                let _ = reports.send(unfit(hello.generation, failure)).await;
                return until_stop(&mut commands).await;
            }
        }
        let arrived = {
            let mut arrived = 0;
            self.arrivals.send_modify(|arrivals| {
                *arrivals += 1;
                arrived = *arrivals;
            });
            arrived
        };
        let mut current = self.current.clone().lock_owned().await;
        if let Err(error) = self.prepare(&mut current, &hello).await {
            let _ = reports.send(unfit(hello.generation, failure(&error))).await;
            // The coordinator decides what becomes of it.
            return until_stop(&mut commands).await;
        }
        let Some(session) = current.as_mut() else { return };
        let (repeat, from_here) = mpsc::channel(QUEUE);
        let index = hello.worker;
        let _ = repeat.send(Command::Hello(hello)).await;
        let hand_on = hand_on(commands, repeat, &mut told);
        let mut link = Link { worker: index, commands: from_here, reports };
        self.process.coordinated.store(true, Ordering::Relaxed);
        let ending = {
            let mut served = std::pin::pin!(session.serve(&mut link));
            tokio::select! {
                ending = &mut served => ending,
                // The coordinator is gone: the session hears so, and comes to its end.
                () = hand_on => served.await,
            }
        };
        self.process.coordinated.store(false, Ordering::Relaxed);
        // Whoever called hears that it is over.
        drop(link);
        told.ended(ending, session.has_tasks());
        if ending == Ending::Left {
            let mut arrivals = self.arrivals.subscribe();
            tokio::select! {
                () = session.alone() => {}
                _ = arrivals.wait_for(|arrivals| *arrivals > arrived) => {}
            }
        }
    }

    /// Ends the session that is served. A coordinator that has been replaced does not come back.
    /// False where another job has come first.
    fn take_place(
        &self,
        job: Arc<str>,
        hello: &Hello,
        hearing: AbortHandle,
    ) -> std::result::Result<bool, Failure> {
        let obeyed = prefix_of(hello).ok().and_then(|job| self.process.obeyed.of(&job));
        if let (Some(holds), Some(obeyed)) = (hello.holds, obeyed)
            && holds < obeyed
        {
            let ((run, term), (by, next)) = (holds, obeyed);
            let message = format!(
                "another coordinator has taken this job over: this one had run {run}, term {term}, \
                 and worker {} obeys run {by}, term {next}",
                hello.worker
            );
            return Err(Failure::new(ErrorKind::Fenced, message));
        }
        let mut sessions = self.sessions();
        if self.occupant(&sessions).is_some_and(|occupant| occupant != job) {
            return Ok(false);
        }
        if let Some((_, older)) = sessions.served.replace((job, hearing)) {
            older.abort();
        }
        Ok(true)
    }

    /// Goes on with the tasks that are here, where they are of the same job.
    async fn prepare(&self, current: &mut Option<Session>, hello: &Hello) -> Result<()> {
        let goes_on = |session: &Session| session.has_tasks() && session.is_of(hello);
        if current.as_ref().is_some_and(goes_on) {
            return Ok(());
        }
        if let Some(mut other) = current.take() {
            other.end().await;
        }
        let worker = self.process.greeted(hello).await?;
        *current = Some(Session::new(worker, hello.worker));
        Ok(())
    }
}

fn unfit(generation: u64, failure: Failure) -> Report {
    Report::Unfit { generation, failure }
}

async fn until_stop(commands: &mut mpsc::Receiver<Command>) {
    while commands.recv().await.is_some_and(|command| command != Command::Stop) {}
}
