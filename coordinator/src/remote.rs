//! Sessions with workers in other processes, over gRPC.
//!
//! Received from: whoever starts the workers, which says where each one can be reached. Handed to:
//! the [`Driver`](crate::driver::Driver) as its [`Session`]. Invariants: commands that were meant
//! for one process never reach another that takes its place, nor one of another job; queues are
//! bounded, and the coordinator never waits for a worker.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_protocol::grpc::v1::control_client::ControlClient;
use millstream_protocol::grpc::{JOB, POD, chain, said, v1};
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::session::{Command, Report};
use millstream_transport::Transport;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Streaming};

use crate::driver::Session;
use crate::machine::Event;

/// Commands that may wait for a worker. A coordinator has a handful outstanding; a worker that lets
/// so many lie is as good as dead.
const COMMANDS_MAX: usize = 256;
/// What may wait for the coordinator; behind that the workers wait.
const HEARD_MAX: usize = 256;
/// How long a worker may take to answer a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Before a worker that could not be reached is called again.
const REDIAL_PAUSE: Duration = Duration::from_millis(100);
/// A session on which nothing is heard is asked after so long,
const PING_EVERY: Duration = Duration::from_secs(2);
/// and is over when the answer takes longer than this: a silent worker is lost after ten seconds.
const PING_TIMEOUT: Duration = Duration::from_secs(8);
/// How long workers may take to end their sessions when the coordinator ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest message: one holds a job's whole log.
pub const MESSAGE_MAX: usize = 256 << 20;

/// A worker's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Where it can be reached, as `host:port`.
    pub address: String,
    /// The UID of its pod, where it is in one: whoever else is at this address refuses the call.
    pub pod: Option<String>,
}

/// The process that is a worker now; none while there is none. Another value means another process.
pub type Address = watch::Receiver<Option<Process>>;

/// The session with the process at this address is over. Whoever starts workers may see to it that
/// it ends, before another one takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost(pub String);

/// The coordinator's end for all workers.
#[derive(Debug)]
pub struct RemoteSession {
    heard: mpsc::Receiver<Heard>,
    peers: Vec<Option<Peer>>,
    closing: Arc<AtomicBool>,
    /// Ends with the session.
    _attending: Arc<Mutex<JoinSet<()>>>,
}

/// Where whoever starts workers says that there is one more.
#[derive(Clone, Debug)]
pub struct Roster {
    say: mpsc::Sender<Heard>,
    attending: Arc<Mutex<JoinSet<()>>>,
    calls: Calls,
}

/// How processes are called, and for which job.
#[derive(Clone, Debug)]
struct Calls {
    job: Arc<str>,
    transport: Transport,
    /// Whether the coordinator ends: nobody is called again, and nobody is lost, then.
    closing: Arc<AtomicBool>,
}

/// A session under way. Dropping it ends it.
#[derive(Debug)]
struct Peer {
    commands: mpsc::Sender<Box<Command>>,
    ends: oneshot::Sender<()>,
}

#[derive(Debug)]
enum Heard {
    Attached(WorkerIndex, Peer),
    Lost(WorkerIndex, String),
    // In a box: a queue sets room aside for 32 of what it takes.
    Report(WorkerIndex, Box<Report>),
}

/// Sessions with the workers that the roster is told of, for the job of this name
/// (`namespace/name`). A process that works for another job is called again and again, as one that
/// is not there yet.
pub fn session(job: &str, transport: Transport) -> (Roster, RemoteSession) {
    let (say, heard) = mpsc::channel(HEARD_MAX);
    let (attending, closing) = (Arc::default(), Arc::<AtomicBool>::default());
    let calls = Calls { job: job.into(), transport, closing: Arc::clone(&closing) };
    let roster = Roster { say, attending: Arc::clone(&attending), calls };
    (roster, RemoteSession { heard, peers: Vec::new(), closing, _attending: attending })
}

impl Roster {
    /// There is a worker at this address, or will be. It is called for as long as the address has a
    /// sender. `lost` is told of a session with it that is over. To be called within a runtime.
    pub fn add(&self, worker: WorkerIndex, address: Address, lost: Option<mpsc::Sender<Lost>>) {
        let mut attending = self.attending.lock().unwrap_or_else(PoisonError::into_inner);
        while attending.try_join_next().is_some() {}
        attending.spawn(attend(worker, address, lost, self.say.clone(), self.calls.clone()));
    }
}

