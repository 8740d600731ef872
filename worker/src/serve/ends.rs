//! When a worker's process ends: told to by a signal, or by the end of the process that started it.
//!
//! Part of [`crate::serve`], which ends when one of these returns.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_dataflow::Result;
use millstream_protocol::time::GepDuration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, timeout};

use crate::local::Process;
use crate::signals::Hangup;

/// How often a worker that is to end looks whether it may.
const IDLE_EVERY: Duration = Duration::from_millis(20);
/// How often a worker looks whether the process that started it is still there.
const PARENT_EVERY: Duration = Duration::from_millis(500);

/// Says that this process is to end, and waits until no task is left in it: its job takes a
/// snapshot and lets it go. Nobody is there to do so for tasks without a coordinator.
pub(super) async fn leave(process: &Process, grace: Duration) {
    process.leaving.send_replace(true);
    let idle = async {
        let mut look = interval(IDLE_EVERY);
        while process.metrics.has_tasks() && process.coordinated.load(Ordering::Relaxed) {
            look.tick().await;
        }
    };
    if timeout(grace, idle).await.is_err() {
        tracing::warn!("ends after {} although its tasks are still here", GepDuration(grace));
    }
}

/// Returns at a signal to end, with its name. What goes to all processes of a group, as Ctrl-C
/// does, goes to the one that started this one as well: that one says what is to be done, by a
/// signal of its own.
pub(super) fn told_to_end(is_child: bool) -> Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut by_parent = signal(SignalKind::user_defined1())?;
    let mut hangup = Hangup::listen()?;
    Ok(async move {
        loop {
            let (name, counts) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", !is_child),
                _ = interrupt.recv() => ("SIGINT", !is_child),
                () = hangup.next() => ("SIGHUP", !is_child),
                _ = by_parent.recv() => ("SIGUSR1", is_child),
            };
            if counts {
                return name;
            }
        }
    })
}

/// What lists processes by name finds this one, though it was executed by another one than that of
/// its file.
pub(super) fn take_name() {
    let name = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default().as_bytes();
    if let Ok(name) = CString::new(name) {
        // SAFETY: the text ends with a zero, and is there until the call returns.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

/// Returns when the process that started this one is gone, which it may be before this one has
/// begun to look; never where there is none to look for.
pub(super) async fn orphaned(parent: Option<u32>) {
    let mut look = interval(PARENT_EVERY);
    while parent.is_none_or(|parent| parent_id() == parent) {
        look.tick().await;
    }
}
