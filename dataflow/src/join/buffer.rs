//! [`Buffer`]: the records of one side of a join, by slices of time, as a [`State`].
//!
//! Filled by [`super::window`] and [`super::interval`], captured into [`crate::snapshot`]. Records
//! are added and never changed, and leave by whole slices when time has passed them. So a capture
//! is, for each slice, the stretch of its log between the base and the cut: nothing is saved before
//! a write, nothing is stamped. And there are no removals to record: the joins save how far time
//! had come, and a restore leaves out what was over by then.
//!
//! A record can be *settled*, once (it has found its partner), which is logged by slice too; in a
//! snapshot it stands for all records of its key and time: by the joins' rules they settle alike.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use millstream_protocol::id::Epoch;
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};
use millstream_protocol::key_hash::key_hash;
use millstream_protocol::plan::StateSchema;

use super::chunk::LogChunk;
use super::log::Log;
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::{Error, Result};
use crate::state::{Chunk, Entry, State, schema_of};
use crate::stream::SelectKeys;
use crate::task::TaskInfo;
use crate::time::Timestamp;

/// Blocks of records freed per call: freeing a slice of millions of strings at once would stall the
/// task.
const FREE_BLOCKS: usize = 4;
/// Cleared indexes kept for the next slices.
const SPARE_INDEXES: usize = 4;

/// What a join keeps per slice to find records by. Rebuilt on a restore, never captured.
pub(super) trait Index<K, T>: Default + Send {
    /// The newest record of the log was put back in.
    fn restored(&mut self, log: &Log<T>, hash: u64, key: K);

    /// Settles the records of a key and time; returns those that were not. `None`: there is no such
    /// record.
    fn settle(&mut self, log: &Log<T>, hash: u64, key: &K, time: Timestamp) -> Option<Vec<u32>>;

    /// Forgets some of the records and keeps the memory; whether all are forgotten.
    fn clear_some(&mut self) -> bool;
}

/// Lengths of a slice's two logs.
#[derive(Clone, Copy, Default)]
struct Extent {
    records: u32,
    settled: u32,
}

/// The records of one stretch of time.
pub(super) struct Slice<T, X> {
    pub(super) log: Log<T>,
    pub(super) index: X,
    /// The settled records, in the order in which they were.
    pub(super) settled: Vec<u32>,
    /// What published captures hold.
    base: Extent,
    /// What the newest capture is to hold, and how far its scan has come.
    cut: Extent,
    scanned: Extent,
}

impl<T, X> Slice<T, X> {
    fn new(index: X) -> Self {
        let none = Extent::default();
        let (log, settled) = (Log::default(), Vec::new());
        Self { log, index, settled, base: none, cut: none, scanned: none }
    }

    fn extent(&self) -> Extent {
        Extent { records: self.log.len(), settled: self.settled.len() as u32 }
    }

    fn is_scanned(&self) -> bool {
        self.scanned.records >= self.cut.records && self.scanned.settled >= self.cut.settled
    }
}

impl<T: Data, X> Slice<T, X> {
    /// Takes at most `budget` more of what the capture wants.
    fn scan<K: Key>(
        &mut self,
        keys: &dyn SelectKeys<K, T>,
        budget: &mut usize,
        into: &mut LogChunk<K, T>,
    ) {
        while *budget > 0 && self.scanned.records < self.cut.records {
            let from = self.scanned.records;
            let to = self.cut.records.min(from.saturating_add(*budget as u32));
            let piece = self.log.piece(from, to);
            keys.keys(piece.records, &mut into.keys);
            into.times.extend_from_slice(piece.times);
            into.records.extend_from_slice(piece.records);
            self.scanned.records += piece.records.len() as u32;
            *budget -= piece.records.len();
        }
        while *budget > 0 && self.scanned.settled < self.cut.settled {
            let (record, time) = self.log.get(self.settled[self.scanned.settled as usize]);
            keys.keys(std::slice::from_ref(record), &mut into.settled);
            into.settled_times.push(time);
            self.scanned.settled += 1;
            *budget -= 1;
        }
    }
}

