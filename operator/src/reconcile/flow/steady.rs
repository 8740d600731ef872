//! [`Steady`]: what is found of a condition, once it has been so for a while.
//!
//! Told by [`super::Flow`], as often as it looks; read by the conditions. Invariant: a change that
//! does not last is not seen.

use millstream_protocol::time::Timestamp;

use crate::crd::condition;

/// What is found of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is `True`.
    pub holds: bool,
    /// Why.
    pub reason: &'static str,
    /// The same in words.
    pub message: String,
    /// What these are about, without amounts.
    pub about: String,
    /// The amounts in them.
    pub amounts: [u64; 2],
}

impl Finding {
    /// It holds, as is expected.
    pub fn yes(message: &str) -> Self {
        Self { holds: true, ..Self::no(condition::AS_EXPECTED, message) }
    }

    /// It does not.
    pub fn no(reason: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let about = message.clone();
        Self { holds: false, reason, message, about, amounts: [0; 2] }
    }

    /// Whether it says the same, but for amounts that moved by less than a tenth: those who watch
    /// are not told of each.
    fn is_much_like(&self, other: &Self) -> bool {
        let moved = |(before, now): (&u64, &u64)| before.abs_diff(*now) > before / 10;
        (self.holds, self.reason, &self.about) == (other.holds, other.reason, &other.about)
            && !self.amounts.iter().zip(&other.amounts).any(moved)
    }
}

/// What has been found for long enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Settled {
    /// Nothing yet: it was not looked at for so long.
    #[default]
    TooEarly,
    /// That nothing is known.
    Unknown,
    /// This.
    Found(Finding),
}

/// What is found of a condition, once it has been so for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steady {
    settled: Settled,
    /// What was found since that says another thing, and from when on.
    other: Option<(Option<bool>, Timestamp)>,
}

impl Steady {
    /// What has been found for long enough.
    pub fn settled(&self) -> &Settled {
        &self.settled
    }

    /// Takes in what is found now; none: nothing is known.
    pub fn see(&mut self, found: Option<Finding>, now: Timestamp) {
        let holds = found.as_ref().map(|found| found.holds);
        let is_same = match &self.settled {
            Settled::TooEarly => false,
            Settled::Unknown => holds.is_none(),
            Settled::Found(before) => holds == Some(before.holds),
        };
        if !is_same {
            let since = self.other.filter(|(other, _)| *other == holds).map_or(now, |it| it.1);
            self.other = Some((holds, since));
            if now.since(since) < condition::FLOW_SETTLES {
                return;
            }
        }
        if let Some(found) = found {
            self.settle(found);
        } else {
            (self.settled, self.other) = (Settled::Unknown, None);
        }
    }

    /// Takes in what has been so for long enough.
    pub fn settle(&mut self, found: Finding) {
        self.other = None;
        match &self.settled {
            Settled::Found(before) if before.is_much_like(&found) => {}
            _ => self.settled = Settled::Found(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_000_000 + seconds * 1000)
    }

    fn holds(steady: &Steady) -> Option<bool> {
        match steady.settled() {
            Settled::TooEarly | Settled::Unknown => None,
            Settled::Found(found) => Some(found.holds),
        }
    }

    #[test]
    fn what_does_not_last_a_minute_is_not_seen() {
        let (yes, no) = (|| Some(Finding::yes("")), || Some(Finding::no("Behind", "much")));
        let mut steady = Steady::default();
        steady.see(yes(), at(0));
        steady.see(yes(), at(59));
        assert_eq!(*steady.settled(), Settled::TooEarly);
        steady.see(yes(), at(60));
        assert_eq!(holds(&steady), Some(true));
        steady.see(no(), at(70));
        steady.see(no(), at(120));
        steady.see(yes(), at(125));
        steady.see(no(), at(130));
        steady.see(no(), at(189));
        assert_eq!(holds(&steady), Some(true), "it was interrupted");
        steady.see(None, at(189));
        steady.see(None, at(200));
        steady.see(no(), at(201));
        assert_eq!(holds(&steady), Some(true), "so is what is not known");
        steady.see(no(), at(261));
        assert_eq!(holds(&steady), Some(false));
        steady.see(None, at(300));
        assert_eq!(holds(&steady), Some(false), "a restart");
        steady.see(None, at(360));
        assert_eq!(*steady.settled(), Settled::Unknown);
    }

    #[test]
    fn amounts_are_told_when_they_moved_by_a_tenth() {
        let found = |records: u64, about: &str| Finding {
            message: format!("{about} {records}"),
            about: about.to_owned(),
            amounts: [records, 0],
            ..Finding::no("Behind", "")
        };
        let mut steady = Steady::default();
        let mut message = |records, about| {
            steady.settle(found(records, about));
            match steady.settled() {
                Settled::Found(found) => found.message.clone(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(message(1000, "a"), "a 1000");
        assert_eq!(message(1100, "a"), "a 1000");
        assert_eq!(message(1101, "a"), "a 1101");
        assert_eq!(message(1101, "b"), "b 1101");
    }
}
