//! [`serve_beside`]: a worker beside others in one process, for tests with more workers than a
//! machine has room for processes.
//!
//! Received from: whoever embeds it, which says at which listener it is called, and for which pod.
//! Handed to: the same [`Service`] as that of `serve`. Invariant: it shares with others no more
//! than their programs.

use millstream_dataflow::Result;
use millstream_transport::Transport;
use tokio::net::TcpListener;

use super::told::Told;
use super::whom::Whom;
use super::{Service, take_calls};
use crate::exchange::Exchange;
use crate::local::Process;
use crate::program::Programs;

/// A worker beside others.
pub struct Beside {
    /// The programs to choose from.
    pub programs: Programs,
    /// Where it is called.
    pub listener: TcpListener,
    /// The UID of its pod: who means another one is refused.
    pub pod: String,
    /// Names the executable: that of all workers of a job is to be one.
    pub executable: String,
}

/// Serves as a worker of one engine thread, for as long as this is polled. What it has begun ends
/// with the process.
///
/// # Errors
/// Where its listener fails.
pub async fn serve_beside(beside: Beside) -> Result<()> {
    let Beside { programs, listener, pod, executable } = beside;
    let transport = Transport::default();
    let process = Process {
        programs,
        threads: Some(1),
        executable,
        exchange: Exchange::over(transport.clone()),
        address: Some(listener.local_addr()?.to_string()),
        ..Process::default()
    };
    let service = Service::new(Told { is_child: true }, Whom::of(Some(pod)), process);
    take_calls(service, &transport, listener).await
}
