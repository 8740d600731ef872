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

/// What is known of how far the job is behind; none where nothing is.
pub(super) fn lag(flow: Option<&Flow>, now: Timestamp, before: Option<Lag>) -> Option<Lag> {
    let flow = flow?;
    // Behind the end there is no time, and nothing is behind.
    let watermark = flow.watermark.filter(|watermark| *watermark < Timestamp(i64::MAX));
    let seconds = watermark.map(|watermark| now.since(watermark).as_secs());
    let lag = Lag {
        records: flow.lag.records().map(|records| i64::try_from(records).unwrap_or(i64::MAX)),
        watermark_delay: seconds.map(|seconds| GepDuration(Duration::from_secs(seconds))),
        slowest_split: flow.lag.slowest.as_ref().map(|slowest| slowest.split.clone()),
    };
    if lag.records.is_none() && lag.watermark_delay.is_none() {
        return None;
    }
    before.filter(|before| is_much_like(before, &lag)).or(Some(lag))
}

fn is_much_like(before: &Lag, now: &Lag) -> bool {
    let seconds = |lag: &Lag| lag.watermark_delay.as_ref().map(|it| it.0.as_secs() as i64);
    let is_near = |before: Option<i64>, now: Option<i64>| match (before, now) {
        (Some(before), Some(now)) => !has_moved(before, now),
        (before, now) => before == now,
    };
    before.slowest_split == now.slowest_split
        && is_near(before.records, now.records)
        && is_near(seconds(before), seconds(now))
}

fn has_moved(before: i64, now: i64) -> bool {
    before.abs_diff(now) > before.unsigned_abs() / 10
}
