//! [`Accepting`]: takes connections, and lets those through that are to be served.
//!
//! Made by [`crate::Transport`], polled by tonic's server, which gets a [`Socket`] each.
//! Invariants: a connection that does not come to the point holds up no other one; how many may be
//! at it is bounded, and so is their time; a peer that comes again and again does not fill the log.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::files::Files;
use crate::socket::{Socket, is_tls};
use crate::words;

/// How long a peer may take to begin, and to show its certificate: as long as a coordinator may
/// take to say hello.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// So many may be at it at a time, each with an open file: a quarter of what a process usually may
/// have. Others wait with the listener.
const HANDSHAKES_MAX: usize = 256;
/// Before the next attempt where no connection can be taken, as where all files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a peer that was refused may take to hear so,
const DISMISS_TIMEOUT: Duration = Duration::from_secs(1);
/// and how many bytes of it are passed over meanwhile.
const DISMISS_BYTES: u64 = 1 << 20;
/// So many refusals are told apart, by peer and reason.
const TOLD_MAX: usize = 256;
/// What a process without TLS says to one with it, which takes it for what it is: not TLS.
const NOT_TLS: &[u8] = b"no TLS is spoken here\n";
/// What a process with TLS says to one without: the alert `unexpected_message`.
const ALERT: &[u8] = &[0x15, 3, 3, 0, 2, 2, 10];

/// A listener, and the connections that are not let through yet.
pub(crate) struct Accepting {
    listener: TcpListener,
    files: Option<Arc<Files>>,
    handshakes: JoinSet<(IpAddr, Handshake)>,
    /// How often each peer was refused, and why.
    told: BTreeMap<(IpAddr, String), u64>,
}

/// How a connection begins.
enum Handshake {
    Done(Socket),
    Refused(String),
    /// It is over before anything was said that matters: a probe of a port, say.
    Gone(io::Error),
}

impl Accepting {
    pub(crate) fn at(
        listener: TcpListener,
        files: Option<Arc<Files>>,
    ) -> impl Stream<Item = io::Result<Socket>> + Send {
        let new = Self { listener, files, handshakes: JoinSet::new(), told: BTreeMap::new() };
        stream::unfold(new, |mut accepting| async move {
            let socket = accepting.next().await;
            Some((Ok(socket), accepting))
        })
    }

    async fn next(&mut self) -> Socket {
        loop {
            let has_room = self.handshakes.len() < HANDSHAKES_MAX;
            tokio::select! {
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => self.begin(stream, peer),
                    Err(error) => {
                        tracing::warn!("cannot take a connection: {error}");
                        let _ = timeout(ACCEPT_PAUSE, std::future::pending::<()>()).await;
                    }
                },
                Some(ended) = self.handshakes.join_next() => match ended {
                    Ok((_, Handshake::Done(socket))) => return socket,
                    Ok((peer, Handshake::Refused(reason))) => self.tell(peer, reason),
                    Ok((peer, Handshake::Gone(error))) => {
                        tracing::debug!("{peer} does not begin: {error}");
                    }
                    Err(error) => tracing::warn!("a connection is lost: {error}"),
                },
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let files = self.files.clone();
        self.handshakes.spawn(async move {
            let handshake = timeout(HANDSHAKE_TIMEOUT, handshake(stream, files)).await;
            let late = |_| Handshake::Gone(io::ErrorKind::TimedOut.into());
            (peer.ip(), handshake.unwrap_or_else(late))
        });
    }

    /// Tells of the first refusal of a peer for a reason, of the tenth, the hundredth, and so on.
    fn tell(&mut self, peer: IpAddr, reason: String) {
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        let times = self.told.entry((peer, reason.clone())).or_default();
        *times += 1;
        if *times == 1 {
            tracing::warn!("refuses a connection from {peer}: {reason}");
        } else if times.ilog10() > (*times - 1).ilog10() {
            tracing::warn!("refuses a connection from {peer}, for the {times}th time: {reason}");
        }
    }
}

async fn handshake(stream: TcpStream, files: Option<Arc<Files>>) -> Handshake {
    let mut first = [0];
    let peeked = match stream.set_nodelay(true) {
        Ok(()) => stream.peek(&mut first).await,
        Err(error) => Err(error),
    };
    match peeked {
        Ok(0) => return Handshake::Gone(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {}
        Err(error) => return Handshake::Gone(error),
    }
    match (files, is_tls(first[0])) {
        (None, false) => Handshake::Done(Socket::clear(stream)),
        (None, true) => {
            dismiss(stream, NOT_TLS).await;
            Handshake::Refused(words::SECURED.to_owned())
        }
        (Some(_), false) => {
            dismiss(stream, ALERT).await;
            Handshake::Refused(words::CLEAR.to_owned())
        }
        (Some(files), true) => secure(stream, files).await,
    }
}

async fn secure(stream: TcpStream, files: Arc<Files>) -> Handshake {
    match files.keys().await.server.accept(stream).into_fallible().await {
        Ok(stream) => Handshake::Done(Socket::secured(stream, files)),
        Err((error, _)) if words::of_tls(&error).is_none() => Handshake::Gone(error),
        Err((error, stream)) => {
            let reason = words::of_peer(&error, &files);
            dismiss(stream, &[]).await;
            Handshake::Refused(reason)
        }
    }
}

/// Says a last word, and sees to it that the peer hears it: where a socket is closed with bytes
/// that nobody has read, what was said last may be lost.
async fn dismiss(mut stream: TcpStream, word: &[u8]) {
    let heard = async {
        stream.write_all(word).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DISMISS_BYTES), &mut tokio::io::sink()).await
    };
    let _ = timeout(DISMISS_TIMEOUT, heard).await;
}
