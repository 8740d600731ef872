//! Where requests to buckets run: a runtime of its own, beside the engine and whatever drives it.
//!
//! Used by the sources and sinks of a process, which are called on threads without a runtime.
//! Invariant: clients are shared, so that credentials are fetched once and connections are used
//! again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_sdk_s3::Client;
use millstream_protocol::access::Access;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

use crate::error::{Context as _, Error, Kind, Result};

/// Threads for requests: they sign and checksum what they send, at about 1 GB/s each.
const IO_THREADS: usize = 2;

/// The runtime and the clients of this process. Made when the first bucket is opened, kept to its
/// end.
struct Io {
    runtime: Runtime,
    clients: HashMap<Access, (Client, String)>,
}

static IO: Mutex<Option<Io>> = Mutex::new(None);

fn with<T>(work: impl FnOnce(&mut Io) -> T) -> Result<T> {
    let mut io = IO.lock().unwrap_or_else(PoisonError::into_inner);
    if io.is_none() {
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(IO_THREADS).thread_name("s3").enable_all().build();
        let runtime = runtime.or_kind(Kind::Unavailable, || "cannot start a thread".to_owned())?;
        *io = Some(Io { runtime, clients: HashMap::new() });
    }
    Ok(work(io.as_mut().expect("it was made")))
}

/// The runtime.
pub(in super::super) fn handle() -> Result<Handle> {
    with(|io| io.runtime.handle().clone())
}

/// A client, and its endpoint as messages name it. On the runtime.
pub(super) async fn client(access: &Access) -> Result<(Client, String)> {
    if let Some(known) = with(|io| io.clients.get(access).cloned())? {
        return Ok(known);
    }
    let loader = millstream_s3::loader(access).await;
    let made = millstream_s3::connect(loader, access).await;
    with(|io| io.clients.entry(access.clone()).or_insert(made).clone())
}

/// Does work there, from whatever runtime this is. It is stopped when the future is dropped.
pub(in super::super) async fn beside<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let mut running = JoinSet::new();
    running.spawn_on(work, &handle()?);
    match running.join_next().await {
        Some(Ok(done)) => done,
        _ => Err(Error::bug("a request to a bucket did not end")),
    }
}
