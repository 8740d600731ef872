//! [`Hold`]: keeps a source task from reading splits that are too far ahead.
//!
//! Asked by [`super::source`] before each poll, goes by its [`Seat`]. Invariants: the split with
//! the smallest watermark of all is read, and so is one that has none yet; what is not read holds
//! the watermark back as before.

use std::sync::atomic::AtomicU64;

use super::count;
use super::drift::{Limits, Seat};
use super::split::Split;
use crate::time::Timestamp;

/// Keeps a source task from running ahead.
pub(super) struct Hold {
    seat: Seat,
    /// Its reader leaves out single splits.
    by_split: bool,
    /// The smallest watermark that a split began with.
    first: Timestamp,
    /// Something was held when it was last asked, which was then.
    held_at: Option<Timestamp>,
}

/// What may be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    /// The splits that say so.
    Some,
    /// The whole reader.
    All,
}

impl Hold {
    pub(super) fn new(seat: Seat) -> Self {
        Self { seat, by_split: false, first: Timestamp::MAX, held_at: None }
    }

    /// Whether its reader leaves out single splits. One that does not is left alone as a whole.
    pub(super) fn by_split(&mut self, by_split: bool) {
        self.by_split = by_split;
    }

    /// Says where the task stands: its watermark, or MAX where it holds nobody back.
    pub(super) fn stand(&mut self, watermark: Timestamp, splits: &mut [Split], bound_ms: i64) {
        for split in splits.iter_mut().filter(|split| !split.begun) {
            let began_with = split.clock.watermark(bound_ms);
            if began_with > Timestamp::MIN {
                split.begun = true;
                self.first = self.first.min(began_with);
            }
        }
        self.seat.stand(watermark, self.first);
    }

    /// Judges which splits may not be read now.
    pub(super) fn judge(&mut self, splits: &mut [Split], bound_ms: i64, now: Timestamp) -> Held {
        let mut limits = self.seat.limits();
        // What changes between look and sleep wakes the thread, or is seen by the second look.
        for _ in 0..2 {
            let waits_for = self.mark(splits, bound_ms, limits, now);
            self.seat.wait_for(waits_for);
            if waits_for.is_none() || limits == self.seat.limits() {
                break;
            }
            limits = self.seat.limits();
        }
        if !splits.iter().any(|split| split.held) {
            return Held::Nothing;
        }
        if self.by_split && splits.iter().any(|split| !split.held && !split.finished) {
            return Held::Some;
        }
        Held::All
    }

    /// Marks what is held; returns the smallest watermark of it.
    fn mark(
        &self,
        splits: &mut [Split],
        bound_ms: i64,
        limits: Limits,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let mut lowest: Option<Timestamp> = None;
        let mut reads = false;
        for split in &mut *splits {
            let watermark = split.clock.watermark(bound_ms);
            let past = split.past(watermark, now);
            let ahead = watermark > limits.own || past > limits.others;
            split.held = ahead && split.is_live();
            if split.held {
                lowest = Some(lowest.map_or(watermark, |lowest| lowest.min(watermark)));
            } else {
                reads |= split.is_live();
            }
        }
        if reads && !self.by_split {
            for split in splits {
                split.held = false;
            }
            return None;
        }
        lowest
    }

    /// Adds the time in which something was held.
    pub(super) fn note_time(&mut self, held: Held, now: Timestamp, nanoseconds: &AtomicU64) {
        if let Some(since) = self.held_at {
            let passed = now.0.saturating_sub(since.0).max(0);
            count(nanoseconds, passed.unsigned_abs().saturating_mul(1_000_000));
        }
        self.held_at = (held != Held::Nothing).then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millstream_protocol::drift::Marks;

    use super::super::Doorbell;
    use super::super::drift::Drift;
    use super::super::info::SplitTold;
    use super::*;
    use crate::source::Word;

    const NOW: Timestamp = Timestamp(1_000_000);

    /// A task whose splits have these watermarks, beside another one with this, which may be 10
    /// apart.
    fn judged(by_split: bool, other: i64, splits: &mut [Split]) -> (Held, Vec<bool>) {
        let drift = Drift::new(10, 2, Marks::default());
        let seat = |drift: &Arc<Drift>| drift.seat(Doorbell::default()).unwrap();
        let (mut hold, slow) = (Hold::new(seat(&drift)), seat(&drift));
        hold.by_split(by_split);
        slow.stand(Timestamp(other), Timestamp(other));
        let live = splits.iter().filter(|split| split.is_live());
        let own = live.map(|split| split.clock.watermark(0)).min().unwrap_or(Timestamp::MAX);
        hold.stand(own, splits, 0);
        let held = hold.judge(splits, 0, NOW);
        (held, splits.iter().map(|split| split.held).collect())
    }

    fn splits<const N: usize>(watermarks: [i64; N]) -> [Split; N] {
        watermarks.map(|watermark| Split::new(Timestamp(watermark), SplitTold::default()))
    }

    #[test]
    fn splits_that_are_ahead_are_left_out_where_the_reader_can() {
        let (held, which) = judged(true, 50, &mut splits([40, 51, 50]));
        assert_eq!((held, which), (Held::Some, vec![false, true, false]));
        let (held, which) = judged(true, 50, &mut splits([70, 61, 60]));
        assert_eq!((held, which), (Held::Some, vec![true, true, false]));
        let (held, which) = judged(true, 50, &mut splits([70, 61]));
        assert_eq!((held, which), (Held::All, vec![true, true]));
        assert_eq!(judged(true, 50, &mut splits([60, 51])).0, Held::Nothing);
    }

    #[test]
    fn a_reader_that_cannot_goes_on_while_one_of_its_splits_may() {
        let (held, which) = judged(false, 50, &mut splits([70, 60]));
        assert_eq!((held, which), (Held::Nothing, vec![false, false]));
        assert_eq!(judged(false, 50, &mut splits([70, 61])).0, Held::All);
    }

    #[test]
    fn what_has_no_watermark_yet_is_read_and_what_is_idle_or_over_holds_nothing() {
        let mut unknown = splits([i64::MIN, 100]);
        assert_eq!(judged(true, 50, &mut unknown).0, Held::Some);
        assert!(!unknown[0].held && unknown[1].held);
        assert_eq!(judged(false, 50, &mut splits([i64::MIN, 100])).0, Held::Nothing);

        let mut idle = splits([10, 100]);
        idle[0].idle = true;
        assert_eq!(judged(true, 50, &mut idle).0, Held::Some, "it is asked whether it is still");
        assert_eq!(judged(false, 50, &mut idle).0, Held::All);
        let mut over = splits([10, 100]);
        over[0].hear(Word::Finished, NOW);
        assert_eq!(judged(true, 50, &mut over).0, Held::All);
        assert_eq!(judged(true, 50, &mut splits([])).0, Held::Nothing, "it names its splits first");
    }

    #[test]
    fn time_counts_from_one_look_that_finds_something_held_to_the_next() {
        let drift = Drift::new(10, 1, Marks::default());
        let mut hold = Hold::new(drift.seat(Doorbell::default()).unwrap());
        let nanoseconds = AtomicU64::new(0);
        let looks = [(Held::Nothing, 0), (Held::Some, 5), (Held::All, 7), (Held::Nothing, 9)];
        for (held, now) in looks.into_iter().chain([(Held::Nothing, 20), (Held::All, 30)]) {
            hold.note_time(held, Timestamp(now), &nanoseconds);
        }
        assert_eq!(nanoseconds.into_inner(), 4_000_000);
    }
}