/// The records of one side of a join.
pub(super) struct Buffer<K: Key, T: Data, X> {
    pub(super) keys: Box<dyn SelectKeys<K, T>>,
    pub(super) slices: BTreeMap<i64, Slice<T, X>>,
    /// Slices begin at the offset and every so many milliseconds before and after it.
    width: i64,
    offset: i64,
    len: usize,
    groups: KeyGroups,
    /// Where a scan goes on, if one is under way.
    scanning: Option<i64>,
    in_flight: Option<Epoch>,
    can_delta: bool,
    /// Slices that are over, and that a scan still wants.
    leaving: VecDeque<Slice<T, X>>,
    free: Vec<Batch<T>>,
    spare: Vec<X>,
    /// Indexes of slices that are over.
    clearing: Vec<X>,
    /// While restoring: the time and key hash before which the records of a range are over.
    over: Vec<(KeyGroupRange, (Timestamp, u64))>,
}

impl<K: Key, T: Data, X: Index<K, T>> Buffer<K, T, X> {
    pub(super) fn new(
        keys: Box<dyn SelectKeys<K, T>>,
        info: &TaskInfo,
        width: i64,
        offset: i64,
    ) -> Self {
        Self {
            keys,
            slices: BTreeMap::new(),
            width,
            offset,
            len: 0,
            groups: info.key_groups,
            scanning: None,
            in_flight: None,
            can_delta: false,
            leaving: VecDeque::new(),
            free: Vec::new(),
            spare: Vec::new(),
            clearing: Vec::new(),
            over: Vec::new(),
        }
    }

    /// What the plan says of it.
    pub(super) fn schema(name: &str) -> StateSchema {
        let schema = schema_of::<(K, Timestamp, Option<T>)>();
        StateSchema { name: name.to_owned(), kind: "list".to_owned(), schema }
    }

    /// The start of the slice in which a time lies.
    #[inline]
    pub(super) fn start_of(&self, time: Timestamp) -> i64 {
        let within = time.0.saturating_sub(self.offset).rem_euclid(self.width);
        time.0.saturating_sub(within)
    }

    /// The slice with this start, to add to; see [`Buffer::push`] and [`Buffer::take_in`].
    fn slice_at(&mut self, start: i64) -> &mut Slice<T, X> {
        let spare = &mut self.spare;
        let new = || Slice::new(spare.pop().unwrap_or_default());
        self.slices.entry(start).or_insert_with(new)
    }

    /// Adds a record; returns its slice and its number there, for the index.
    #[inline]
    pub(super) fn push(
        &mut self,
        record: T,
        time: Timestamp,
        hash: u64,
    ) -> (&mut Slice<T, X>, u32) {
        self.len += 1;
        let slice = self.slice_at(self.start_of(time));
        let id = slice.log.push(record, time, hash);
        (slice, id)
    }

    /// Adds the records of a batch that are not late, without indexing them; returns how many were
    /// late.
    pub(super) fn take_in(
        &mut self,
        batch: Batch<T>,
        is_late: impl Fn(Timestamp, u64) -> bool,
    ) -> u64 {
        self.sweep();
        let (count, width) = (batch.len(), self.width);
        let mut late = 0;
        let stamps = batch.times.into_iter().zip(batch.hashes);
        // Neighbours mostly lie in one slice, which is looked up once for all of them.
        let mut current: Option<(i64, &mut Slice<T, X>)> = None;
        let (mut added, slices) = (0, self);
        for (record, (time, hash)) in batch.records.into_iter().zip(stamps) {
            if is_late(time, hash) {
                late += 1;
                continue;
            }
            let here = current.as_ref().is_some_and(|(start, _)| {
                time.0.checked_sub(*start).is_some_and(|into| (0..width).contains(&into))
            });
            if !here {
                let start = slices.start_of(time);
                current = Some((start, slices.slice_at(start)));
            }
            if let Some((_, slice)) = &mut current {
                slice.log.push(record, time, hash);
                added += 1;
            }
        }
        slices.len += added;
        debug_assert!(count == added + late);
        late as u64
    }

