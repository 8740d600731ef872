//! [`Dial`]: opens a connection to another process.
//!
//! Made by [`crate::Transport`], called by tonic with an endpoint's address; hands it a [`Socket`].
//! The endpoint's time for a connection holds for all of it.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;

use crate::files::Files;
use crate::socket::Socket;
use crate::{NAME, words};

/// Opens connections, by TLS where there are files.
pub(crate) struct Dial {
    files: Option<Arc<Files>>,
}

impl Dial {
    pub(crate) fn new(files: Option<Arc<Files>>) -> Self {
        Self { files }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Socket>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Socket>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let files = self.files.clone();
        async move { dial(&uri, files).await.map(TokioIo::new) }.boxed()
    }
}

async fn dial(uri: &Uri, files: Option<Arc<Files>>) -> io::Result<Socket> {
    let address = uri.authority().map(ToString::to_string).unwrap_or_default();
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let Some(files) = files else { return Ok(Socket::clear(stream)) };
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    match files.keys().await.client.connect(name, stream).await {
        Ok(stream) => Ok(Socket::secured(stream, files)),
        Err(error) => Err(io::Error::new(error.kind(), words::of_peer(&error, &files))),
    }
}
