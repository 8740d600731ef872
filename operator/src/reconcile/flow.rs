//! How fast records pass through a job, how far behind it is, and what holds it: what sums alone do
//! not say.
//!
//! Received from: a coordinator, the sums of its workers, again and again. Handed to:
//! [`super::status`]. Pure. Invariants: a rate is of all workers of one run, and over [`WINDOW`] at
//! least; what is found of a condition changes when it held for [`condition::FLOW_SETTLES`]; of
//! what does not run nothing is found.

mod steady;

use std::time::Duration;

use k8s_openapi::jiff;
use millstream_coordinator::status::{Phase, Pressure, Status, Totals};
use millstream_protocol::flow::{Clock, Lag, SplitLag, Standing};
use millstream_protocol::id::Run;
use millstream_protocol::time::Timestamp;

pub use self::steady::{Finding, Settled, Steady};
use crate::crd::condition;
use crate::crd::status::Throughput;

/// A rate is over so long at least. A little less than the half minute after which a job is looked
/// at.
const WINDOW: Duration = Duration::from_secs(25);

/// The flow of records through a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Records per second.
    pub throughput: Option<Throughput>,
    /// The watermark of the whole job.
    pub watermark: Option<Timestamp>,
    /// How far its sources are behind.
    pub lag: Lag,
    /// Whether they are caught up.
    pub caught_up: Steady,
    /// Whether the watermark moves.
    pub advancing: Steady,
    /// Whether sources wait for room.
    pub pressed: Steady,
    from: Option<Sample>,
    /// Since when the watermark has been where it is, and whether it was seen to come there.
    still: Option<(Timestamp, bool)>,
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
        let is_told = status.phase == Phase::Running && status.totals.is_whole;
        let Some(run) = status.run.filter(|_| is_told) else {
            let Self { mut caught_up, mut advancing, mut pressed, .. } = std::mem::take(self);
            for steady in [&mut caught_up, &mut advancing, &mut pressed] {
                steady.see(None, now);
            }
            *self = Self { caught_up, advancing, pressed, ..Self::default() };
            return;
        };
        let totals = &status.totals;
        let (records_in, records_out) = (totals.records_in, totals.records_out);
        let sample = Sample { run, at: now, records_in, records_out };
        match self.from.and_then(|from| Some((from.at, rates(from, sample)?))) {
            None => {
                (self.from, self.throughput) = (Some(sample), None);
                (self.watermark, self.still) = (None, None);
            }
            Some((since, rates)) if now.since(since) >= WINDOW => {
                (self.throughput, self.from) = (Some(rates), Some(sample));
            }
            Some(_) => {}
        }
        self.lag = totals.lag.clone();
        self.caught_up.see(caught_up(&self.lag), now);
        self.pressed.see(Some(pressed(totals.pressure.as_ref())), now);
        self.see_watermark(totals, now);
    }

    /// That it moved is so at once, and that it stands still once it has for long enough.
    fn see_watermark(&mut self, totals: &Totals, now: Timestamp) {
        let watermark = totals.watermark.map(Timestamp);
        let is_known = self.watermark.is_some();
        let (since, moved) = match self.still {
            Some(_) if is_known && watermark > self.watermark => (now, true),
            Some(still) if is_known == watermark.is_some() => still,
            _ => (now, false),
        };
        (self.still, self.watermark) = (Some((since, moved)), watermark);
        let is_still = now.since(since) > condition::FLOW_SETTLES;
        let clock = &totals.clock;
        match &clock.holder {
            _ if clock.is_idle() => self.advancing.settle(idle(clock)),
            Some(holder) if is_still => self.advancing.settle(Finding::no(
                condition::HELD_BY_SPLIT,
                match holder.watermark {
                    Some(at) => {
                        let at = shown(at);
                        format!("{} of {} holds it at {at}", holder.split, holder.source)
                    }
                    None => format!("{} of {} has no record yet", holder.split, holder.source),
                },
            )),
            _ if moved && !is_still => self.advancing.settle(Finding::yes("")),
            // Too early to say.
            Some(_) => {}
            None => self.advancing.see(None, now),
        }
    }
}

fn idle(clock: &Clock) -> Finding {
    let said = if clock.has_idle { "all inputs are idle" } else { "all inputs have ended" };
    Finding { reason: condition::IDLE, ..Finding::yes(said) }
}

/// A time as the API server writes it.
fn shown(milliseconds: i64) -> String {
    jiff::Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| format!("{milliseconds} ms"), |time| time.to_string())
}

