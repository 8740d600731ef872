//! Memory that a burst took, given back to the system.
//!
//! Asked by [`crate::serve()`], from time to time. An operator that takes over a thousand jobs
//! reads all their logs at once; what it frees then lies between what it keeps, and glibc by itself
//! gives back only what lies behind.

use std::time::Duration;

/// How often. It takes milliseconds, in a process that is at rest most of the time.
pub(crate) const GIVE_BACK_EVERY: Duration = Duration::from_secs(20);

/// Gives back what is free.
#[cfg(target_env = "gnu")]
pub(crate) fn give_back() {
    // SAFETY: it touches nothing that is in use, and may be called by any thread at any time.
    unsafe { libc::malloc_trim(0) };
}

/// Others than glibc do so by themselves, or cannot be asked.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn give_back() {}
