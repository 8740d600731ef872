//! `bird-strikes`: the quickstart. Strikes and their cost, by state and month.

use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::connector::files::{FileSink, Files};
use crate::connector::print::Print;
use crate::operator::aggregate::{Count, Sum};
use crate::window::Tumbling;
use crate::{Job, Result, Watermarks};

/// One line of the data set.
#[derive(Clone, Serialize, Deserialize)]
struct Strike {
    #[serde(rename = "Flight Date")]
    date: Date,
    #[serde(rename = "Origin State")]
    state: String,
    #[serde(rename = "Cost Total $")]
    dollars: i64,
}

// begin: the program that the README shows
fn bird_strikes(job: &mut Job) -> Result<()> {
    let file = Files::csv::<Strike>(job.args().get("input")?);
    let rate = job.args().parse_or("recordsPerSecond", 1e9)?;
    let months = job
        .source("strikes", file.records_per_second(rate))
        .event_time(|strike| strike.date.into(), Watermarks::ascending())
        .key_by(|strike| strike.state.clone())
        .window(Tumbling::of(Duration::from_hours(30 * 24)))
        .aggregate("per-state", |strike| strike.dollars, (Count, Sum));
    months.filter(|month| month.value.1 > 1_000_000).sink("screen", Print::json());
    months.sink("files", FileSink::json(job.args().get("output")?));
    Ok(())
}
// end

/// The quickstart's program.
pub(super) const BIRD_STRIKES: super::Program =
    super::Program { name: "bird-strikes", build: bird_strikes };
