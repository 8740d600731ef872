//! [`Doorbell`]: wakes a parked engine thread.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// Wakes the engine thread that a task runs on. Cheap to clone, and to ring when nobody sleeps.
#[derive(Clone, Debug, Default)]
pub struct Doorbell(Arc<Bell>);

#[derive(Debug, Default)]
struct Bell {
    /// Set by the ringer, cleared by the sleeper: a ring between look and sleep is not lost.
    rung: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Doorbell {
    /// Wakes the thread, or keeps it from falling asleep.
    #[inline]
    pub fn ring(&self) {
        if !self.0.rung.swap(true, Ordering::SeqCst)
            && let Some(sleeper) = self.0.sleeper.get()
        {
            sleeper.unpark();
        }
    }

    /// Names the current thread as the one to wake.
    pub(crate) fn belongs_here(&self) {
        let _ = self.0.sleeper.set(thread::current());
    }

    /// Forgets rings so far. Call before looking for work, so that a later ring counts.
    pub(crate) fn clear(&self) {
        if self.0.rung.load(Ordering::Relaxed) {
            self.0.rung.swap(false, Ordering::SeqCst);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_rung(&self) -> bool {
        self.0.rung.load(Ordering::SeqCst)
    }

    /// Sleeps until rung, or for `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        if !self.0.rung.load(Ordering::SeqCst) {
            thread::park_timeout(timeout);
        }
    }
}
