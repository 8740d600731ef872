//! [`ByKeyGroup`]: sends each record to the task that owns its key group.
//!
//! Used by a [`super::Router`]. A batch is sorted by receiver with a counting sort over 16-bit
//! places, and the records then move receiver by receiver: no branch depends on where a record
//! goes.

use std::ptr;

use millstream_protocol::id::KeyGroup;
use millstream_protocol::key_group::KeyGroups;

use super::router::{Outlets, Partition};
use crate::batch::{BATCH_RECORDS, Batch};
use crate::error::Result;
use crate::time::Timestamp;

/// Places within a batch are 16 bits wide: a larger batch is cut.
const PLACES_MAX: usize = 1 << 16;

/// Sends each key group to the task that owns it.
pub(crate) struct ByKeyGroup<H> {
    groups: KeyGroups,
    /// Group to receiver, so that routing costs a multiplication and a look-up.
    receivers: Vec<u16>,
    /// Computes the key hashes of a batch: one virtual call for all its records.
    hash: H,
    hashes: Vec<u64>,
    /// The receiver of each record; of two, the places of those of the second.
    chosen: Vec<u16>,
    /// Where the records of each receiver start among `order`, and after the sort, where they end.
    ends: Vec<usize>,
    order: Vec<u16>,
}

impl<H> ByKeyGroup<H> {
    pub(crate) fn new(groups: KeyGroups, parallelism: u32, hash: H) -> Self {
        let owner = |group| groups.task_of(KeyGroup(group), parallelism);
        Self {
            groups,
            receivers: (0..groups.0.get()).map(|group| owner(group).0 as u16).collect(),
            hash,
            hashes: Vec::with_capacity(BATCH_RECORDS),
            chosen: Vec::with_capacity(BATCH_RECORDS),
            ends: vec![0; parallelism as usize],
            order: Vec::with_capacity(BATCH_RECORDS),
        }
    }

    /// Sorts the places of the records by receiver.
    fn sort(&mut self) {
        if self.ends.len() == 2 {
            return self.sort_in_two();
        }
        self.ends.fill(0);
        self.chosen.clear();
        let (groups, receivers, ends) = (self.groups, &self.receivers, &mut self.ends);
        self.chosen.extend(self.hashes.iter().map(|&hash| {
            let receiver = receivers[usize::from(groups.of_hash(hash).0)];
            ends[usize::from(receiver)] += 1;
            receiver
        }));
        let mut start = 0;
        for end in &mut self.ends {
            start += std::mem::replace(end, start);
        }
        self.order.clear();
        self.order.resize(self.chosen.len(), 0);
        for (place, &receiver) in self.chosen.iter().enumerate() {
            let end = &mut self.ends[usize::from(receiver)];
            self.order[*end] = place as u16;
            *end += 1;
        }
    }

    /// The same for two receivers. Counts in memory, each of which waits for the one before where
    /// both are of one receiver, would cost twice as much as counts in registers.
    fn sort_in_two(&mut self) {
        let (groups, receivers) = (self.groups, &self.receivers[..]);
        let records = self.hashes.len();
        self.order.resize(records, 0);
        self.chosen.resize(records, 0);
        let (order, chosen) = (&mut self.order[..records], &mut self.chosen[..records]);
        let mut second = 0;
        for (place, &hash) in self.hashes.iter().enumerate() {
            // Written to both, kept in one: there is no branch that could be guessed wrong.
            let goes = usize::from(receivers[usize::from(groups.of_hash(hash).0)]);
            order[place - second] = place as u16;
            chosen[second] = place as u16;
            second += goes;
        }
        order[records - second..].copy_from_slice(&chosen[..second]);
        (self.ends[0], self.ends[1]) = (records - second, records);
    }

    /// Moves the records to the batches of their receivers.
    fn scatter<T: Send + 'static>(
        &self,
        mut records: Vec<T>,
        times: &[Timestamp],
        outlets: &mut Outlets<T>,
    ) {
        debug_assert_eq!(records.len(), self.order.len());
        // SAFETY: the length is set to 0 first, so no record is dropped here; `order` holds each
        // place below the former length exactly once (it is a permutation made by `sort`), so each
        // record is read once. Reading cannot panic; were an allocation to fail, records not yet
        // read would leak, nothing worse.
        unsafe { records.set_len(0) };
        let (source, hashes) = (records.as_ptr(), &self.hashes[..]);
        let mut start = 0;
        for (receiver, &end) in self.ends.iter().enumerate() {
            let places = &self.order[start..end];
            start = end;
            if places.is_empty() {
                continue;
            }
            let into = outlets.room_for(receiver, places.len());
            let read = |&place: &u16| unsafe { ptr::read(source.add(usize::from(place))) };
            into.records.extend(places.iter().map(read));
            into.hashes.extend(places.iter().map(|&place| hashes[usize::from(place)]));
            if !times.is_empty() {
                into.times.extend(places.iter().map(|&place| times[usize::from(place)]));
            }
            outlets.send_if_full(receiver);
        }
    }
}

impl<T, H> Partition<T> for ByKeyGroup<H>
where
    T: Send + 'static,
    H: FnMut(&[T], &mut Vec<u64>) -> Result<()> + Send,
{
    fn partition(&mut self, mut batch: Batch<T>, outlets: &mut Outlets<T>) -> Result<()> {
        while batch.len() > PLACES_MAX {
            let at = batch.len() - PLACES_MAX;
            let records = batch.records.split_off(at);
            let times = if batch.times.is_empty() { Vec::new() } else { batch.times.split_off(at) };
            // The front goes first, to keep the order.
            let rest = Batch::timed(records, times);
            self.partition(std::mem::replace(&mut batch, rest), outlets)?;
        }
        self.hashes.clear();
        (self.hash)(&batch.records, &mut self.hashes)?;
        if outlets.len() == 1 {
            let hashes = std::mem::replace(&mut self.hashes, Vec::with_capacity(BATCH_RECORDS));
            outlets.pass(0, Batch { hashes, ..batch });
            return Ok(());
        }
        self.sort();
        self.scatter(batch.records, &batch.times, outlets);
        Ok(())
    }
}
