//! How fast records pass through a job, and whether event time moves: what sums alone do not say.
//!
//! Received from: a coordinator, the sums of its workers, again and again. Handed to:
//! [`super::status`]. Pure. Invariants: a rate is of one run, and over [`WINDOW`] at least; of what
//! does not run nothing is said.

use std::time::Duration;

use millstream_coordinator::status::{Phase, Status};
use millstream_protocol::id::Run;
use millstream_protocol::time::Timestamp;

use crate::crd::status::Throughput;

/// A rate is over so long at least. A little less than the half minute after which a job is looked
/// at.
const WINDOW: Duration = Duration::from_secs(25);

/// The flow of records through a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Records per second.
    pub throughput: Option<Throughput>,
    /// The watermark of the whole job.
    pub watermark: Option<Timestamp>,
    /// When it was seen to move last.
    pub moved_at: Option<Timestamp>,
    from: Option<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    run: Run,
    at: Timestamp,
    records_in: u64,
    records_out: u64,
}

impl Flow {
    /// Takes in what a coordinator shows now.
    pub fn see(&mut self, status: &Status, now: Timestamp) {
        let Some(run) = status.run.filter(|_| status.phase == Phase::Running) else {
            *self = Self::default();
            return;
        };
        let totals = &status.totals;
        let (records_in, records_out) = (totals.records_in, totals.records_out);
        let sample = Sample { run, at: now, records_in, records_out };
        match self.from.and_then(|from| Some((from.at, rates(from, sample)?))) {
            None => *self = Self { from: Some(sample), ..Self::default() },
            Some((since, rates)) if now.since(since) >= WINDOW => {
                (self.throughput, self.from) = (Some(rates), Some(sample));
            }
            Some(_) => {}
        }
        let watermark = totals.watermark.map(Timestamp);
        if self.watermark.is_some() && watermark > self.watermark {
            self.moved_at = Some(now);
        }
        self.watermark = watermark;
    }
}

/// What passed per second; none where the counting has begun anew.
fn rates(from: Sample, to: Sample) -> Option<Throughput> {
    if from.run != to.run {
        return None;
    }
    let seconds = to.at.since(from.at).as_secs_f64();
    let rate = |from: u64, to: u64| {
        let records = to.checked_sub(from)?;
        Some(if seconds > 0.0 { (records as f64 / seconds).round() as i64 } else { 0 })
    };
    Some(Throughput {
        records_in: rate(from.records_in, to.records_in)?,
        records_out: rate(from.records_out, to.records_out)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn shown(run: u64, records: u64, watermark: Option<i64>) -> Status {
        let mut status = Status { phase: Phase::Running, run: Some(Run(run)), ..Status::default() };
        (status.totals.records_in, status.totals.records_out) = (records, records / 2);
        status.totals.watermark = watermark;
        status
    }

    #[test]
    fn rates_are_of_the_last_half_minute_of_one_run() {
        let mut flow = Flow::default();
        flow.see(&shown(1, 1000, None), at(0));
        flow.see(&shown(1, 2000, None), at(10));
        assert_eq!(flow.throughput, None, "that is no half minute");
        flow.see(&shown(1, 4000, None), at(30));
        assert_eq!(flow.throughput, Some(Throughput { records_in: 100, records_out: 50 }));
        flow.see(&shown(1, 4000, None), at(60));
        assert_eq!(flow.throughput, Some(Throughput { records_in: 0, records_out: 0 }));
        flow.see(&shown(2, 9000, None), at(90));
        assert_eq!(flow.throughput, None, "another run counts anew");
        flow.see(&shown(2, 100, None), at(120));
        assert_eq!(flow.throughput, None, "a worker has not reported yet");
        flow.see(&Status::default(), at(150));
        assert_eq!(flow, Flow::default());
    }

    #[test]
    fn a_watermark_moves_when_it_was_seen_before() {
        let mut flow = Flow::default();
        flow.see(&shown(1, 0, Some(5)), at(0));
        assert_eq!((flow.watermark, flow.moved_at), (Some(Timestamp(5)), None));
        flow.see(&shown(1, 0, Some(6)), at(1));
        flow.see(&shown(1, 0, Some(6)), at(40));
        assert_eq!((flow.watermark, flow.moved_at), (Some(Timestamp(6)), Some(at(1))));
        flow.see(&shown(2, 0, Some(6)), at(50));
        assert_eq!(flow.moved_at, None);
    }
}
