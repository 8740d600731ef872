//! [`Proxy`]: an HTTP proxy in front of an endpoint, with faults.
//!
//! A test says, request by request, what becomes of it; it is called before anything is sent on.
//! Invariant: a fault is what its name says and nothing more, so that a test knows whether the
//! endpoint has seen the request.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::serving::Serving;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: it is sent on, and answered.
    None,
    /// It is answered with this status; the endpoint does not see it.
    Answer(u16),
    /// It is carried out, and the connection is cut in place of the answer.
    Swallow,
    /// It is carried out, and the connection is cut within the answer's body.
    Tear,
    /// It is neither sent on nor answered, as long as the client waits.
    Hang,
    /// It is carried out, and the answer kept for so long.
    Slow(Duration),
}

/// A request, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// Path and query.
    pub target: String,
}

type Rule = Box<dyn FnMut(&Request) -> Fault + Send>;

struct Shared {
    endpoint: SocketAddr,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Request>>,
}

/// A proxy on a thread of its own. Ends when it is dropped, and cuts its connections.
pub struct Proxy {
    shared: Arc<Shared>,
    serving: Serving,
}

impl Proxy {
    /// A proxy in front of a port on loopback that lets everything pass.
    pub fn to(port: u16) -> Self {
        let shared = Arc::new(Shared {
            endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            rule: Mutex::new(Box::new(|_| Fault::None)),
            seen: Mutex::default(),
        });
        let served = shared.clone();
        let serving = Serving::start(|listener| serve(listener, served));
        Self { shared, serving }
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.serving.address)
    }

    /// From now on, what becomes of each request.
    pub fn rule(&self, rule: impl FnMut(&Request) -> Fault + Send + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    /// From now on, everything passes.
    pub fn pass(&self) {
        self.rule(|_| Fault::None);
    }

    /// The requests so far, in order, also those that the endpoint did not see.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = shared.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(shared.clone(), request));
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;
type Failure = Box<dyn Error + Send + Sync>;

/// An error cuts the connection.
async fn answer(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let fault = judge(&shared, &request);
    match fault {
        Fault::None => Ok(whole(forward(&shared, request).await?)),
        Fault::Answer(status) => {
            // The body is read: a client that still writes would see a reset, not the status.
            let _ = request.into_body().collect().await?;
            let mut response = whole(Response::new(Bytes::new()));
            *response.status_mut() = StatusCode::from_u16(status)?;
            Ok(response)
        }
        Fault::Swallow => {
            forward(&shared, request).await?;
            Err("swallowed".into())
        }
        Fault::Tear => Ok(torn(forward(&shared, request).await?)),
        Fault::Hang => std::future::pending().await,
        Fault::Slow(pause) => {
            let response = forward(&shared, request).await?;
            #[expect(clippy::disallowed_methods, reason = "slowness is what it is for")]
            tokio::time::sleep(pause).await;
            Ok(whole(response))
        }
    }
}

fn judge(shared: &Shared, request: &hyper::Request<Incoming>) -> Fault {
    let method = request.method().to_string();
    let request = Request { method, target: request.uri().to_string() };
    let fault = shared.rule.lock().unwrap_or_else(PoisonError::into_inner)(&request);
    shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    fault
}

/// Sends a request on as it came, over a connection of its own, and takes in the whole answer.
async fn forward(
    shared: &Shared,
    request: hyper::Request<Incoming>,
) -> Result<Response<Bytes>, Failure> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let stream = TcpStream::connect(shared.endpoint).await?;
    let (mut send, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut connections = JoinSet::new();
    connections.spawn(connection);
    let request = hyper::Request::from_parts(head, Full::new(body));
    let (head, body) = send.send_request(request).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}

fn whole(response: Response<Bytes>) -> Response<Body> {
    response
        .map(|bytes| Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync())
}

/// An answer whose body ends half-way, although its head says how long it is.
fn torn(response: Response<Bytes>) -> Response<Body> {
    response.map(|bytes| {
        let half = bytes.slice(..bytes.len() / 2);
        Body::new(Torn { half: Some(half), size: bytes.len() as u64 })
    })
}

struct Torn {
    half: Option<Bytes>,
    size: u64,
}

impl hyper::body::Body for Torn {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, io::Error>>> {
        let next = self.half.take().map(hyper::body::Frame::data);
        std::task::Poll::Ready(Some(next.ok_or_else(|| io::Error::other("torn"))))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.size)
    }
}
