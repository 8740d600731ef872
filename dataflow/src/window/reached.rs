//! [`Reached`]: how far windows have fired, key group by key group.
//!
//! In a run there is one watermark per task. A restore may bring together key groups from tasks
//! that had come differently far: what fired there must not fire here again, and what was late
//! there is late here. Saved with each snapshot, so that this holds over any number of restores.

use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};
use millstream_protocol::key_hash::key_hash;
use serde::{Deserialize, Serialize};

use crate::data::Key;
use crate::error::{Error, Result};
use crate::snapshot::RestoredList;
use crate::task::TaskInfo;
use crate::time::Timestamp;

const LIST: &str = "reached";

/// How far windows have fired.
pub(super) struct Reached {
    groups: KeyGroups,
    own: KeyGroupRange,
    /// The watermark that all key groups have reached at least.
    watermark: Timestamp,
    /// Those that have reached a later one.
    ahead: Vec<(KeyGroupRange, Timestamp)>,
    /// How long windows are kept after they have fired, in milliseconds.
    lateness_ms: i64,
}

/// What is saved for a range of key groups.
#[derive(Serialize, Deserialize)]
struct Saved {
    range: KeyGroupRange,
    watermark: Timestamp,
    /// Windows that end here or before were given up.
    closed: Timestamp,
}

impl Reached {
    pub(super) fn new(info: &TaskInfo, lateness_ms: i64) -> Self {
        Self {
            groups: info.key_groups,
            own: info.groups(),
            watermark: Timestamp::MIN,
            ahead: Vec::new(),
            lateness_ms,
        }
    }

    /// The watermark that all key groups have reached at least.
    #[inline]
    pub(super) fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Whether some key groups are ahead of the rest.
    #[inline]
    pub(super) fn is_uneven(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// The watermark that the key group of a hash has reached.
    #[inline]
    pub(super) fn of(&self, hash: u64) -> Timestamp {
        if self.ahead.is_empty() { self.watermark } else { self.of_group(hash) }
    }

    #[cold]
    fn of_group(&self, hash: u64) -> Timestamp {
        let group = self.groups.of_hash(hash);
        let ahead = self.ahead.iter().find(|(range, _)| range.contains(group));
        ahead.map_or(self.watermark, |(_, time)| self.watermark.max(*time))
    }

    /// The same, of a key; hashes it only where that matters.
    pub(super) fn of_key<K: Key>(&self, key: &K) -> Result<Timestamp> {
        Ok(if self.ahead.is_empty() { self.watermark } else { self.of_group(key_hash(key)?) })
    }

    /// All windows up to this watermark have fired.
    pub(super) fn advance(&mut self, watermark: Timestamp) {
        self.watermark = self.watermark.max(watermark);
        if !self.ahead.is_empty() {
            self.ahead.retain(|(_, time)| *time > watermark);
        }
    }

    /// Whether a window with this end is given up at a watermark.
    #[inline]
    pub(super) fn is_closed(&self, end: i64, watermark: Timestamp) -> bool {
        watermark.0 >= end.saturating_add(self.lateness_ms)
    }

    /// As list state.
    pub(super) fn save(&self) -> Result<(String, Vec<Vec<u8>>)> {
        let mut items = Vec::new();
        let mut rest = vec![self.own];
        for (range, watermark) in &self.ahead {
            items.push(self.item(*range, *watermark)?);
            rest = rest.into_iter().flat_map(|part| part.subtract(*range)).collect();
        }
        for range in rest {
            items.push(self.item(range, self.watermark)?);
        }
        Ok((LIST.to_owned(), items))
    }

    fn item(&self, range: KeyGroupRange, watermark: Timestamp) -> Result<Vec<u8>> {
        let closed = match watermark {
            Timestamp::MIN | Timestamp::MAX => watermark,
            _ => watermark.saturating_add(-self.lateness_ms),
        };
        Ok(postcard::to_stdvec(&Saved { range, watermark, closed })?)
    }

    /// Takes back what the tasks of an earlier run saved; returns what they had given up.
    pub(super) fn restore(&mut self, lists: &[RestoredList]) -> Result<GivenUp> {
        let mut given_up = GivenUp { groups: Some(self.groups), ranges: Vec::new() };
        let mut missing = vec![self.own];
        for list in lists.iter().filter(|list| list.name == LIST) {
            for item in &list.items {
                let saved: Saved = postcard::from_bytes(item)
                    .map_err(|error| Error::corrupt(format!("a window's watermark: {error}")))?;
                let Some(range) = saved.range.intersect(self.own) else { continue };
                missing = missing.into_iter().flat_map(|part| part.subtract(range)).collect();
                self.ahead.push((range, saved.watermark));
                given_up.ranges.push((range, saved.closed));
            }
        }
        if missing.is_empty() {
            let least = self.ahead.iter().map(|(_, watermark)| *watermark).min();
            self.watermark = least.unwrap_or(Timestamp::MIN);
        }
        let watermark = self.watermark;
        self.ahead.retain(|(_, time)| *time > watermark);
        Ok(given_up)
    }
}

/// Up to where the windows of each restored range had been given up before the snapshot: an older
/// part of the snapshot may still hold entries of them.
#[derive(Default)]
pub(super) struct GivenUp {
    groups: Option<KeyGroups>,
    ranges: Vec<(KeyGroupRange, Timestamp)>,
}

impl GivenUp {
    /// Whether a window with this end, of a key with this hash, had been given up.
    pub(super) fn holds(&self, end: i64, hash: u64) -> bool {
        let Some(group) = self.groups.map(|groups| groups.of_hash(hash)) else { return false };
        let range = self.ranges.iter().find(|(range, _)| range.contains(group));
        range.is_some_and(|(_, closed)| end <= closed.0)
    }
}
