//! [`Start`] and [`End`]: where a source begins and ends, as a program says it.
//!
//! Made into offsets by [`super::resolve`] when a split is assigned.

use std::collections::BTreeMap;

use crate::time::Timestamp;

/// Offsets by topic and partition.
pub(super) type Offsets = BTreeMap<(String, i32), i64>;

/// Where a source begins that goes on from no snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Start {
    /// With the oldest record.
    #[default]
    Earliest,
    /// Behind the newest record.
    Latest,
    /// With the first record of this time or later; behind the newest where there is none.
    At(Timestamp),
    /// With these offsets; partitions that are not named, with their oldest record.
    Offsets(Offsets),
}

/// Where a source ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// Nowhere.
    #[default]
    Never,
    /// Behind what was the newest record when it started.
    Latest,
    /// Before the first record of this time or later; behind the newest where there is none.
    At(Timestamp),
    /// Before these offsets; every partition is named.
    Offsets(Offsets),
}

pub(super) fn offsets<T: Into<String>>(given: impl IntoIterator<Item = (T, i32, i64)>) -> Offsets {
    given.into_iter().map(|(topic, number, offset)| ((topic.into(), number), offset)).collect()
}
