//! [`Lull`]: a time in which a split has had nothing to read.
//!
//! Kept by [`super::source`] from what a reader says, forgotten at the next record. Invariant: it
//! reaches no further than the outside has said. A broker that is out of reach may hold records by
//! the thousand.

use crate::source::Word;
use crate::time::Timestamp;

/// A time in which a split has had nothing to read.
pub(super) struct Lull {
    since: Timestamp,
    until: Until,
}

/// Up to when the outside has said so.
#[derive(Clone, Copy)]
enum Until {
    /// Up to the next record.
    Record,
    /// Up to here; the reader asks again.
    Asked(Timestamp),
    /// It is out of reach.
    Unknown,
}

impl Lull {
    /// One that begins now, of which nothing is known yet.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since: now, until: Until::Unknown }
    }

    /// Takes what the reader says of the split.
    pub(super) fn hear(&mut self, word: Word, now: Timestamp) {
        self.until = match word {
            Word::Empty => Until::Record,
            Word::WasEmpty => Until::Asked(now),
            Word::Unknown => Until::Unknown,
            Word::Finished => return,
        };
    }

    /// Lets it begin now. What was said before says nothing of what was not looked at since.
    pub(super) fn restart(&mut self, now: Timestamp) {
        self.since = now;
    }

    /// Whether the split is idle: it is known that the lull has lasted so long.
    pub(super) fn is_idle(&self, idle_ms: i64, now: Timestamp) -> bool {
        let until = match self.until {
            Until::Record => now,
            Until::Asked(time) => time,
            Until::Unknown => return false,
        };
        until >= self.since.saturating_add(idle_ms)
    }

    /// When it will be idle without another word.
    pub(super) fn due(&self, idle_ms: i64) -> Option<Timestamp> {
        matches!(self.until, Until::Record).then(|| self.since.saturating_add(idle_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(words: &[(Word, i64)]) -> Lull {
        let mut lull = Lull::new(Timestamp(words[0].1));
        for (word, now) in words {
            lull.hear(*word, Timestamp(*now));
        }
        lull
    }

    #[test]
    fn a_word_that_stands_makes_a_split_idle_when_its_time_comes() {
        let lull = heard(&[(Word::Empty, 100), (Word::Empty, 130)]);
        assert!(!lull.is_idle(50, Timestamp(149)));
        assert!(lull.is_idle(50, Timestamp(150)));
        assert_eq!(lull.due(50), Some(Timestamp(150)));
    }

    #[test]
    fn a_word_for_so_far_reaches_no_further() {
        let lull = heard(&[(Word::WasEmpty, 100), (Word::WasEmpty, 149)]);
        assert!(!lull.is_idle(50, Timestamp(1000)), "nobody has said so since");
        assert_eq!(lull.due(50), None);
        let lull = heard(&[(Word::WasEmpty, 100), (Word::WasEmpty, 150)]);
        assert!(lull.is_idle(50, Timestamp(150)));
    }

    #[test]
    fn out_of_reach_it_is_not_idle_and_the_next_word_speaks_for_the_time_between() {
        let mut lull = heard(&[(Word::WasEmpty, 100), (Word::WasEmpty, 200), (Word::Unknown, 210)]);
        assert!(!lull.is_idle(50, Timestamp(220)));
        lull.hear(Word::WasEmpty, Timestamp(230));
        assert!(lull.is_idle(50, Timestamp(230)));
    }
}
