//! The synthetic stream: a record is a pure function of its index, so that any part can be made
//! anywhere and again.
//!
//! Handed to sources, batch by batch ([`Part::fill`]) or record by record (as an iterator).
//! Invariant: with any number of parts that divides [`KEY_CLASSES`], all records of one key come
//! from one part, in order. So a running sum per record has one right answer.

use serde::{Deserialize, Serialize};

/// Records per millisecond of event time: a million records per second.
pub const RECORDS_PER_MS: u64 = 1000;

/// Milliseconds of event time between two watermarks of a part.
pub const WATERMARK_MS: i64 = 100;

/// Keys come in this many classes, dealt to the indexes in turn. It divides every key count in use.
pub const KEY_CLASSES: u64 = 32;

const RECORDS_PER_WATERMARK: u64 = RECORDS_PER_MS * WATERMARK_MS as u64;

/// One record of the stream, 24 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Rec {
    /// The key, uniform below the number of keys.
    pub key: u64,
    /// Event time in milliseconds since the start of the stream.
    pub at: i64,
    /// The payload, 0 to 1023.
    pub value: i64,
}

/// Record `index` of the stream over `keys` keys, which must be a multiple of [`KEY_CLASSES`].
#[inline]
pub fn record(index: u64, keys: u64) -> Rec {
    let mut x = index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x ^= x >> 32;
    let row = ((u128::from(x) * u128::from(keys / KEY_CLASSES)) >> 64) as u64;
    Rec {
        key: row * KEY_CLASSES + index % KEY_CLASSES,
        at: (index / RECORDS_PER_MS) as i64,
        value: (x & 1023) as i64,
    }
}

/// One source part: every `parts`-th record of the first `records`.
#[derive(Clone, Debug)]
pub struct Part {
    next: u64,
    step: u64,
    end: u64,
    keys: u64,
}

/// What [`Part::fill`] has to say beside the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing: more records of the same 100 ms follow.
    None,
    /// No record of this part with a smaller time will come.
    Watermark(i64),
    /// The part is at its end.
    End,
}

impl Part {
    /// Part `part` of `parts` of a stream of `records` records over `keys` keys.
    pub fn new(part: usize, parts: usize, records: u64, keys: u64) -> Self {
        assert!(KEY_CLASSES.is_multiple_of(parts as u64), "parts must divide {KEY_CLASSES}");
        Self::sharing_keys(part, parts, records, keys)
    }

    /// The same for any number of parts: the records of a key may come from several, in any order.
    pub fn sharing_keys(part: usize, parts: usize, records: u64, keys: u64) -> Self {
        assert!(keys.is_multiple_of(KEY_CLASSES), "keys must be a multiple of {KEY_CLASSES}");
        Self { next: part as u64, step: parts as u64, end: records, keys }
    }

    /// Calls `each` with up to `max` records, none beyond the next watermark.
    #[inline]
    pub fn each(&mut self, max: usize, mut each: impl FnMut(Rec)) -> Mark {
        let boundary = (self.next / RECORDS_PER_WATERMARK + 1) * RECORDS_PER_WATERMARK;
        let stop = boundary.min(self.end);
        let left = stop.saturating_sub(self.next).div_ceil(self.step);
        for _ in 0..left.min(max as u64) {
            each(record(self.next, self.keys));
            self.next += self.step;
        }
        if self.next >= self.end {
            Mark::End
        } else if self.next >= boundary {
            Mark::Watermark((boundary / RECORDS_PER_MS) as i64)
        } else {
            Mark::None
        }
    }

    /// Up to `max` records, none beyond the next watermark, as an iterator that knows its length.
    #[inline]
    pub fn stretch(&mut self, max: usize) -> (impl ExactSizeIterator<Item = Rec> + use<>, Mark) {
        let boundary = (self.next / RECORDS_PER_WATERMARK + 1) * RECORDS_PER_WATERMARK;
        let stop = boundary.min(self.end);
        let left = stop.saturating_sub(self.next).div_ceil(self.step);
        let count = left.min(max as u64);
        let (first, step, keys) = (self.next, self.step, self.keys);
        self.next += count * step;
        let mark = if self.next >= self.end {
            Mark::End
        } else if self.next >= boundary {
            Mark::Watermark((boundary / RECORDS_PER_MS) as i64)
        } else {
            Mark::None
        };
        ((0..count as usize).map(move |n| record(first + n as u64 * step, keys)), mark)
    }

    /// Appends up to `max` records to the batch, none beyond the next watermark.
    #[inline]
    pub fn fill(&mut self, batch: &mut Vec<Rec>, max: usize) -> Mark {
        batch.reserve(max);
        self.each(max, |record| batch.push(record))
    }

    /// The index of the next record: what a source remembers in a snapshot.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// Goes on at a remembered index.
    pub fn seek(&mut self, position: u64) {
        self.next = position;
    }
}

impl Iterator for Part {
    type Item = Rec;

    #[inline]
    fn next(&mut self) -> Option<Rec> {
        (self.next < self.end).then(|| {
            let record = record(self.next, self.keys);
            self.next += self.step;
            record
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_whole_stream_between_them() {
        let records = 250_007;
        let mut seen: Vec<Rec> = Vec::new();
        for part in 0..2 {
            let mut part = Part::new(part, 2, records, 3200);
            let mut watermark = i64::MIN;
            loop {
                let from = seen.len();
                let mark = part.fill(&mut seen, 1024);
                assert!(seen[from..].iter().all(|r| r.at >= watermark));
                match mark {
                    Mark::None => {}
                    Mark::Watermark(at) => {
                        assert!(at > watermark && seen[from..].iter().all(|r| r.at < at));
                        watermark = at;
                    }
                    Mark::End => break,
                }
            }
        }
        seen.sort_unstable();
        let mut whole: Vec<Rec> = (0..records).map(|i| record(i, 3200)).collect();
        whole.sort_unstable();
        assert_eq!(seen, whole);
    }

    #[test]
    fn a_key_has_one_part_and_keys_are_uniform() {
        let keys = 3200;
        let mut counts = vec![0u32; keys as usize];
        for part in 0..2u64 {
            for r in Part::new(part as usize, 2, 320_000, keys) {
                assert_eq!(r.key % 2, part);
                counts[r.key as usize] += 1;
            }
        }
        assert!(counts.iter().all(|c| (40..180).contains(c)), "{:?}", counts.iter().min());
    }
}
