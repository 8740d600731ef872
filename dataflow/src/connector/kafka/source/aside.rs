//! [`Aside`]: records of partitions that are too far ahead, kept until they may go on.
//!
//! Filled and emptied by [`super::out`]. A pause makes librdkafka throw away what it has fetched
//! and wait for its next fetch, so a partition that is ahead for a moment is not paused: what comes
//! of it is kept here first, and only what has much here is paused. Invariant: of a partition that
//! is held everything is in its own queue, of any other nothing is, so that its order stays.

use std::collections::VecDeque;

use super::chunk::{CHUNK_BYTES, Chunk};
use crate::batch::BATCH_RECORDS;

/// Records of a partition that are kept before it is paused, and bytes of these: what a partition
/// may take of memory besides. Some fetches of small records, one of large ones.
const KEPT_RECORDS: usize = 8 * BATCH_RECORDS;
const KEPT_BYTES: usize = CHUNK_BYTES;

/// Records of partitions that are too far ahead. Partitions go by their places.
pub(super) struct Aside<T> {
    kept: Vec<Kept<T>>,
    /// What may go on, in the order in which it came.
    ready: VecDeque<Chunk<T>>,
}

struct Kept<T> {
    chunks: VecDeque<Chunk<T>>,
    records: usize,
    bytes: usize,
}

impl<T> Aside<T> {
    pub(super) fn new() -> Self {
        Self { kept: Vec::new(), ready: VecDeque::new() }
    }

    /// Takes a chunk apart, and keeps what is held.
    pub(super) fn put(&mut self, chunk: Chunk<T>, is_held: impl Fn(usize) -> bool) {
        for piece in chunk.apart() {
            let split = piece.runs[0].split;
            if is_held(split) { self.of(split).keep(piece) } else { self.ready.push_back(piece) }
        }
    }

    /// Lets go what is held no more, and keeps what is since.
    pub(super) fn sort(&mut self, is_held: impl Fn(usize) -> bool) {
        for piece in std::mem::take(&mut self.ready) {
            let split = piece.runs[0].split;
            if is_held(split) { self.of(split).keep(piece) } else { self.ready.push_back(piece) }
        }
        for (split, kept) in self.kept.iter_mut().enumerate() {
            if !is_held(split) {
                // Nothing of it is among the others.
                self.ready.append(&mut kept.chunks);
                (kept.records, kept.bytes) = (0, 0);
            }
        }
    }

    /// What goes on next.
    pub(super) fn next(&mut self) -> Option<Chunk<T>> {
        self.ready.pop_front()
    }

    /// Whether something may go on.
    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether nothing is kept at all.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.kept.iter().all(|kept| kept.chunks.is_empty())
    }

    /// Whether a partition has so much here that it is to be paused.
    pub(super) fn is_full(&self, split: usize) -> bool {
        let is_full = |it: &Kept<T>| it.records >= KEPT_RECORDS || it.bytes >= KEPT_BYTES;
        self.kept.get(split).is_some_and(is_full)
    }

    fn of(&mut self, split: usize) -> &mut Kept<T> {
        if self.kept.len() <= split {
            let none = || Kept { chunks: VecDeque::new(), records: 0, bytes: 0 };
            self.kept.resize_with(split + 1, none);
        }
        &mut self.kept[split]
    }
}

impl<T> Kept<T> {
    fn keep(&mut self, piece: Chunk<T>) {
        self.records += piece.records.len();
        self.bytes += piece.bytes;
        self.chunks.push_back(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::kafka::source::chunk::Then;

    /// So many records of each partition in turn, from an offset on.
    fn chunk(first: i64, splits: &[usize], each: i64) -> Chunk<(usize, i64)> {
        let mut chunk = Chunk::with_capacity(0);
        for split in splits {
            for offset in first..first + each {
                chunk.record(*split, offset, 0, (*split, offset));
                chunk.bytes += 10;
            }
            chunk.then(*split, first + each, Then::Empty);
        }
        chunk
    }

    fn all(aside: &mut Aside<(usize, i64)>) -> Vec<(usize, i64)> {
        std::iter::from_fn(|| aside.next()).flat_map(|chunk| chunk.records).collect()
    }

    #[test]
    fn what_is_held_stays_and_goes_on_in_its_order() {
        let mut aside = Aside::new();
        aside.put(chunk(0, &[0, 1], 2), |split| split == 1);
        assert_eq!(all(&mut aside), [(0, 0), (0, 1)]);
        assert!(!aside.is_empty() && !aside.is_ready());
        // Let go, but before it went on it is held again.
        aside.sort(|_| false);
        assert!(aside.is_ready());
        aside.sort(|split| split == 1);
        aside.put(chunk(2, &[1, 0], 1), |split| split == 1);
        assert_eq!(all(&mut aside), [(0, 2)]);
        aside.sort(|_| false);
        assert_eq!(all(&mut aside), [(1, 0), (1, 1), (1, 2)]);
        assert!(aside.is_empty());
    }

    #[test]
    fn a_partition_is_full_by_records_or_by_bytes_until_it_is_let_go() {
        let mut aside = Aside::new();
        aside.put(chunk(0, &[2], KEPT_RECORDS as i64 - 1), |_| true);
        assert!(!aside.is_full(2) && !aside.is_full(0) && !aside.is_full(7));
        aside.put(chunk(0, &[2], 1), |_| true);
        assert!(aside.is_full(2));
        aside.sort(|_| false);
        assert!(!aside.is_full(2));
        let mut large = chunk(0, &[0, 1], 1);
        large.bytes = 2 * KEPT_BYTES;
        aside.put(large, |split| split == 1);
        assert!(aside.is_full(1) && !aside.is_full(0));
    }
}
