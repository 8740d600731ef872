//! How fast a job is, and how far behind: written when it moved by a tenth.

use std::time::Duration;

use millstream_protocol::time::{GepDuration, Timestamp};

use crate::crd::status::{Lag, Throughput};
use crate::reconcile::flow::Flow;

pub(super) fn throughput(flow: Option<&Flow>, before: Option<Throughput>) -> Option<Throughput> {
    let now = flow?.throughput?;
    let is_same = |before: &Throughput| {
        !has_moved(before.records_in, now.records_in)
            && !has_moved(before.records_out, now.records_out)
    };
    before.filter(is_same).or(Some(now))
}

/// How many records wait in the sources is not known: they do not say.
pub(super) fn lag(flow: Option<&Flow>, now: Timestamp, before: Option<Lag>) -> Option<Lag> {
    // Behind the end there is no time, and nothing is behind.
    let watermark = flow?.watermark.filter(|watermark| *watermark < Timestamp(i64::MAX))?;
    let seconds = now.since(watermark).as_secs();
    let is_same = |before: &Lag| {
        let said = before.watermark_delay.as_ref();
        said.is_some_and(|said| !has_moved(said.0.as_secs() as i64, seconds as i64))
    };
    let delay = GepDuration(Duration::from_secs(seconds));
    let lag = Lag { records: None, watermark_delay: Some(delay), slowest_split: None };
    before.filter(is_same).or(Some(lag))
}

fn has_moved(before: i64, now: i64) -> bool {
    before.abs_diff(now) > before.unsigned_abs() / 10
}
