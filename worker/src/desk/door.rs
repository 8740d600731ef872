//! [`Door`]: where a run is asked, for as long as it is this one that is asked.
//!
//! Part of [`crate::desk`], over [`Socket`]. Invariant: a run that has not the job, and may never
//! get it, does not take the place of one that is there.

use millstream_dataflow::Result;
use millstream_protocol::path::JobPrefix;

use crate::control::{Asker, Socket};

/// Where a run is asked.
#[derive(Default)]
pub(super) struct Door {
    socket: Option<Socket>,
    /// Whether it was told that nobody can ask.
    told: bool,
}

impl Door {
    /// Listens, unless another run does.
    pub(super) async fn keep(&mut self, job: &JobPrefix) {
        if !self.is_found() {
            let listening = Socket::listen_unless_taken(job).await;
            self.put(listening);
        }
    }

    /// Listens in the place of whoever does: this run has the job.
    pub(super) fn take(&mut self, job: &JobPrefix) {
        if !self.is_found() {
            self.put(Socket::listen(job).map(Some));
        }
    }

    /// The next one who asks.
    pub(super) async fn next(&self) -> Asker {
        if let Some(socket) = &self.socket {
            match socket.next().await {
                Ok(asker) => return asker,
                // As where too many files are open.
                Err(error) => tracing::debug!("cannot take who asks: {error}"),
            }
        }
        // Until it is looked again.
        std::future::pending().await
    }

    fn is_found(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::is_found)
    }

    fn put(&mut self, listening: Result<Option<Socket>>) {
        match listening {
            Ok(None) => {}
            Ok(socket) => {
                self.socket = socket;
                self.told = false;
            }
            Err(error) if self.told => tracing::debug!("nobody can ask this job: {error}"),
            Err(error) => {
                self.told = true;
                tracing::warn!(
                    "`scale`, `savepoint` and `stop` do not reach this run until this is mended: \
                     {error}"
                );
            }
        }
    }
}
