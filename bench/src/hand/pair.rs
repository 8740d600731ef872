//! Two processes joined by gRPC, as workers are: a stream per direction, whose messages are bytes.
//!
//! Used by [`super::shuffle_grpc`] and by the case of a round trip in [`crate::costs`]. The service
//! and the windows are those of the workers; frames, checksums and grants per channel are not here.
//! Invariant: queues are bounded, and what breaks is told to whoever receives.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Subcommand;
use futures::stream::{self, BoxStream, StreamExt};
use millstream_protocol::grpc::v1::data_client::DataClient;
use millstream_protocol::grpc::v1::data_server::{Data, DataServer};
use millstream_protocol::grpc::v1::{Grants, Message};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::runner::THIS_PROGRAM;

/// Messages that may lie between a thread and a stream, one way.
pub(crate) const QUEUE: usize = 6;
/// What may be on its way on one stream, and on a connection: as between workers.
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// What the other process of a pair does.
#[derive(Debug, Subcommand)]
pub enum Peer {
    /// Its half of the shuffle.
    Shuffle {
        /// Where the first process listens.
        first: String,
        /// How many records both make.
        records: u64,
    },
    /// Sends back what comes, until its standard input ends.
    Echo,
}

impl Peer {
    /// Runs it to its end.
    ///
    /// # Errors
    /// Where the first process cannot be reached, or goes before its time.
    pub fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Shuffle { first, records } => super::shuffle_grpc::second(&first, records),
            Self::Echo => echo(),
        }
    }
}

/// The other process, as seen by the one that started it, and ended with it.
pub(crate) struct Started {
    child: Child,
    pub(crate) out: BufReader<ChildStdout>,
    pub(crate) address: String,
}

impl Started {
    /// Starts it, and hears where it listens.
    pub(crate) fn new(args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(THIS_PROGRAM);
        command.arg("peer").args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the other process")?;
        let out = child.stdout.take().context("its standard output")?;
        let mut started = Self { child, out: BufReader::new(out), address: String::new() };
        started.address = started.line()?;
        Ok(started)
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.out.read_line(&mut line)? > 0, "the other process has ended");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What waits for sockets: a thread beside the one that makes records, as in a worker.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// The receiving side of a process.
pub(crate) struct Listening {
    pub(crate) address: String,
    /// What came, in order; an error where the stream broke.
    pub(crate) taken: mpsc::Receiver<Result<Bytes, Status>>,
    /// Serves until it is dropped.
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

/// Listens; what comes is sent back if `echoes`, else it is to be taken.
pub(crate) async fn listen(echoes: bool) -> anyhow::Result<Listening> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let (take, taken) = mpsc::channel(QUEUE);
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(DataServer::new(Service { take: Mutex::new(Some(take)), echoes }));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut serving = JoinSet::new();
    serving.spawn(server.serve_with_incoming(incoming));
    Ok(Listening { address, taken, _serving: serving })
}

/// Says where this process listens, to the one that started it.
pub(crate) fn announce(address: &str) -> anyhow::Result<()> {
    println!("{address}");
    Ok(std::io::stdout().flush()?)
}

/// Opens a stream to the other process: what is sent, and what comes back on it.
pub(crate) async fn connect(
    address: &str,
) -> anyhow::Result<(mpsc::Sender<Message>, Streaming<Grants>)> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let channel: Channel = endpoint.connect().await?;
    let (send, sent) = mpsc::channel(QUEUE);
    let request = Request::new(ReceiverStream::new(sent));
    let answers = DataClient::new(channel).exchange(request).await?.into_inner();
    Ok((send, answers))
}

/// Returns when the other process has taken all that was sent. The sender must be gone.
pub(crate) async fn all_taken(mut answers: Streaming<Grants>) -> anyhow::Result<()> {
    while answers.message().await?.is_some() {}
    Ok(())
}

struct Service {
    /// Goes to the one stream that is opened: when that is gone, whoever receives hears so.
    take: Mutex<Option<mpsc::Sender<Result<Bytes, Status>>>>,
    echoes: bool,
}

#[tonic::async_trait]
impl Data for Service {
    type ExchangeStream = BoxStream<'static, Result<Grants, Status>>;

    async fn exchange(
        &self,
        request: Request<Streaming<Message>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let messages = request.into_inner();
        if self.echoes {
            let back = messages.map(|message| message.map(|it| Grants { limits: it.frames }));
            return Ok(Response::new(back.boxed()));
        }
        let take = self.take.lock().unwrap_or_else(PoisonError::into_inner).take();
        let take = take.ok_or_else(|| Status::failed_precondition("there is a stream already"))?;
        // Nothing is answered: whoever polls the answers takes the messages.
        let taking = stream::unfold((messages, take), |(mut messages, take)| async move {
            while let Some(next) = messages.next().await {
                if take.send(next.map(|message| message.frames)).await.is_err() {
                    break;
                }
            }
            None::<(Result<Grants, Status>, _)>
        });
        Ok(Response::new(taking.boxed()))
    }
}

fn echo() -> anyhow::Result<()> {
    let runtime = runtime()?;
    let listening = runtime.block_on(listen(true))?;
    announce(&listening.address)?;
    until_ended()
}

/// Waits for the process that started this one to end it, or to end itself.
pub(crate) fn until_ended() -> anyhow::Result<()> {
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
