//! What a probe and Prometheus ask a worker's process, over HTTP: `/livez`, `/readyz`, `/metrics`.
//!
//! Started by [`crate::serve`], on a port of its own, so that it is open to others than the two
//! planes are. Invariant: an answer waits for nothing but the runtime, so that none says more than
//! that this runs.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use millstream_dataflow::{Context as _, Kind, Result};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};

use crate::metrics::Metrics;

/// Connections at a time. Who asks is a kubelet and a Prometheus.
const CONNECTIONS_MAX: usize = 16;

/// Listens at an address.
pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.or_kind(Kind::Invalid, || format!("--health: cannot use {address}"))
}

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let mut connections = JoinSet::new();
    let mut order = VecDeque::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        order.retain(|it: &AbortHandle| !it.is_finished());
        // Who says nothing does not keep a probe out.
        if order.len() >= CONNECTIONS_MAX
            && let Some(oldest) = order.pop_front()
        {
            oldest.abort();
        }
        let metrics = metrics.clone();
        let connection = connections.spawn(async move {
            let service = service_fn(move |request| {
                let answer = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            // A connection that says nothing is closed after half a minute.
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!("health: {error}");
            }
        });
        order.push_back(connection);
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET is what is answered here\n");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if metrics.runs() => text(StatusCode::OK, "ok\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "no task runs here\n"),
        "/metrics" => text(StatusCode::OK, metrics.text()),
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics\n"),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
