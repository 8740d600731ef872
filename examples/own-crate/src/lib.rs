//! Electricity meters: how much their load varied, and alarms where it stayed high.
//!
//! Everything a crate can bring of its own, a file each: a source ([`meters`]), an aggregate
//! ([`spread`]), a process function ([`alarms`]) and a sink ([`report`]).

pub mod alarms;
pub mod meters;
pub mod report;
pub mod spread;

use std::path::Path;
use std::time::Duration;

use millstream_worker::window::Tumbling;
use millstream_worker::{Job, Result, Watermarks};

use alarms::Alarms;
use meters::Meters;
use report::Report;
use spread::Spread;

/// The program. Arguments: `out`, the directory of the reports; `meters` (4); `readings` of each
/// meter (360, an hour); `limit` in watts (700).
pub fn metering(job: &mut Job) -> Result<()> {
    let args = job.args();
    let out = Path::new(args.get("out")?).to_owned();
    let source =
        Meters { meters: args.parse_or("meters", 4)?, readings: args.parse_or("readings", 360)? };
    let alarms = Alarms { limit: args.parse_or("limit", 700)?, patience: Duration::from_mins(2) };

    let readings =
        job.source("readings", source).event_time(|reading| reading.at, Watermarks::ascending());
    let meters = readings.key_by(|reading| reading.meter);
    meters
        .window(Tumbling::of(Duration::from_mins(10)))
        .aggregate("spread", |reading| reading.watts, Spread)
        .map(|spread| format!("{} meter {}: {} W", spread.start, spread.key, spread.value))
        .sink("spreads", Report::new(out.join("spreads")));
    meters
        .process("high", alarms)
        .map(|alarm| format!("{} meter {} is high", alarm.since, alarm.meter))
        .sink("alarms", Report::new(out.join("alarms")));
    Ok(())
}
