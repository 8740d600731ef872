//! [`Marks`]: how far sources have come in event time, as far as others wait for them. Pure.
//!
//! Received from: the source tasks of a worker, and the coordinator, which adds up those of
//! several. Handed to: the tasks, which read no split that is too far ahead. Invariant: adding up
//! more never lets anybody go further.

use serde::{Deserialize, Serialize};

/// How far some sources have come, in milliseconds of event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marks {
    /// The smallest watermark of those that are neither idle nor at their end; none where none has
    /// one.
    pub lowest: Option<i64>,
    /// The smallest watermark that any began with in this run.
    pub first: Option<i64>,
    /// One of them has no watermark yet, and is not known to be idle.
    pub unknown: bool,
}

impl Marks {
    /// Those of sources of which nothing was heard yet.
    pub const UNHEARD: Self = Self { lowest: None, first: None, unknown: true };

    /// Those of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            lowest: smaller(self.lowest, other.lowest),
            first: smaller(self.first, other.first),
            unknown: self.unknown || other.unknown,
        }
    }

    /// The watermark that the others wait for; none where there is nothing to wait for. Who has
    /// none yet is taken to stand where the first one began: earlier is not known to be needed, and
    /// later might be too late.
    pub fn minimum(self) -> Option<i64> {
        if self.unknown { smaller(self.lowest, self.first) } else { self.lowest }
    }
}

fn smaller(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(lowest: i64, first: i64) -> Marks {
        Marks { lowest: Some(lowest), first: Some(first), unknown: false }
    }

    #[test]
    fn the_slowest_counts_and_who_has_begun_no_more() {
        let both = known(50, 10).and(known(70, 5));
        assert_eq!(both, known(50, 5));
        assert_eq!(both.minimum(), Some(50));
        let idle = Marks { lowest: None, ..known(0, 3) };
        assert_eq!(both.and(idle).minimum(), Some(50));
        assert_eq!(idle.minimum(), None);
    }

    #[test]
    fn who_has_no_watermark_yet_stands_where_the_first_one_began() {
        assert_eq!(known(50, 10).and(Marks::UNHEARD).minimum(), Some(10));
        assert_eq!(Marks::UNHEARD.minimum(), None, "nobody knows anything: somebody must begin");
    }

    #[test]
    fn adding_up_more_lets_nobody_go_further() {
        let some = [None, Some(1), Some(2), Some(3)];
        let all = some.iter().flat_map(|lowest| some.iter().map(move |first| (*lowest, *first)));
        let all = all.flat_map(|(lowest, first)| {
            [false, true].map(|unknown| Marks { lowest, first, unknown })
        });
        let all: Vec<Marks> = all.collect();
        let limit = |marks: Marks| marks.minimum().unwrap_or(i64::MAX);
        for (one, other) in all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other))) {
            assert!(limit(one.and(other)) <= limit(one), "{one:?} and {other:?}");
            assert_eq!(one.and(other), other.and(one));
        }
    }
}
