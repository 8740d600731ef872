//! Tasks without a coordinator: they go on, for the next one to take over.
//!
//! Part of [`Session`]; called by [`crate::serve`] while nobody has a session with this worker.

use std::time::Duration;

use millstream_dataflow::sink::Runs as _;
use millstream_protocol::id::Run;
use millstream_protocol::session::Report;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::Session;

/// How long tasks go on without a coordinator before they look whether another run has begun,
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// and how often they do then.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Session {
    /// Sees to the tasks while there is no coordinator. They go on until one of them fails, or
    /// another worker is lost, or another run is in the log. Never returns.
    pub(crate) async fn alone(&mut self) {
        let mut look = interval(LOOK_EVERY);
        look.reset_after(LOOK_AFTER);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looks = JoinSet::new();
        loop {
            tokio::select! {
                reports = self.happens() => {
                    for report in reports {
                        self.note_alone(report).await;
                    }
                }
                _ = look.tick(), if looks.is_empty() => {
                    if let Some(host) = &self.host {
                        let runs = host.runs.clone();
                        looks.spawn(async move { runs.highest().await });
                    }
                }
                // A store that does not answer may do so next time.
                Some(Ok(Ok(highest))) = looks.join_next() => {
                    if self.host.as_ref().is_some_and(|host| host.run < highest) {
                        self.drop_alone(&format!("run {highest} of the job has begun")).await;
                    }
                }
            }
        }
    }

    async fn note_alone(&mut self, report: Report) {
        let why = match report {
            Report::TaskFailed { run, operator, failure } if self.runs(run) => {
                let operator = operator.map_or_else(String::new, |it| format!("operator {it}: "));
                format!("{operator}{}", failure.message)
            }
            Report::PeerLost { run, peer, reason } if self.runs(run) => {
                format!("worker {peer} is lost: {reason}")
            }
            // What the next coordinator does not ask for, it need not know.
            _ => return,
        };
        self.drop_alone(&why).await;
    }

    async fn drop_alone(&mut self, why: &str) {
        let job = &self.worker.job;
        tracing::info!("{job}: the tasks here end while no coordinator is there: {why}");
        self.drop_host().await;
    }

    fn runs(&self, run: Run) -> bool {
        self.host.as_ref().is_some_and(|host| host.run == run)
    }
}

#[cfg(test)]
mod tests;
