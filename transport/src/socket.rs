//! [`Socket`]: the bytes between two processes.
//!
//! Made by [`crate::connect`] and [`crate::accept`], read and written by gRPC. What goes wrong is
//! said in words here, since gRPC hands on the text of an error and no more.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::files::Files;
use crate::words;

/// A connection that is to be used.
#[derive(Debug)]
pub struct Socket {
    bytes: Bytes,
    /// Whether the peer has sent anything yet.
    heard: bool,
}

#[derive(Debug)]
enum Bytes {
    Clear(TcpStream),
    Secured(Box<TlsStream<TcpStream>>, Arc<Files>),
}

impl Socket {
    pub(crate) fn clear(stream: TcpStream) -> Self {
        Self { bytes: Bytes::Clear(stream), heard: false }
    }

    pub(crate) fn secured(stream: impl Into<TlsStream<TcpStream>>, files: Arc<Files>) -> Self {
        Self { bytes: Bytes::Secured(Box::new(stream.into()), files), heard: false }
    }
}

/// Whether a connection that begins with this byte is one of TLS: its types of records. HTTP/2
/// begins with a letter at one end, and with 0 at the other.
pub(crate) fn is_tls(first: u8) -> bool {
    (0x14..=0x17).contains(&first)
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match &mut self.bytes {
            Bytes::Clear(stream) => ready!(Pin::new(stream).poll_read(cx, into))?,
            Bytes::Secured(stream, files) => {
                let read = ready!(Pin::new(stream).poll_read(cx, into));
                read.map_err(|error| in_words(&error, files))?;
                return Poll::Ready(Ok(()));
            }
        }
        if !self.heard
            && let Some(&first) = into.filled().get(before)
        {
            self.heard = true;
            if is_tls(first) {
                return Poll::Ready(Err(io::Error::other(words::SECURED)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// In TLS 1.3 a client learns behind the handshake only that it is refused.
fn in_words(error: &io::Error, files: &Files) -> io::Error {
    let text = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the connection was cut".to_owned(),
        _ => words::of_peer(error, files),
    };
    io::Error::new(error.kind(), text)
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.bytes {
            Bytes::Clear(stream) => Pin::new(stream).poll_write(cx, bytes),
            Bytes::Secured(stream, _) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.bytes {
            Bytes::Clear(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Bytes::Secured(stream, _) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Clear(stream) => stream.is_write_vectored(),
            Bytes::Secured(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Bytes::Clear(stream) => Pin::new(stream).poll_flush(cx),
            Bytes::Secured(stream, _) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Bytes::Clear(stream) => Pin::new(stream).poll_shutdown(cx),
            Bytes::Secured(stream, _) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        match &self.bytes {
            Bytes::Clear(stream) => stream.connect_info(),
            Bytes::Secured(stream, _) => stream.get_ref().0.connect_info(),
        }
    }
}
