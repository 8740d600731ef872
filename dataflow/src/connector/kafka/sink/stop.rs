//! [`Stop`]: ends work on a blocking thread whose result nobody waits for any more.
//!
//! librdkafka's calls block, for as long as they are told: they are made in slices, and between two
//! of them it is looked here.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};

/// Whether to stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    stopped: Mutex<bool>,
    said: Condvar,
}

impl Stop {
    pub(super) fn set(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.said.notify_all();
    }

    /// Waits for so long, or until it is stopped, which is an error.
    pub(super) fn wait(&self, time: Duration) -> Result<()> {
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.said.wait_timeout_while(stopped, time, |stopped| !*stopped);
        let (stopped, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *stopped { Err(Error::unavailable("the run has ended")) } else { Ok(()) }
    }

    /// Fails once it is stopped.
    pub(super) fn check(&self) -> Result<()> {
        self.wait(Duration::ZERO)
    }
}

/// Does work that waits for a broker where it may. It is stopped when the future is dropped.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> Result<T> + Send + 'static,
) -> Result<T> {
    struct Guard(Arc<Stop>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let stop = Arc::new(Stop::default());
    let guard = Guard(stop.clone());
    let done = tokio::task::spawn_blocking(move || work(&stop)).await;
    drop(guard);
    done.unwrap_or_else(|error| Err(Error::bug(format!("work for Kafka did not end: {error}"))))
}
