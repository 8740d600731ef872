//! [`Teller`]: says how far the sources of this worker have come, where those of other workers wait
//! for them.
//!
//! Made by [`crate::session`] for each run. The coordinator answers with where the others stand. It
//! is said again and again, changed or not: what is lost is made good by the next.

use std::time::Duration;

use millstream_protocol::session::Report;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::host::Host;

/// How often it is said. The engine reckons with twice that and a network between.
const EVERY: Duration = Duration::from_millis(200);

/// Says how far the sources of this worker have come.
#[derive(Default)]
pub(crate) struct Teller {
    /// None where nobody waits for them.
    tick: Option<Interval>,
}

impl Teller {
    pub(crate) fn of(host: &Host) -> Self {
        let tick = host.engine.marks().map(|_| {
            let mut tick = interval(EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick
        });
        Self { tick }
    }

    /// Returns when it is time to say it.
    pub(crate) async fn due(&mut self) {
        match &mut self.tick {
            Some(tick) => {
                tick.tick().await;
            }
            None => std::future::pending().await,
        }
    }
}

/// What is said.
pub(crate) fn report(host: Option<&Host>) -> Vec<Report> {
    let said = host.and_then(|host| Some((host.run, host.engine.marks()?)));
    said.map(|(run, own)| Report::Drift { run, own }).into_iter().collect()
}
