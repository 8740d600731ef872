//! What signals ask of a run: the first one a stop behind a snapshot, the second one a stop at
//! once.
//!
//! Listened to by [`crate::local`], which hands the wish to the coordinator; [`crate::serve`] asks
//! for the end of a terminal alone. Invariant: a terminal that is closed, which may be said several
//! times, hastens nothing; whoever was told to outlive it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millstream_coordinator::driver::{Handle, Request};
use millstream_coordinator::machine::StopMode;
use millstream_coordinator::status::{Phase, Status};
use millstream_dataflow::clock::{Clock as _, SystemClock};
use millstream_dataflow::{Context as _, Kind, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::terminal::say;

/// A signal that comes so soon behind the first is the same one: `timeout`, and others, send it to
/// the process and to all of its group. Nobody is so fast by hand.
const SAME_WITHIN: Duration = Duration::from_millis(100);

/// The first signal stops the job after a snapshot, the second at once. Counts them.
pub(crate) fn stop_on_signals(
    handle: Handle,
    signals: Arc<AtomicU32>,
) -> Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut hangup = Hangup::listen()?;
    let mut next = async move || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let clock = SystemClock::new();
    Ok(async move {
        tokio::select! {
            () = next() => say("stopping after a last snapshot; again to stop at once"),
            () = hangup.next() => say("stopping after a last snapshot: the terminal is closed"),
        }
        signals.store(1, Ordering::Relaxed);
        let first_ns = clock.monotonic_ns();
        let mut again = async move || {
            loop {
                next().await;
                let since = clock.monotonic_ns().saturating_sub(first_ns);
                if Duration::from_nanos(since) >= SAME_WITHIN {
                    return;
                }
            }
        };
        let before = handle.status.borrow().snapshot_failure.clone();
        let _ = handle.requests.send(Request::Stop(StopMode::AfterSnapshot)).await;
        tokio::select! {
            () = again() => signals.store(2, Ordering::Relaxed),
            () = final_snapshot_failed(handle.status.clone(), before) => {}
        }
        let _ = handle.requests.send(Request::Stop(StopMode::AtOnce)).await;
    })
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).or_kind(Kind::Unavailable, || "cannot listen for signals".to_owned())
}

/// The end of the terminal that a process was started from.
pub(crate) struct Hangup(Option<Signal>);

impl Hangup {
    /// Listens for it, unless whoever started this process lets it outlive its terminal, as `nohup`
    /// does.
    pub(crate) fn listen() -> Result<Self> {
        let is_left_alone = is_ignored(libc::SIGHUP);
        Ok(Self((!is_left_alone).then(|| listen(SignalKind::hangup())).transpose()?))
    }

    /// Returns when it comes.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action it changes nothing; it writes the old one to memory that is
    // there for it, and zeros are a valid one.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Waits until a snapshot has failed of a job that has read all its input. Whoever is at the
/// terminal does not wait for further attempts at the final one, which the coordinator bounds where
/// the job is to stop.
async fn final_snapshot_failed(mut status: watch::Receiver<Status>, before: Option<String>) {
    let failed = |now: &Status| {
        let failure = &now.snapshot_failure;
        now.phase == Phase::Running && failure.is_some() && *failure != before
    };
    if status.wait_for(failed).await.is_err() {
        // The coordinator has ended: there is nothing left to stop.
        std::future::pending::<()>().await;
    }
}
