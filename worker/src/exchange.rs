//! [`Exchange`]: carries messages between the tasks of this process and those of others.
//!
//! Told by [`crate::session`] of the run whose tasks are here; opens a stream to each worker that
//! they send to, and takes the streams of those that send to them, through [`crate::serve`].
//! Invariants: a stream belongs to one run of one job, and is not mended: when it breaks before its
//! run is over, a worker is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use millstream_dataflow::{Incoming, Links, Outgoing};
use millstream_protocol::grpc::v1::data_client::DataClient;
use millstream_protocol::grpc::v1::{Grants, Message};
use millstream_protocol::grpc::{JOB, LINEAGE, RUN, WORKER, chain, said};
use millstream_protocol::id::{Run, WorkerIndex};
use millstream_protocol::log::Lineage;
use millstream_transport::Transport;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

/// How long another worker may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A stream on which nothing is heard is asked after so long,
const PING_EVERY: Duration = Duration::from_secs(1);
/// and is broken when the answer takes longer than this.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// What may be on its way on one stream: above it, each channel has its own room.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same of all streams of a connection.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// Losses that wait to be reported: at most two per peer.
const LOSSES: usize = 64;

/// A worker whose stream broke, and why.
pub(crate) type Loss = (WorkerIndex, String);

/// Whose records a stream carries: only tasks of the same are told of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Whose {
    /// `namespace/name`.
    pub(crate) job: Arc<str>,
    pub(crate) run: Run,
    /// Another one where the job's log was deleted, after which runs count from the first again.
    pub(crate) lineage: Lineage,
}

/// The streams of the run whose tasks are in this process.
#[derive(Clone, Default)]
pub(crate) struct Exchange {
    current: Arc<Mutex<Option<Current>>>,
    /// How others are called.
    transport: Transport,
}

struct Current {
    whose: Whose,
    links: Links,
    losses: mpsc::Sender<Loss>,
    carriers: JoinSet<()>,
}

impl Exchange {
    pub(crate) fn over(transport: Transport) -> Self {
        Self { current: Arc::default(), transport }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tasks of this run are here: others may send to them. Returns where losses are told.
    pub(crate) fn open(&self, whose: Whose, links: Links) -> mpsc::Receiver<Loss> {
        let (losses, told) = mpsc::channel(LOSSES);
        *self.lock() = Some(Current { whose, links, losses, carriers: JoinSet::new() });
        told
    }

    /// The tasks are about to go: what comes now is of no use to anybody.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    /// Opens the streams to the workers that tasks here send to.
    pub(crate) fn start(&self, own: WorkerIndex, addresses: &[String]) {
        let mut current = self.lock();
        let Some(current) = current.as_mut() else { return };
        for peer in current.links.peers() {
            let outgoing = current.links.outgoing(peer).filter(|it| !it.is_empty());
            let Some(outgoing) = outgoing else { continue };
            let address = addresses.get(peer.0 as usize).cloned().unwrap_or_default();
            let (of, losses) = (current.whose.clone(), current.losses.clone());
            let transport = self.transport.clone();
            current.carriers.spawn(async move {
                let channel = connect(&address, &transport).await;
                let carried = async { carry(of, own, channel?, outgoing).await };
                let reason = carried.await.err();
                let reason = reason.unwrap_or_else(|| "its stream has ended".to_owned());
                let _ = losses.send((peer, format!("{address}: {reason}"))).await;
            });
        }
    }

    /// Takes the stream of another worker; returns what is granted to it.
    pub(crate) fn accept(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<impl Stream<Item = Result<Grants, Status>> + use<>, Status> {
        let whose = Whose {
            job: text(request.metadata(), JOB)?.into(),
            run: Run(number(request.metadata(), RUN)?),
            lineage: Lineage(text(request.metadata(), LINEAGE)?.to_owned()),
        };
        let from = WorkerIndex(number(request.metadata(), WORKER)? as u32);
        let mut current = self.lock();
        let current = current.as_mut();
        let current = current.filter(|current| current.whose == whose);
        let incoming = current.as_ref().and_then(|current| current.links.incoming(from));
        let Some((current, incoming)) = current.zip(incoming) else {
            let Whose { job, run, lineage: Lineage(lineage) } = whose;
            let reason = format!(
                "no task of run {run} of {job}, history {lineage}, takes records here from worker \
                 {from}"
            );
            return Err(Status::failed_precondition(reason));
        };
        let incoming = Arc::new(incoming);
        let (messages, taken) = (request.into_inner(), incoming.clone());
        let losses = current.losses.clone();
        current.carriers.spawn(async move {
            let reason = take_all(messages, &taken).await;
            let _ = losses.send((from, reason)).await;
        });
        Ok(stream::unfold(incoming, |incoming| async move {
            let limits = incoming.next_grants().await?;
            Some((Ok(Grants { limits: limits.into() }), incoming))
        }))
    }
}

/// What metadata must say by this name.
pub(crate) fn text<'a>(metadata: &'a MetadataMap, name: &str) -> Result<&'a str, Status> {
    let value = metadata.get(name).and_then(|value| value.to_str().ok());
    value.ok_or_else(|| Status::invalid_argument(format!("metadata {name}: is missing")))
}

fn number(metadata: &MetadataMap, name: &str) -> Result<u64, Status> {
    let number = text(metadata, name)?.parse().ok();
    number.ok_or_else(|| Status::invalid_argument(format!("metadata {name}: write a number")))
}

/// Takes what another worker sends, to its end; returns why it ended.
async fn take_all(mut messages: Streaming<Message>, incoming: &Incoming) -> String {
    loop {
        match messages.message().await {
            Ok(Some(message)) => {
                if let Err(error) = incoming.take(&message.frames) {
                    return error.to_string();
                }
            }
            Ok(None) => return "its stream has ended".to_owned(),
            Err(status) => return said(&status),
        }
    }
}

async fn connect(address: &str, transport: &Transport) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.map_err(|error| error.to_string())?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    transport.connect(&endpoint).await.map_err(|error| chain(&error))
}

/// Carries messages to another worker, and its grants back, until the run is over.
async fn carry(
    Whose { job, run, lineage }: Whose,
    own: WorkerIndex,
    channel: Channel,
    outgoing: Outgoing,
) -> Result<(), String> {
    let outgoing = Arc::new(outgoing);
    let mut request = Request::new(messages(outgoing.clone()));
    for (name, value) in [(JOB, &*job), (LINEAGE, &*lineage.0)] {
        let value = value.parse().map_err(|error| format!("{name}: {error}"))?;
        request.metadata_mut().insert(name, value);
    }
    for (name, value) in [(RUN, run.0), (WORKER, u64::from(own.0))] {
        request.metadata_mut().insert(name, value.into());
    }
    let mut client = DataClient::new(channel);
    // Boxed: the compiler does not see of itself that it may go to another thread.
    let answer: BoxFuture<'_, _> = client.exchange(request).boxed();
    let answer = answer.await;
    let mut grants = answer.map_err(|status| said(&status))?.into_inner();
    while let Some(granted) = grants.message().await.map_err(|status| said(&status))? {
        outgoing.granted(&granted.limits).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn messages(outgoing: Arc<Outgoing>) -> BoxStream<'static, Message> {
    stream::unfold(outgoing, |outgoing| async move {
        let frames = outgoing.next().await?;
        Some((Message { frames: frames.into() }, outgoing))
    })
    .boxed()
}