impl Session for RemoteSession {
    fn send(&mut self, worker: WorkerIndex, command: Command) -> Result<(), String> {
        let slot = self.peers.get_mut(worker.0 as usize).ok_or("there is no such worker")?;
        let peer = slot.as_ref().ok_or("its session is over")?;
        match peer.commands.try_send(Box::new(command)) {
            Ok(()) => Ok(()),
            Err(error) => {
                *slot = None;
                Err(format!("it takes no commands: {error}"))
            }
        }
    }

    fn dismiss(&mut self, worker: WorkerIndex) {
        if let Some(slot) = self.peers.get_mut(worker.0 as usize) {
            *slot = None;
        }
    }

    async fn close(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        // A worker that hears of no more commands has heard those before, and ends the session.
        let open = self.peers.drain(..).map(|peer| peer.map(|peer| peer.ends));
        let mut open: Vec<_> = open.collect();
        let ended = async {
            while open.iter().any(Option::is_some) {
                match self.heard.recv().await {
                    Some(Heard::Lost(WorkerIndex(index), _)) => {
                        if let Some(slot) = open.get_mut(index as usize) {
                            *slot = None;
                        }
                    }
                    Some(Heard::Attached(..) | Heard::Report(..)) => {}
                    None => return,
                }
            }
        };
        if timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::debug!("not all workers have ended their sessions");
        }
    }

    async fn recv(&mut self) -> Option<Event> {
        loop {
            let heard = self.heard.recv().await?;
            let (Heard::Attached(WorkerIndex(index), _)
            | Heard::Lost(WorkerIndex(index), _)
            | Heard::Report(WorkerIndex(index), _)) = heard;
            let known = self.peers.len().max(index as usize + 1);
            self.peers.resize_with(known, || None);
            let slot = &mut self.peers[index as usize];
            return Some(match heard {
                Heard::Attached(worker, peer) => {
                    *slot = Some(peer);
                    Event::Attached(worker)
                }
                // The end of this session was said already, or decided here.
                Heard::Lost(..) | Heard::Report(..) if slot.is_none() => continue,
                Heard::Lost(worker, reason) => {
                    *slot = None;
                    Event::Lost(worker, reason)
                }
                Heard::Report(worker, report) => Event::Report(worker, *report),
            });
        }
    }
}

/// Keeps a session with whatever process serves as this worker.
async fn attend(
    worker: WorkerIndex,
    mut address: Address,
    lost: Option<mpsc::Sender<Lost>>,
    heard: mpsc::Sender<Heard>,
    calls: Calls,
) {
    let mut failed = 0u64;
    // What was said last of one that is somebody else.
    let mut told = None;
    while !calls.closing.load(Ordering::Relaxed) {
        let found = match address.wait_for(Option::is_some).await {
            Ok(found) => found.clone(),
            // Nobody will start it any more.
            Err(_) => return,
        };
        let Some(found) = found else { continue };
        // In a box: what it takes to open a connection is not kept beside it.
        match Box::pin(calls.call(&found)).await {
            Ok((commands, reports)) => {
                (failed, told) = (0, None);
                let (ends, ended) = oneshot::channel();
                let peer = Peer { commands, ends };
                if heard.send(Heard::Attached(worker, peer)).await.is_err() {
                    return;
                }
                let reason = tokio::select! {
                    _ = ended => "it was given up".to_owned(),
                    reason = listen((worker, &found.address), reports, &heard) => reason,
                    _ = address.wait_for(|now| now.as_ref() != Some(&found)) => {
                        "its process is gone".to_owned()
                    }
                };
                if heard.send(Heard::Lost(worker, reason)).await.is_err() {
                    return;
                }
                if let Some(lost) = lost.as_ref().filter(|_| !calls.closing.load(Ordering::Relaxed))
                {
                    let _ = lost.send(Lost(found.address)).await;
                }
            }
            Err(Uncalled::Away(reason)) => {
                failed += 1;
                let address = &found.address;
                tell(failed, &format!("cannot reach worker {worker} at {address}: {reason}"));
            }
            Err(Uncalled::Refused(reason)) => {
                let refusal = format!(
                    "who is at {} is not worker {worker} of {}: {reason}. It is called again until \
                     the right one is there",
                    found.address, calls.job
                );
                if told.as_ref() != Some(&refusal) {
                    tracing::warn!("{refusal}");
                    told = Some(refusal);
                }
            }
        }
        // Another process may be there sooner.
        let _ = timeout(REDIAL_PAUSE, address.changed()).await;
    }
}

