//! [`Codec`]: what the records of an edge are written and read with.
//!
//! Made by the edge, which knows the type; used by [`super::sender`] and [`super::receiver`]. A
//! payload is a byte of flags, the records as postcard, then the columns of times and of key
//! hashes: a virtual call per frame, none per record.

use std::vec;

use postcard::ser_flavors::Flavor;

use crate::batch::Batch;
use crate::data::Data;
use crate::error::{Context as _, Error, Kind, Result};
use crate::exchange::AnyBatch;
use crate::time::Timestamp;

/// A frame is full when its payload has so many bytes: 16 to 128 KiB are worth the same.
const FULL: usize = 48 << 10;
/// Bytes of a time or a hash.
const COLUMN: usize = 8;

const TIMES: u8 = 1;
const HASHES: u8 = 2;

/// Both ways.
pub(crate) struct Codec {
    pub(super) encode: Box<dyn Encode>,
    pub(super) decode: Box<dyn Decode>,
}

/// The codec of one type of records.
pub(crate) fn codec<T: Data>() -> Codec {
    Codec { encode: Box::new(Encoder::<T>::default()), decode: Box::new(Decoder::<T>::default()) }
}

/// Writes the payloads of batches, a frame at a time.
pub(super) trait Encode: Send {
    /// Takes the next batch; the one before is all written.
    fn load(&mut self, batch: AnyBatch) -> Result<()>;

    /// Whether the batch is all written.
    fn is_empty(&self) -> bool;

    /// Writes as much of the batch as fills a frame; returns how many records that is. A record is
    /// written whole, however large.
    fn fill(&mut self, payload: &mut Vec<u8>) -> Result<u32>;
}

/// Reads payloads.
pub(super) trait Decode: Send {
    /// The batch of so many records that a payload holds.
    fn decode(&mut self, records: u32, payload: &[u8]) -> Result<AnyBatch>;
}

struct Encoder<T> {
    records: vec::IntoIter<T>,
    times: Vec<Timestamp>,
    hashes: Vec<u64>,
    /// How many records of the batch are written.
    at: usize,
}

impl<T> Default for Encoder<T> {
    fn default() -> Self {
        let (times, hashes) = (Vec::new(), Vec::new());
        Self { records: Vec::new().into_iter(), times, hashes, at: 0 }
    }
}

impl<T: Data> Encode for Encoder<T> {
    fn load(&mut self, batch: AnyBatch) -> Result<()> {
        let batch = batch.downcast::<Batch<T>>();
        let batch = batch.map_err(|_| Error::bug("an edge carries records of another type"))?;
        let Batch { records, times, hashes } = *batch;
        *self = Self { records: records.into_iter(), times, hashes, at: 0 };
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.records.len() == 0
    }

    fn fill(&mut self, payload: &mut Vec<u8>) -> Result<u32> {
        let flag = |present: bool, flag: u8| if present { flag } else { 0 };
        let flags = flag(!self.times.is_empty(), TIMES) | flag(!self.hashes.is_empty(), HASHES);
        let columns = flags.count_ones() as usize * COLUMN;
        let begin = payload.len();
        payload.push(flags);
        let mut count = 0;
        for record in self.records.by_ref() {
            let written = postcard::serialize_with_flavor(&record, Appending(payload));
            written.or_kind(Kind::User, || "cannot send a record to another worker".to_owned())?;
            count += 1;
            if payload.len() - begin + count * columns >= FULL {
                break;
            }
        }
        let range = self.at..self.at + count;
        self.at += count;
        if flags & TIMES != 0 {
            payload.extend(self.times[range.clone()].iter().flat_map(|time| time.0.to_le_bytes()));
        }
        if flags & HASHES != 0 {
            payload.extend(self.hashes[range].iter().flat_map(|hash| hash.to_le_bytes()));
        }
        Ok(count as u32)
    }
}

/// Writes at the end of a vector.
struct Appending<'a>(&'a mut Vec<u8>);

impl Flavor for Appending<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

struct Decoder<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Default for Decoder<T> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: Data> Decode for Decoder<T> {
    fn decode(&mut self, records: u32, payload: &[u8]) -> Result<AnyBatch> {
        let wrong = || Error::corrupt("a batch of another worker does not have the edge's form");
        let (&flags, body) = payload.split_first().ok_or_else(wrong)?;
        let count = records as usize;
        let column = |flag: u8| if flags & flag == 0 { 0 } else { count * COLUMN };
        let columns = column(TIMES) + column(HASHES);
        let encoded = body.len().checked_sub(columns).ok_or_else(wrong)?;
        let (mut rest, columns) = body.split_at(encoded);
        let (times, hashes) = columns.split_at(column(TIMES));
        // Records may be of no size: then their number says nothing about memory.
        let mut decoded = Vec::with_capacity(count.min(rest.len()));
        for _ in 0..count {
            let (record, behind) = postcard::take_from_bytes(rest)
                .or_kind(Kind::Corrupt, || {
                    "a record of another worker cannot be read".to_owned()
                })?;
            decoded.push(record);
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(wrong());
        }
        Ok(Box::new(Batch::<T> {
            records: decoded,
            times: numbers(times).map(|time| Timestamp(time as i64)).collect(),
            hashes: numbers(hashes).collect(),
        }))
    }
}

fn numbers(column: &[u8]) -> impl Iterator<Item = u64> {
    let (numbers, _) = column.as_chunks::<COLUMN>();
    numbers.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: Vec<String>, timed: bool, keyed: bool) -> Batch<String> {
        let numbers = 0..records.len() as i64;
        Batch {
            times: numbers.clone().filter(|_| timed).map(|n| Timestamp(-n)).collect(),
            hashes: numbers.filter(|_| keyed).map(|n| n as u64 + (1 << 60)).collect(),
            records,
        }
    }

    fn through(batch: Batch<String>) -> (Batch<String>, usize) {
        let Codec { mut encode, mut decode } = codec::<String>();
        encode.load(Box::new(batch)).unwrap();
        let (mut back, mut frames) = (Batch::default(), 0);
        while !encode.is_empty() {
            let mut payload = Vec::new();
            let records = encode.fill(&mut payload).unwrap();
            let part = decode.decode(records, &payload).unwrap().downcast::<Batch<String>>();
            let part = part.unwrap();
            back.records.extend(part.records);
            back.times.extend(part.times);
            back.hashes.extend(part.hashes);
            frames += 1;
        }
        (back, frames)
    }

    #[test]
    fn batches_come_back_as_they_were_in_as_many_frames_as_it_takes() {
        for (timed, keyed) in [(false, false), (true, false), (false, true), (true, true)] {
            let small = batch(vec!["a".into(), String::new(), "ccc".into()], timed, keyed);
            assert_eq!(through(small.clone()), (small, 1));
            let large = batch(vec!["x".repeat(FULL / 3); 8], timed, keyed);
            let (back, frames) = through(large.clone());
            assert_eq!(back, large);
            assert!((2..=4).contains(&frames), "{frames} frames");
        }
    }

    #[test]
    fn a_payload_of_another_form_is_refused() {
        let Codec { mut encode, mut decode } = codec::<String>();
        encode.load(Box::new(batch(vec!["one".into(), "two".into()], true, true))).unwrap();
        let mut payload = Vec::new();
        let records = encode.fill(&mut payload).unwrap();
        for cut in 0..payload.len() {
            assert!(decode.decode(records, &payload[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode.decode(records + 1, &payload).is_err());
        assert!(decode.decode(1, &payload).is_err());
        assert!(encode.load(Box::new(Batch::<u8>::default())).is_err());
    }
}
