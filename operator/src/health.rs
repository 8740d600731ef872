//! What probes ask the operator's process, over HTTP: `/livez` and `/readyz`.
//!
//! Invariant: an answer waits for nothing but the runtime, so that none says more than that this
//! runs. One that waits for its turn is ready.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Connections at a time. Who asks is a kubelet.
const CONNECTIONS_MAX: usize = 16;

/// Answers until it is dropped.
pub(crate) async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(async move {
            let service =
                service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
            // A connection that says nothing is closed after half a minute.
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!("health: {error}");
            }
        });
    }
}

fn answer(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match request.uri().path() {
        "/livez" | "/readyz" => (StatusCode::OK, "ok\n"),
        _ => (StatusCode::NOT_FOUND, "there are /livez and /readyz\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
