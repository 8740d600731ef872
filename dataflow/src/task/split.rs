//! [`Split`]: what a source task keeps of a split.
//!
//! Kept by [`super::source`], judged by [`super::hold`].

use std::sync::atomic::Ordering;

use super::info::SplitTold;
use super::lull::Lull;
use crate::source::Word;
use crate::time::{SplitClock, Timestamp};

/// What others have told of themselves is so old at most, unless they are out of reach: they say it
/// five times a second, it is asked for as often, and there is a network between. Only what a split
/// had reached by then is compared with it.
const NEWS_AGE_MS: i64 = 500;

/// A split of a source task.
pub(super) struct Split {
    pub(super) clock: SplitClock,
    pub(super) lull: Option<Lull>,
    pub(super) idle: bool,
    pub(super) finished: bool,
    /// It is too far ahead to be read.
    pub(super) held: bool,
    /// The first watermark of it was seen.
    pub(super) begun: bool,
    past: Past,
    /// It was said to be empty, and has had no record since.
    empty: bool,
    /// Where others see it.
    told: SplitTold,
}

impl Split {
    pub(super) fn new(restored: Timestamp, told: SplitTold) -> Self {
        Self {
            clock: SplitClock::new(restored),
            lull: None,
            idle: false,
            finished: false,
            held: false,
            begun: false,
            past: Past::default(),
            empty: false,
            told,
        }
    }

    /// Its watermark; tells it.
    pub(super) fn watermark(&self, bound_ms: i64) -> Timestamp {
        let time = self.clock.watermark(bound_ms);
        self.told.watermark.store(time.0, Ordering::Relaxed);
        if time > Timestamp::MIN {
            let newest = time.saturating_add(bound_ms);
            self.told.newest.store(newest.0, Ordering::Relaxed);
        }
        time
    }

    /// Tells that it holds nothing back.
    pub(super) fn tell_quiet(&self) {
        self.told.watermark.store(Timestamp::MAX.0, Ordering::Relaxed);
    }

    /// Records of it came: it is not empty.
    pub(super) fn read(&mut self) {
        (self.lull, self.idle) = (None, false);
        if self.empty {
            self.empty = false;
            self.told.backlog.note_empty(false);
        }
    }

    /// Whether it holds the watermark back.
    pub(super) fn is_live(&self) -> bool {
        !self.idle && !self.finished
    }

    /// Takes what the reader says of it.
    pub(super) fn hear(&mut self, word: Word, now: Timestamp) {
        self.finished |= word == Word::Finished;
        self.empty = word != Word::Unknown;
        self.told.backlog.note_empty(self.empty);
        self.lull.get_or_insert_with(|| Lull::new(now)).hear(word, now);
    }

    /// Finds out whether it is idle; returns when it will be without another word. What is not read
    /// is not idle, whatever was said of it before.
    pub(super) fn rest(&mut self, idle_ms: i64, now: Timestamp) -> Option<Timestamp> {
        let lull = self.lull.as_mut()?;
        if self.held {
            lull.restart(now);
            return None;
        }
        self.idle = lull.is_idle(idle_ms, now);
        lull.due(idle_ms).filter(|_| !self.idle)
    }

    /// It is read again from now on: a lull of it begins now.
    pub(super) fn wake(&mut self, now: Timestamp) {
        if let Some(lull) = &mut self.lull {
            lull.restart(now);
        }
    }

    /// What its watermark was when others told of theirs.
    pub(super) fn past(&mut self, watermark: Timestamp, now: Timestamp) -> Timestamp {
        self.past.at(watermark, now)
    }
}

/// A watermark of a while ago.
struct Past {
    since: Timestamp,
    newer: Timestamp,
    older: Timestamp,
}

impl Default for Past {
    fn default() -> Self {
        Self { since: Timestamp::MIN, newer: Timestamp::MIN, older: Timestamp::MIN }
    }
}

impl Past {
    /// The watermark of [`NEWS_AGE_MS`] ago, or of up to twice that.
    fn at(&mut self, watermark: Timestamp, now: Timestamp) -> Timestamp {
        if now >= self.since.saturating_add(NEWS_AGE_MS) {
            (self.older, self.newer, self.since) = (self.newer, watermark, now);
        }
        self.older
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_a_watermark_of_half_a_second_to_a_second_ago() {
        let mut past = Past::default();
        let mut seen = Vec::new();
        for now in (10_000..13_000).step_by(50) {
            seen.push((now, past.at(Timestamp(now * 7), Timestamp(now))));
        }
        let (early, late) = seen.split_at(10);
        assert!(early.iter().all(|(_, past)| *past == Timestamp::MIN), "nothing is known yet");
        for (now, past) in late {
            let age = now - past.0 / 7;
            assert!((NEWS_AGE_MS..2 * NEWS_AGE_MS).contains(&age), "{age} at {now}");
        }
    }

    #[test]
    fn what_is_not_read_is_not_idle_and_its_lull_begins_when_it_is_read_again() {
        let mut split = Split::new(Timestamp(5), SplitTold::default());
        split.hear(Word::Empty, Timestamp(100));
        split.held = true;
        assert_eq!(split.rest(50, Timestamp(500)), None);
        assert!(!split.idle);
        split.held = false;
        assert_eq!(split.rest(50, Timestamp(510)), Some(Timestamp(550)));
        assert!(!split.idle);
        split.rest(50, Timestamp(550));
        assert!(split.idle && !split.is_live());
    }
}
