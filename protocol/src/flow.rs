//! [`Flow`]: how far sources are behind, what holds event time back, who waits for room. Pure.
//!
//! Received from: a worker, which says it of its own tasks. Handed to: the coordinator, which adds
//! up those of all workers, and to whoever shows it. Invariants: the order in which parts are added
//! up does not matter; what nobody knows is not shown as nothing.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::OperatorId;

/// A split whose newest record that was read is younger than this is caught up,
pub const CAUGHT_UP_DELAY: Duration = Duration::from_secs(5);
/// and so is one in which at most so many records wait.
pub const CAUGHT_UP_RECORDS: u64 = 1000;

/// How records and event time move through some of a job's tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Flow {
    /// How far the splits are behind.
    pub lag: Lag,
    /// How far event time has come.
    pub clock: Clock,
    /// What became of the tasks' time, by the first operator of each chain; those that did nothing
    /// are left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub loads: BTreeMap<OperatorId, Load>,
}

impl Flow {
    /// That of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (operator, load) in other.loads {
            let both = self.loads.entry(operator).or_default();
            *both = both.and(load);
        }
        Self { lag: self.lag.and(other.lag), clock: self.clock.and(other.clock), loads: self.loads }
    }
}

/// How far splits are behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lag {
    /// How many there are.
    pub splits: u64,
    /// Records that wait in those of which that is known.
    pub waiting: u64,
    /// Splits of which it is not.
    pub untold: u64,
    /// The split that is farthest behind.
    pub slowest: Option<SplitLag>,
}

/// How far a split is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitLag {
    /// Its source.
    pub source: OperatorId,
    /// Its name, unique within its source.
    pub split: String,
    /// Records that wait in it; none where that is not known.
    pub records: Option<u64>,
    /// The age of the newest record that was read of it, by its event time; none where it has none,
    /// and where it has had nothing to read.
    pub delay: Option<Duration>,
    /// It has had nothing to read for long enough to be idle, or is read to its end.
    pub is_quiet: bool,
}

/// Whether something is caught up with what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is.
    CaughtUp,
    /// Nobody knows.
    Unknown,
    /// It is not.
    Behind,
}

impl SplitLag {
    /// Whether it is caught up: by its records, or by their age.
    pub fn standing(&self) -> Standing {
        let is_short = self.is_quiet
            || self.records.is_some_and(|records| records <= CAUGHT_UP_RECORDS)
            || self.delay.is_some_and(|delay| delay < CAUGHT_UP_DELAY);
        match (self.records, self.delay) {
            _ if is_short => Standing::CaughtUp,
            (None, None) => Standing::Unknown,
            _ => Standing::Behind,
        }
    }

    /// Orders by how far splits are behind; the last two have the same one named, whoever looks.
    fn rank(&self) -> impl Ord + '_ {
        let names = Reverse((&self.source, &self.split));
        (self.standing(), self.delay, self.records, names)
    }
}

impl Lag {
    /// That of one split.
    pub fn of(split: SplitLag) -> Self {
        Self {
            splits: 1,
            waiting: split.records.unwrap_or(0),
            untold: u64::from(split.records.is_none()),
            slowest: Some(split),
        }
    }

    /// That of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let slowest = match (self.slowest, other.slowest) {
            (Some(one), Some(other)) if one.rank() < other.rank() => Some(other),
            (one, other) => one.or(other),
        };
        Self {
            splits: self.splits + other.splits,
            waiting: self.waiting.saturating_add(other.waiting),
            untold: self.untold + other.untold,
            slowest,
        }
    }

    /// Records that wait in all splits; none where there is no split, or one of which that is not
    /// known.
    pub fn records(&self) -> Option<u64> {
        (self.splits > 0 && self.untold == 0).then_some(self.waiting)
    }

    /// Whether all splits are caught up.
    pub fn standing(&self) -> Standing {
        self.slowest.as_ref().map_or(Standing::Unknown, SplitLag::standing)
    }
}

/// How far the event time of sources has come, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Clock {
    /// The smallest watermark of those whose splits hold one back.
    pub lowest: Option<i64>,
    /// One of these has no watermark yet.
    pub waits: bool,
    /// The largest watermark of those of which all splits are idle.
    pub idle: Option<i64>,
    /// There are such.
    pub has_idle: bool,
    /// There are some that are read to their end.
    pub has_ended: bool,
    /// The split with the smallest watermark of those that hold one back.
    pub holder: Option<Holder>,
}

/// A split that holds the watermark back.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Its watermark; none where nothing was read of it yet.
    pub watermark: Option<i64>,
    /// Its source.
    pub source: OperatorId,
    /// Its name, unique within its source.
    pub split: String,
}

impl Clock {
    /// That of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            lowest: least(self.lowest, other.lowest),
            waits: self.waits || other.waits,
            idle: self.idle.max(other.idle),
            has_idle: self.has_idle || other.has_idle,
            has_ended: self.has_ended || other.has_ended,
            holder: least(self.holder, other.holder),
        }
    }

    /// The watermark: the smallest of those that hold it back, or where all are idle the one that
    /// they have left behind; `i64::MAX` at the end of all. None before the first, and where no
    /// source has event time.
    pub fn watermark(&self) -> Option<i64> {
        match self.lowest {
            _ if self.waits => None,
            Some(lowest) => Some(lowest),
            None if self.has_idle => self.idle,
            None => self.has_ended.then_some(i64::MAX),
        }
    }

    /// Whether there are sources with event time, and nothing waits for any.
    pub fn is_idle(&self) -> bool {
        !self.waits && self.lowest.is_none() && (self.has_idle || self.has_ended)
    }
}

