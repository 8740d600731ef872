//! Connections between the processes of a job: in the clear, or by mutual TLS.
//!
//! Used by whoever calls a worker (the coordinator, another worker) and by the worker that is
//! called. [`Transport`] is what both are told once; [`files`] reads what a user gives, [`connect`]
//! and [`accept`] are the two ends, [`socket`] the bytes between them, [`words`] what is said of
//! failures.
//! Invariants: with TLS, no byte of a peer reaches gRPC before its certificate was checked, and
//! none leaves for one; every connection is checked by the files as they are when it is opened.
#![warn(missing_docs)]

mod accept;
mod connect;
mod files;
mod socket;
mod words;

use std::io;
use std::path::Path;
use std::sync::Arc;

use futures::stream::Stream;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};

use crate::accept::Accepting;
use crate::connect::Dial;
pub use crate::files::Error;
use crate::files::Files;
pub use crate::socket::Socket;

/// The DNS name that every certificate has among its subject alternative names, whatever the
/// address of its process: workers are called by addresses that come and go.
pub const NAME: &str = "millstream-worker";

/// How processes of a job talk to each other: by default in the clear.
#[derive(Clone, Debug, Default)]
pub struct Transport {
    files: Option<Arc<Files>>,
}

impl Transport {
    /// By TLS, with the files `ca.crt`, `tls.crt` and `tls.key` of this folder. They are looked at
    /// again at each new connection: when they are replaced, those that follow are by the new ones.
    ///
    /// # Errors
    ///
    /// A file is not there, or not what it should be; or the other end would refuse it.
    pub fn tls(folder: &Path) -> Result<Self, Error> {
        Ok(Self { files: Some(Arc::new(Files::open(folder)?)) })
    }

    /// Opens a connection, within the endpoint's time.
    ///
    /// # Errors
    ///
    /// The process does not answer, or one of the two does not trust the other. That the other one
    /// does not may show at the first call only.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
        endpoint.connect_with_connector(Dial::new(self.files.clone())).await
    }

    /// The connections that come in at this listener and are to be served, without end. Those that
    /// are refused are told of in the log.
    pub fn accept(
        &self,
        listener: TcpListener,
    ) -> impl Stream<Item = io::Result<Socket>> + Send + use<> {
        Accepting::at(listener, self.files.clone())
    }
}