    /// Lets go of the slices all of whose times are smaller.
    pub(super) fn drop_before(&mut self, time: Timestamp) {
        while let Some(slice) = self.slices.first_entry()
            && slice.key().saturating_add(self.width) <= time.0
        {
            let mut slice = slice.remove();
            self.len -= slice.log.len() as usize;
            self.clearing.push(mem::take(&mut slice.index));
            if self.scanning.is_some() && !slice.is_scanned() {
                self.leaving.push_back(slice);
            } else {
                self.free.extend(slice.log.into_blocks());
            }
        }
    }

    /// Frees some of the memory of slices that are over. Call it often.
    pub(super) fn sweep(&mut self) {
        self.free.truncate(self.free.len().saturating_sub(FREE_BLOCKS));
        if let Some(mut index) = self.clearing.pop() {
            if !index.clear_some() {
                self.clearing.push(index);
            } else if self.spare.len() < SPARE_INDEXES {
                self.spare.push(index);
            }
        }
    }

    /// While restoring: records of this range before this time and key hash are over.
    pub(super) fn is_over(&mut self, range: KeyGroupRange, before: (Timestamp, u64)) {
        self.over.push((range, before));
    }

    fn put_back(&mut self, key: K, time: Timestamp, record: Option<T>) -> Result<()> {
        let hash = key_hash(&key)?;
        let group = self.groups.of_hash(hash);
        let mut over = self.over.iter().filter(|(range, _)| range.contains(group));
        if over.any(|(_, before)| (time, hash) < *before) {
            return Ok(());
        }
        let slice = self.slice_at(self.start_of(time));
        if let Some(record) = record {
            slice.log.push(record, time, hash);
            slice.index.restored(&slice.log, hash, key);
            self.len += 1;
            return Ok(());
        }
        let settled = slice.index.settle(&slice.log, hash, &key, time);
        let missing = || Error::corrupt("a snapshot settles a record that it does not hold");
        slice.settled.extend(settled.ok_or_else(missing)?);
        Ok(())
    }
}

impl<K: Key, T: Data, X: Index<K, T>> State for Buffer<K, T, X> {
    fn can_delta(&self) -> bool {
        self.can_delta
    }

    fn len(&self) -> usize {
        self.len
    }

    fn begin(&mut self, epoch: Epoch, full: bool) {
        self.can_delta &= !full;
        for slice in self.slices.values_mut() {
            if full {
                slice.base = Extent::default();
            }
            slice.cut = slice.extent();
            slice.scanned = slice.base;
        }
        self.scanning = Some(i64::MIN);
        self.in_flight = Some(epoch);
    }

    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>> {
        let mut next = self.scanning?;
        let mut chunk = LogChunk::default();
        let mut complete = false;
        while *budget > 0 && !complete {
            if let Some(slice) = self.leaving.front_mut() {
                slice.scan(&*self.keys, budget, &mut chunk);
                if slice.is_scanned() {
                    let slice = self.leaving.pop_front().expect("it is at the front");
                    self.free.extend(slice.log.into_blocks());
                }
                continue;
            }
            let Some((&start, slice)) = self.slices.range_mut(next..).next() else {
                complete = true;
                break;
            };
            slice.scan(&*self.keys, budget, &mut chunk);
            if slice.is_scanned() {
                *budget = budget.saturating_sub(1);
                complete = start == i64::MAX;
                next = start.saturating_add(1);
            }
        }
        self.scanning = (!complete || !chunk.is_empty()).then_some(next);
        self.scanning.map(|_| Box::new(chunk) as _)
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        if self.in_flight != Some(epoch) {
            return;
        }
        self.in_flight = None;
        if published {
            self.can_delta = true;
            self.slices.values_mut().for_each(|slice| slice.base = slice.cut);
        }
        self.scanning = None;
        for slice in mem::take(&mut self.leaving) {
            self.free.extend(slice.log.into_blocks());
        }
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<()> {
        let (key, time, record): (K, Timestamp, Option<T>) = postcard::from_bytes(entry.body)?;
        self.put_back(key, time, record)
    }

    fn restored(&mut self) {
        self.can_delta = true;
        self.slices.values_mut().for_each(|slice| slice.base = slice.extent());
        self.over = Vec::new();
    }
}

#[cfg(test)]
#[path = "buffer_tests.rs"]
mod tests;
