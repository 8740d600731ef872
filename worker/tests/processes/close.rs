//! The end of a coordinator: what it said last arrives.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use millstream_coordinator::driver::Session as _;
use millstream_coordinator::machine::Event;
use millstream_coordinator::remote::{Process, session};
use millstream_protocol::grpc::v1;
use millstream_protocol::grpc::v1::control_server::{Control, ControlServer};
use millstream_protocol::id::WorkerIndex;
use millstream_protocol::session::Command;
use millstream_testkit::free_ports;
use millstream_transport::Transport;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::support::PATIENCE;

/// A worker that takes so long before it looks at its commands; none: it never does.
struct Slow {
    looks_after: Option<Duration>,
    /// What it heard; none at the orderly end of the session.
    heard: mpsc::Sender<Option<Command>>,
}

type Reports = Pin<Box<ReceiverStream<Result<v1::Report, Status>>>>;

#[tonic::async_trait]
impl Control for Slow {
    type SessionStream = Reports;

    async fn session(
        &self,
        request: Request<Streaming<v1::Command>>,
    ) -> Result<Response<Reports>, Status> {
        let (reports, said) = mpsc::channel(1);
        let (heard, looks_after) = (self.heard.clone(), self.looks_after);
        let mut commands = request.into_inner();
        tokio::spawn(async move {
            match looks_after {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
            while let Ok(command) = commands.message().await {
                let command = command.map(|it| Command::try_from(it).unwrap());
                let is_last = command.is_none();
                let _ = heard.send(command).await;
                if is_last {
                    break;
                }
            }
            drop(reports);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }
}

/// Tells such a worker to stop, and ends as a coordinator does; what the worker heard, how often
/// it was taken for lost, and how long the end took.
fn end(looks_after: Option<Duration>) -> (Vec<Option<Command>>, usize, Duration) {
    let [port] = free_ports::<1>();
    let address = format!("127.0.0.1:{port}");
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let (heard, mut said) = mpsc::channel(8);
        let slow = ControlServer::new(Slow { looks_after, heard });
        let listen: SocketAddr = address.parse().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(Server::builder().add_service(slow).serve(listen));
        let (roster, mut session) = session("default/spread", Transport::default());
        let (_tell, found) = watch::channel(Some(Process { address, pod: None }));
        let (say_lost, mut lost) = mpsc::channel(8);
        roster.add(WorkerIndex(0), found, Some(say_lost));
        let attached = timeout(PATIENCE, session.recv()).await.unwrap();
        assert!(matches!(attached, Some(Event::Attached(_))), "{attached:?}");
        session.send(WorkerIndex(0), Command::Stop).unwrap();
        let begun = Instant::now();
        timeout(PATIENCE, session.close()).await.unwrap();
        let took = begun.elapsed();
        drop((session, roster));
        let mut all = Vec::new();
        while let Ok(Some(heard)) = timeout(Duration::from_millis(500), said.recv()).await {
            all.push(heard);
        }
        let mut losses = 0;
        while let Ok(Some(_)) = timeout(Duration::from_millis(500), lost.recv()).await {
            losses += 1;
        }
        (all, losses, took)
    })
}

pub(crate) fn a_worker_hears_what_it_was_told_before_its_session_ends() {
    let (heard, losses, _) = end(Some(Duration::from_millis(300)));
    assert_eq!(heard, [Some(Command::Stop), None], "in this order, and without an error");
    assert_eq!(losses, 0, "one that has ended is not to be killed");
}

pub(crate) fn a_worker_that_hangs_does_not_hold_up_the_end() {
    let (heard, losses, took) = end(None);
    assert_eq!((heard, losses), (vec![], 0));
    let bounds = Duration::from_millis(900)..Duration::from_secs(5);
    assert!(bounds.contains(&took), "{took:?}");
}