fn caught_up(lag: &Lag) -> Option<Finding> {
    let slowest = lag.slowest.as_ref()?;
    match lag.standing() {
        Standing::CaughtUp => Some(Finding::yes("")),
        Standing::Unknown => None,
        Standing::Behind => Some(behind(slowest)),
    }
}

fn behind(slowest: &SplitLag) -> Finding {
    let SplitLag { source, split, records, delay, .. } = slowest;
    let waits = records.map(|records| format!("{records} records wait in it"));
    let seconds = delay.map(|delay| delay.as_secs());
    let old = seconds.map(|seconds| format!("the newest that was read is {seconds} s old"));
    let how: Vec<String> = waits.into_iter().chain(old).collect();
    let about = format!("{split} of {source}");
    Finding {
        message: format!("{about} is behind: {}", how.join(", ")),
        about,
        amounts: [records.unwrap_or(0), seconds.unwrap_or(0)],
        ..Finding::no(condition::BEHIND, "")
    }
}

fn pressed(pressure: Option<&Pressure>) -> Finding {
    let pressure = pressure.filter(|it| it.blocked > condition::BLOCKED_PERMILLE);
    let Some(Pressure { source, blocked, by }) = pressure else {
        return Finding { holds: false, ..Finding::yes("") };
    };
    let percent = blocked / 10;
    let whom = match by {
        Some(by) => format!("{by} takes so long"),
        None => "who takes so long cannot be told".to_owned(),
    };
    Finding {
        message: format!("{source} waits for room in {percent} % of the time: {whom}"),
        about: format!("{source} {by:?}"),
        amounts: [u64::from(percent), 0],
        ..Finding { holds: true, ..Finding::no(condition::BLOCKED, "") }
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
    use millstream_protocol::flow::Holder;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    fn shown(run: u64, records: u64, watermark: Option<i64>) -> Status {
        let mut status = Status { phase: Phase::Running, run: Some(Run(run)), ..Status::default() };
        (status.totals.records_in, status.totals.records_out) = (records, records / 2);
        (status.totals.watermark, status.totals.is_whole) = (watermark, true);
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
        assert_eq!((flow.throughput, flow.from), (None, None));
    }

    /// Of a run that is taken over the sums jump, from nothing to all that was ever counted.
    #[test]
    fn rates_are_of_sums_of_all_workers() {
        let mut flow = Flow::default();
        let mut half = shown(1, 500_000, None);
        half.totals.is_whole = false;
        flow.see(&half, at(0));
        flow.see(&shown(1, 1_000_000, None), at(1));
        flow.see(&shown(1, 1_003_000, None), at(31));
        assert_eq!(flow.throughput, Some(Throughput { records_in: 100, records_out: 50 }));
    }

    /// What it says of a condition: whether it holds, and why.
    fn said(steady: &Steady) -> Option<(bool, &'static str, &str)> {
        match steady.settled() {
            Settled::TooEarly | Settled::Unknown => None,
            Settled::Found(found) => Some((found.holds, found.reason, &found.message)),
        }
    }

    /// Shows the same to a flow every few seconds, from one time to another.
    fn hold(flow: &mut Flow, status: &Status, seconds: std::ops::RangeInclusive<i64>) {
        for second in seconds.step_by(5) {
            flow.see(status, at(second));
        }
    }

    fn held(watermark: Option<i64>, by: Option<i64>) -> Status {
        let mut status = shown(1, 0, watermark);
        let (source, split) = ("readings".into(), "orders-3".to_owned());
        let clock = &mut status.totals.clock;
        (clock.lowest, clock.waits) = (by, by.is_none());
        clock.holder = Some(Holder { watermark: by, source, split });
        status
    }

    #[test]
    fn a_watermark_advances_at_once_and_is_held_after_a_minute() {
        let mut flow = Flow::default();
        hold(&mut flow, &held(Some(5000), Some(5000)), 0..=60);
        assert_eq!(said(&flow.advancing), None, "it was not seen to move, nor to stand for long");
        flow.see(&held(Some(6000), Some(6000)), at(61));
        let expected = Some((true, condition::AS_EXPECTED, ""));
        assert_eq!(said(&flow.advancing), expected);
        hold(&mut flow, &held(Some(6000), Some(6000)), 65..=120);
        assert_eq!(said(&flow.advancing), expected, "a minute is not over");
        flow.see(&held(Some(6000), Some(6000)), at(122));
        let message = "orders-3 of readings holds it at 1970-01-01T00:00:06Z";
        let behind = Some((false, condition::HELD_BY_SPLIT, message));
        assert_eq!(said(&flow.advancing), behind);
        let restarting = Status { phase: Phase::Restarting, ..Status::default() };
        hold(&mut flow, &restarting, 125..=180);
        hold(&mut flow, &held(Some(6000), Some(6000)), 185..=200);
        assert_eq!(said(&flow.advancing), behind, "a restart changes nothing");
        flow.see(&held(Some(6001), Some(6001)), at(201));
        assert_eq!(said(&flow.advancing), expected);
        hold(&mut flow, &restarting, 205..=260);
        assert_eq!(said(&flow.advancing), expected);
        flow.see(&restarting, at(265));
        assert_eq!(said(&flow.advancing), None, "nothing runs");
    }

    #[test]
    fn a_watermark_is_held_by_a_split_of_which_nothing_was_read() {
        let mut flow = Flow::default();
        hold(&mut flow, &held(None, None), 0..=65);
        let message = "orders-3 of readings has no record yet";
        let expected = Some((false, condition::HELD_BY_SPLIT, message));
        assert_eq!(said(&flow.advancing), expected);
    }

    #[test]
    fn nothing_holds_a_watermark_where_all_is_idle_or_there_is_none() {
        let mut idle = shown(1, 0, Some(5000));
        (idle.totals.clock.idle, idle.totals.clock.has_idle) = (Some(5000), true);
        let mut flow = Flow::default();
        hold(&mut flow, &idle, 0..=300);
        let expected = Some((true, condition::IDLE, "all inputs are idle"));
        assert_eq!(said(&flow.advancing), expected);
        let mut ended = shown(1, 0, Some(i64::MAX));
        ended.totals.clock.has_ended = true;
        hold(&mut flow, &ended, 305..=310);
        let expected = Some((true, condition::IDLE, "all inputs have ended"));
        assert_eq!(said(&flow.advancing), expected);

        let mut flow = Flow::default();
        hold(&mut flow, &shown(1, 0, None), 0..=300);
        assert_eq!(said(&flow.advancing), None, "no source has event time");
    }

    #[test]
    fn sources_are_caught_up_or_behind_once_they_were_for_a_minute() {
        let lag = |records: u64, delay| {
            let mut status = shown(1, 0, None);
            status.totals.lag = Lag::of(SplitLag {
                source: "readings".into(),
                split: "orders-3".to_owned(),
                records: Some(records),
                delay,
                is_quiet: false,
            });
            status
        };
        let mut flow = Flow::default();
        hold(&mut flow, &lag(12, None), 0..=55);
        assert_eq!(said(&flow.caught_up), None);
        flow.see(&lag(12, None), at(60));
        let caught_up = Some((true, condition::AS_EXPECTED, ""));
        assert_eq!(said(&flow.caught_up), caught_up);
        let delay = Some(Duration::from_secs(90));
        hold(&mut flow, &lag(4000, delay), 65..=120);
        assert_eq!(said(&flow.caught_up), caught_up, "a burst");
        flow.see(&lag(4000, delay), at(125));
        let message = "orders-3 of readings is behind: 4000 records wait in it, the newest that \
                       was read is 90 s old";
        assert_eq!(said(&flow.caught_up), Some((false, condition::BEHIND, message)));
        hold(&mut flow, &shown(1, 0, None), 130..=190);
        assert_eq!(said(&flow.caught_up), None, "nobody knows any more");
    }

    #[test]
    fn sources_wait_for_room_once_they_did_for_a_minute() {
        let pressed = |blocked, by: Option<&str>| {
            let mut status = shown(1, 0, None);
            let by = by.map(Into::into);
            status.totals.pressure = Some(Pressure { source: "readings".into(), blocked, by });
            status
        };
        let mut flow = Flow::default();
        hold(&mut flow, &pressed(500, None), 0..=60);
        let expected = Some((false, condition::AS_EXPECTED, ""));
        assert_eq!(said(&flow.pressed), expected, "half of the time is not more than half");
        hold(&mut flow, &pressed(870, Some("sums")), 65..=120);
        assert_eq!(said(&flow.pressed), expected);
        flow.see(&pressed(870, Some("sums")), at(125));
        let message = "readings waits for room in 87 % of the time: sums takes so long";
        assert_eq!(said(&flow.pressed), Some((true, condition::BLOCKED, message)));
        flow.see(&pressed(870, None), at(130));
        let (holds, _, message) = said(&flow.pressed).unwrap();
        assert!(holds && message.ends_with("who takes so long cannot be told"), "{message}");
        hold(&mut flow, &shown(1, 0, None), 135..=195);
        assert_eq!(said(&flow.pressed), expected);
    }
}
