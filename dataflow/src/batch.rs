//! [`Batch`]: what edges carry.

use crate::time::Timestamp;

/// How many records a full batch holds. 256 cost a quarter of the rate, 4096 cost chains 16 %
/// (measured).
pub const BATCH_RECORDS: usize = 1024;

/// A batch of large records holds fewer, so that they stay in a cache from operator to operator.
const BATCH_BYTES: usize = 64 << 10;
/// Fewer records than this per batch cost more in handling than they save.
const BATCH_RECORDS_MIN: usize = 64;

/// How many records of a type a batch holds when a source fills it.
pub(crate) const fn batch_records<T>() -> usize {
    let bytes = if size_of::<T>() == 0 { 1 } else { size_of::<T>() };
    match BATCH_BYTES / bytes {
        few if few < BATCH_RECORDS_MIN => BATCH_RECORDS_MIN,
        many if many > BATCH_RECORDS => BATCH_RECORDS,
        some => some,
    }
}

/// Records with their event times and, behind `key_by`, their key hashes.
///
/// `times` is empty where the stream has no event time, `hashes` where it is not keyed; else each
/// has one entry per record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch<T> {
    /// The records, in order.
    pub records: Vec<T>,
    /// Their event times, or nothing.
    pub times: Vec<Timestamp>,
    /// The hashes of their keys, or nothing.
    pub hashes: Vec<u64>,
}

impl<T> Batch<T> {
    /// A batch of records without times.
    pub fn untimed(records: Vec<T>) -> Self {
        Self { records, times: Vec::new(), hashes: Vec::new() }
    }

    /// A batch of records with their times.
    pub fn timed(records: Vec<T>, times: Vec<Timestamp>) -> Self {
        Self { records, times, hashes: Vec::new() }
    }

    /// An empty batch that holds `capacity` records without growing.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            records: Vec::with_capacity(capacity),
            times: Vec::with_capacity(capacity),
            hashes: Vec::new(),
        }
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The event time of a record; [`Timestamp::MIN`] where the stream has none.
    #[inline]
    pub fn time(&self, index: usize) -> Timestamp {
        self.times.get(index).copied().unwrap_or(Timestamp::MIN)
    }

    /// The same times and no hashes around other records, one for each.
    pub fn with_records<U>(self, records: impl FnOnce(Vec<T>) -> Vec<U>) -> Batch<U> {
        let records = records(self.records);
        debug_assert!(self.times.is_empty() || self.times.len() == records.len());
        Batch { records, times: self.times, hashes: Vec::new() }
    }

    /// Records with their times.
    pub fn into_timed(self) -> impl Iterator<Item = (T, Timestamp)> {
        let times = self.times.into_iter().chain(std::iter::repeat(Timestamp::MIN));
        self.records.into_iter().zip(times)
    }
}
