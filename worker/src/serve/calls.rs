//! [`take_calls`]: the server of a worker.
//!
//! Part of [`crate::serve`]. Handed to: [`Service`], each call. Invariant: a connection that is
//! silent for ten seconds is closed.

use std::time::Duration;

use millstream_coordinator::remote::MESSAGE_MAX;
use millstream_dataflow::{Error, Result};
use millstream_protocol::grpc::chain;
use millstream_protocol::grpc::v1::control_server::ControlServer;
use millstream_protocol::grpc::v1::data_server::DataServer;
use millstream_transport::Transport;
use tokio::net::TcpListener;
use tonic::transport::Server;

use super::Service;

/// A connection on which nothing is heard is asked after so long,
const PING_EVERY: Duration = Duration::from_secs(2);
/// and is closed when the answer takes longer than this.
const PING_TIMEOUT: Duration = Duration::from_secs(8);
/// What may be on its way on one stream of records.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same of all streams of a connection.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Takes sessions, and the records of other workers, for as long as it is polled.
pub(super) async fn take_calls(
    service: Service,
    transport: &Transport,
    listener: TcpListener,
) -> Result<()> {
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .add_service(
            ControlServer::new(service.clone())
                .max_decoding_message_size(MESSAGE_MAX)
                .max_encoding_message_size(MESSAGE_MAX),
        )
        .add_service(DataServer::new(service))
        .serve_with_incoming(transport.accept(listener));
    served.await.map_err(|error| Error::unavailable(chain(&error)).context("cannot serve"))
}
