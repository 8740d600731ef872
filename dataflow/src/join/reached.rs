//! [`Floors`]: how far a join had come with each range of key groups when its state was saved.
//!
//! Filled on a restore from what [`super::window`] and [`super::interval`] saved. Records leave a
//! join's state by time alone, so this is all that a snapshot says of removals: what a floor shows
//! to be over is not put back in, and a record that comes for it is late, though the task itself
//! may be behind.

use millstream_protocol::id::KeyGroup;
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::operator::Saved;
use crate::snapshot::RestoredList;
use crate::task::TaskInfo;
use crate::time::Timestamp;

/// The name of the list state.
const LIST: &str = "reached";

/// How far a join has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reached {
    /// The watermark that it is done with.
    pub(super) done: Timestamp,
    /// Within the next one: what comes before this time and key hash is done as well.
    pub(super) within: (Timestamp, u64),
}

impl Reached {
    /// Done with a watermark, and with all records before a time.
    pub(super) fn at(done: Timestamp, records_before: Timestamp) -> Self {
        Self { done, within: (records_before, 0) }
    }

    /// The later of both, each in its own right.
    fn max(self, other: Self) -> Self {
        Self { done: self.done.max(other.done), within: self.within.max(other.within) }
    }
}

/// What ranges of key groups had reached that are ahead of their task since a restore. Mostly
/// empty.
pub(super) struct Floors {
    groups: KeyGroups,
    own: KeyGroupRange,
    ranges: Vec<(KeyGroupRange, Reached)>,
}

impl Floors {
    pub(super) fn new(info: &TaskInfo) -> Self {
        Self { groups: info.key_groups, own: info.groups(), ranges: Vec::new() }
    }

    /// Whether no range is ahead of the task.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How far the key of this hash has come, on a task that has come to `now`.
    #[inline]
    pub(super) fn of(&self, hash: u64, now: Reached) -> Reached {
        if self.ranges.is_empty() {
            return now;
        }
        let group = self.groups.of_hash(hash);
        let its = self.ranges.iter().filter(|(range, _)| range.contains(group));
        its.fold(now, |now, (_, reached)| now.max(*reached))
    }

    /// Whether the key of this hash came from a task that was done with this watermark.
    pub(super) fn is_done(&self, hash: u64, watermark: Timestamp) -> bool {
        let group = self.groups.of_hash(hash);
        let mut its = self.ranges.iter().filter(|(range, _)| range.contains(group));
        its.any(|(_, reached)| reached.done >= watermark)
    }

    /// The key group of a hash.
    pub(super) fn group_of(&self, hash: u64) -> KeyGroup {
        self.groups.of_hash(hash)
    }

    /// The ranges that are ahead.
    pub(super) fn ranges(&self) -> &[(KeyGroupRange, Reached)] {
        &self.ranges
    }

    /// Forgets the ranges that the task has caught up with.
    pub(super) fn pass(&mut self, now: Reached) {
        self.ranges.retain(|(_, reached)| now.max(*reached) != now);
    }

    /// Writes down how far the task has come, and the ranges that are further.
    pub(super) fn save(&self, now: Reached) -> Result<Saved> {
        let all = std::iter::once((self.own, now)).chain(self.ranges.iter().copied());
        let items = all.map(|item| postcard::to_stdvec(&item)).collect::<Result<_, _>>()?;
        Ok(Saved { lists: vec![(LIST.to_owned(), items)], ..Saved::default() })
    }

    /// Takes back what [`Floors::save`] wrote; ignores other lists.
    pub(super) fn restore(&mut self, list: &RestoredList) -> Result<()> {
        let Some(groups) = list.groups.filter(|_| list.name == LIST) else { return Ok(()) };
        for item in &list.items {
            let (range, reached): (KeyGroupRange, Reached) = decode(item)?;
            self.ranges.extend(range.intersect(groups).map(|range| (range, reached)));
        }
        Ok(())
    }
}

/// Reads an item of a list state.
pub(super) fn decode<T: serde::de::DeserializeOwned>(item: &[u8]) -> Result<T> {
    let decoded = postcard::from_bytes(item);
    decoded.map_err(|error| Error::corrupt(format!("a join's progress does not decode: {error}")))
}