/// The tenth failure in a row is worth a warning, since it will hardly pass by itself any more; so
/// is the hundredth, and so on.
fn tell(failed: u64, what: &str) {
    if failed >= 10 && failed.ilog10() > (failed - 1).ilog10() {
        tracing::warn!("{what} (for the {failed}th time)");
    } else {
        tracing::debug!("{what}");
    }
}

type Call = (mpsc::Sender<Box<Command>>, Streaming<v1::Report>);

/// Why there is no session with a process.
#[derive(Debug)]
enum Uncalled {
    /// It does not answer, or not as a worker.
    Away(String),
    /// It is somebody else.
    Refused(String),
}

impl Calls {
    async fn call(&self, process: &Process) -> Result<Call, Uncalled> {
        let endpoint = Endpoint::from_shared(format!("http://{}", process.address));
        let endpoint = endpoint.map_err(|error| Uncalled::Away(error.to_string()))?;
        let endpoint = endpoint
            .connect_timeout(CALL_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true);
        let channel = self.transport.connect(&endpoint).await;
        let channel = channel.map_err(|error| Uncalled::Away(chain(&error)))?;
        let mut client = ControlClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let (commands, waiting) = mpsc::channel::<Box<Command>>(COMMANDS_MAX);
        let sent = tokio_stream::StreamExt::map(ReceiverStream::new(waiting), |command| {
            v1::Command::from(&*command)
        });
        let mut request = Request::new(sent);
        for (name, value) in [(JOB, Some(&*self.job)), (POD, process.pod.as_deref())] {
            let Some(value) = value else { continue };
            let value = value.parse();
            let value = value.map_err(|error| Uncalled::Away(format!("{name}: {error}")))?;
            request.metadata_mut().insert(name, value);
        }
        let answer = timeout(CALL_TIMEOUT, client.session(request)).await;
        let answer = answer.map_err(|_| Uncalled::Away("it does not answer".to_owned()))?;
        let reports = answer.map_err(|status| match status.code() {
            Code::FailedPrecondition => Uncalled::Refused(status.message().to_owned()),
            _ => Uncalled::Away(said(&status)),
        })?;
        Ok((commands, reports.into_inner()))
    }
}

/// Hands on what a worker reports, until its session is over; returns why it is.
async fn listen(
    (worker, called): (WorkerIndex, &str),
    mut reports: Streaming<v1::Report>,
    heard: &mpsc::Sender<Heard>,
) -> String {
    loop {
        let report = match reports.message().await {
            Ok(Some(report)) => report,
            Ok(None) => return "it has ended its session".to_owned(),
            Err(status) => return said(&status),
        };
        let report = match Report::try_from(report) {
            // Who listens everywhere does not know where others find it: where this one did.
            Ok(Report::Facts(mut facts)) if is_everywhere(facts.address.as_ref()) => {
                facts.address = Some(called.to_owned());
                Report::Facts(facts)
            }
            Ok(report) => report,
            Err(error) => return error.to_string(),
        };
        if heard.send(Heard::Report(worker, Box::new(report))).await.is_err() {
            return "the coordinator is gone".to_owned();
        }
    }
}

fn is_everywhere(address: Option<&String>) -> bool {
    let address = address.and_then(|it| it.parse::<SocketAddr>().ok());
    address.is_some_and(|address| address.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_nobody_can_call_is_known_as_such() {
        for (address, is) in [
            (Some("0.0.0.0:7070"), true),
            (Some("[::]:7070"), true),
            (Some("10.0.0.7:7070"), false),
            (Some("jobs-0.jobs:7070"), false),
            (None, false),
        ] {
            assert_eq!(is_everywhere(address.map(str::to_owned).as_ref()), is, "{address:?}");
        }
    }
}