/// The smaller one of those that there are.
fn least<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A share of a time, in thousandths.
pub type Permille = u16;

/// What became of the time of an operator's tasks over the last few seconds: of the one that was
/// busy the longest, and of the one that waited the longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// At work.
    pub busy: Permille,
    /// Waiting for room downstream.
    pub blocked: Permille,
}

impl Load {
    /// That of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { busy: self.busy.max(other.busy), blocked: self.blocked.max(other.blocked) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(split: &str, records: Option<u64>, seconds: Option<u64>) -> SplitLag {
        SplitLag {
            source: "orders".into(),
            split: split.into(),
            records,
            delay: seconds.map(Duration::from_secs),
            is_quiet: false,
        }
    }

    #[test]
    fn a_split_is_caught_up_by_its_records_or_by_their_age() {
        let standing = |records, seconds| split("a", records, seconds).standing();
        assert_eq!(standing(Some(1000), None), Standing::CaughtUp);
        assert_eq!(standing(Some(1001), None), Standing::Behind);
        assert_eq!(standing(Some(1001), Some(4)), Standing::CaughtUp);
        assert_eq!(standing(Some(1001), Some(5)), Standing::Behind);
        assert_eq!(standing(Some(0), Some(3600)), Standing::CaughtUp, "nothing came for an hour");
        assert_eq!(standing(None, Some(4)), Standing::CaughtUp);
        assert_eq!(standing(None, Some(5)), Standing::Behind);
        assert_eq!(standing(None, None), Standing::Unknown);
        let quiet = SplitLag { is_quiet: true, ..split("a", None, None) };
        assert_eq!(quiet.standing(), Standing::CaughtUp);
    }

    #[test]
    fn the_split_that_is_farthest_behind_speaks_for_all() {
        let splits = [
            split("new", Some(2000), Some(10)),
            split("old", Some(1500), Some(60)),
            split("short", Some(3), Some(3600)),
            split("much", Some(1_000_000), Some(2)),
        ];
        let sum = |splits: &[SplitLag]| {
            splits.iter().cloned().map(Lag::of).fold(Lag::default(), Lag::and)
        };
        let all = sum(&splits);
        assert_eq!(all.records(), Some(1_003_503));
        assert_eq!(all.slowest.as_ref().unwrap().split, "old");
        assert_eq!(all.standing(), Standing::Behind);
        let mut turned = splits.to_vec();
        for _ in 0..turned.len() {
            turned.rotate_left(1);
            assert_eq!(sum(&turned), all);
        }
        let untold = all.and(Lag::of(split("file", None, None)));
        assert_eq!(untold.records(), None, "more may wait");
        assert_eq!(untold.standing(), Standing::Behind, "that one is behind is known all the same");
        let some = Lag::of(split("short", Some(3), None)).and(Lag::of(split("file", None, None)));
        assert_eq!(some.standing(), Standing::Unknown);
        assert_eq!(
            (Lag::default().records(), Lag::default().standing()),
            (None, Standing::Unknown)
        );
    }

    #[test]
    fn who_holds_nothing_back_hides_nobodys_watermark() {
        let live = |time| Clock { lowest: Some(time), ..Clock::default() };
        let idle = |idle| Clock { idle, has_idle: true, ..Clock::default() };
        let waits = Clock { waits: true, ..Clock::default() };
        let ended = Clock { has_ended: true, ..Clock::default() };
        let both = |one: &Clock, other: &Clock| {
            let watermark = one.clone().and(other.clone()).watermark();
            assert_eq!(other.clone().and(one.clone()).watermark(), watermark);
            watermark
        };
        assert_eq!(both(&live(50), &live(70)), Some(50));
        assert_eq!(both(&live(50), &idle(None)), Some(50), "it has no split at all");
        assert_eq!(both(&live(50), &idle(Some(20))), Some(50));
        assert_eq!(both(&live(50), &ended), Some(50));
        assert_eq!(both(&live(50), &waits), None, "what was not read yet may be of any time");
        assert_eq!(both(&idle(Some(20)), &idle(Some(30))), Some(30));
        assert_eq!(both(&idle(Some(20)), &ended), Some(20));
        assert_eq!(both(&ended, &ended), Some(i64::MAX));
        assert_eq!(Clock::default().watermark(), None);
        assert!(idle(None).is_idle() && ended.is_idle());
        assert!(!live(5).and(idle(None)).is_idle() && !waits.is_idle());
        assert!(!Clock::default().is_idle(), "there is no event time");
    }

    #[test]
    fn the_watermark_is_held_by_the_split_with_the_smallest_and_before_all_by_one_without() {
        let holder = |watermark, split: &str| {
            let holder = Holder { watermark, source: "orders".into(), split: split.into() };
            Clock { holder: Some(holder), ..Clock::default() }
        };
        let holds = |clock: Clock| clock.holder.unwrap().split;
        assert_eq!(holds(holder(Some(9), "a").and(holder(Some(7), "b"))), "b");
        assert_eq!(holds(holder(Some(9), "a").and(holder(None, "b"))), "b");
        assert_eq!(holds(Clock::default().and(holder(Some(9), "a"))), "a");
    }
}
