//! A commit: the sinks of a run make visible what they held back for a snapshot.
//!
//! Asked for by [`super`], which reports what comes of it.

use std::sync::Arc;
use std::time::Duration;

use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_dataflow::engine::EngineCommits;
use millstream_protocol::id::{Epoch, Run};
use millstream_protocol::session::Report;

use super::failed;
use crate::metrics::Metrics;

pub(super) async fn commit(
    commits: EngineCommits,
    metrics: Arc<Metrics>,
    run: Run,
    epoch: Epoch,
) -> Report {
    let clock = SystemClock::new();
    let begun = clock.monotonic_ns();
    match commits.commit(epoch).await {
        Ok(()) => {
            let took = clock.monotonic_ns().saturating_sub(begun);
            metrics.committed(Duration::from_nanos(took));
            Report::Committed { run, epoch }
        }
        Err(error) => failed(run, error),
    }
}
