//! A source that makes its records: record i of each split from a function of i.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::data::Data;
use crate::error::{Error, Result};
use crate::source::{Emit, Poll, Reader, Source, SourceContext, owner_by_number};
use crate::time::Timestamp;

/// The lowest rate that is a rate: a record in eleven days. Below, it is a slip.
const RATE_MIN: f64 = 1e-6;

/// Refuses a rate at which no record would ever come, or that is no number.
pub(super) fn check_rate(rate: Option<f64>) -> Result<()> {
    match rate {
        Some(rate) if !rate.is_finite() || rate < RATE_MIN => Err(Error::invalid(format!(
            "records_per_second: is {rate:?}: write a number of at least {RATE_MIN}"
        ))),
        _ => Ok(()),
    }
}

/// A source that makes its records: deterministic, so that a replay gives the same ones.
#[derive(Clone, Debug)]
pub struct Generator<F, T> {
    make: F,
    records: Option<u64>,
    splits: u32,
    records_per_second: Option<f64>,
    marker: PhantomData<fn() -> T>,
}

impl<F, T> Generator<F, T>
where
    F: Fn(u64) -> T + Clone + Send + 'static,
    T: Data,
{
    /// Makes record i by calling `make(i)`, for i from 0, without end.
    pub fn new(make: F) -> Self {
        Self { make, records: None, splits: 1, records_per_second: None, marker: PhantomData }
    }

    /// Ends after so many records.
    #[must_use]
    pub fn records(self, records: u64) -> Self {
        Self { records: Some(records), ..self }
    }

    /// Deals the records out to so many splits: split s of n makes the records i with `i % n == s`.
    #[must_use]
    pub fn splits(self, splits: u32) -> Self {
        Self { splits: splits.max(1), ..self }
    }

    /// Makes at most so many records per second, over all splits: a finite number, 0.000001 or
    /// more. Another is refused when the source opens.
    #[must_use]
    pub fn records_per_second(self, rate: f64) -> Self {
        Self { records_per_second: Some(rate), ..self }
    }
}

struct Split {
    id: Arc<str>,
    next: u64,
}

/// Makes the records of one task's splits.
pub struct GeneratorReader<F, T> {
    make: F,
    end: u64,
    stride: u64,
    splits: Vec<Split>,
    pace: Option<Pace>,
    marker: PhantomData<fn() -> T>,
}

/// Keeps the records of one task to a rate.
#[derive(Debug)]
struct Pace {
    records_per_ms: f64,
    since: Option<Timestamp>,
    made: u64,
}

impl Pace {
    /// How many records are due by now.
    fn due(&mut self, now: Timestamp) -> u64 {
        let since = *self.since.get_or_insert(now);
        let due = (now.0.saturating_sub(since.0)) as f64 * self.records_per_ms;
        (due as u64).saturating_sub(self.made)
    }

    /// When the next record is due: a millisecond from now at the earliest.
    fn next(&self, now: Timestamp) -> Timestamp {
        let wait = (self.made + 1) as f64 / self.records_per_ms;
        // A wait that no time can hold is as long as times go.
        let next = self.since.unwrap_or(now).saturating_add(wait.ceil() as i64);
        next.max(now.saturating_add(1))
    }
}

impl<F, T> Source for Generator<F, T>
where
    F: Fn(u64) -> T + Clone + Send + 'static,
    T: Data,
{
    type Item = T;
    type Position = u64;
    type Reader = GeneratorReader<F, T>;

    fn open(&self, ctx: SourceContext<u64>) -> Result<GeneratorReader<F, T>> {
        check_rate(self.records_per_second)?;
        let ids = (0..self.splits).map(|split| (split, format!("split-{split}")));
        let own = ids.filter(|(_, id)| ctx.owns(self, id));
        let splits: Vec<_> = own
            .map(|(split, id)| {
                let restored = ctx.restored.iter().find(|(known, _)| *known == id);
                let next = restored.map_or(u64::from(split), |(_, position)| *position);
                Split { id: id.into(), next }
            })
            .collect();
        let share = splits.len() as f64 / f64::from(self.splits);
        let pace = self.records_per_second.map(|rate| Pace {
            records_per_ms: rate * share / 1000.0,
            since: None,
            made: 0,
        });
        Ok(GeneratorReader {
            make: self.make.clone(),
            end: self.records.unwrap_or(u64::MAX),
            stride: u64::from(self.splits),
            splits,
            pace,
            marker: PhantomData,
        })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        owner_by_number(split, parallelism)
    }
}

impl<F, T> Reader for GeneratorReader<F, T>
where
    F: Fn(u64) -> T + Clone + Send + 'static,
    T: Data,
{
    type Item = T;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<T>) -> Result<Poll> {
        let now = emit.now();
        let due = self.pace.as_mut().map(|pace| pace.due(now));
        let room = due.map_or(emit.room() as u64, |due| due.min(emit.room() as u64));
        let share = room.div_ceil(self.splits.len().max(1) as u64);
        let (mut made, mut open) = (0, false);
        // Nothing waits but what is due; without a rate, all that there is to make.
        let waiting = due.map(|due| (due - room).div_ceil(self.splits.len().max(1) as u64));
        for split in &mut self.splits {
            let index = emit.split(&split.id);
            let left = self.end.saturating_sub(split.next).div_ceil(self.stride);
            let count = if emit.is_held(index) { 0 } else { share.min(left) };
            let all = (self.end < u64::MAX).then_some(left - count);
            emit.backlog(index).set(waiting.map(|waiting| waiting.min(left - count)).or(all));
            let (first, stride) = (split.next, self.stride);
            emit.records(index, (0..count).map(|n| (self.make)(first + n * stride)));
            split.next += count * stride;
            made += count;
            if left > count || emit.is_held(index) {
                open = true;
            } else {
                emit.is_finished(index);
            }
        }
        if !open {
            return Ok(Poll::Finished);
        }
        if let Some(pace) = &mut self.pace {
            pace.made += made;
            if made < emit.room() as u64 {
                return Ok(Poll::Until(pace.next(now)));
            }
        }
        Ok(Poll::Ready)
    }

    fn holds_splits(&self) -> bool {
        true
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        self.splits.iter().map(|split| (split.id.clone(), split.next)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_source_sleeps_until_its_next_record_is_due() {
        let mut pace = Pace { records_per_ms: 0.002, since: None, made: 0 };
        assert_eq!(pace.due(Timestamp(10_000)), 0);
        assert_eq!(pace.next(Timestamp(10_000)), Timestamp(10_500));
        assert_eq!(pace.due(Timestamp(10_500)), 1);
        pace.made = 1;
        assert_eq!(pace.next(Timestamp(10_500)), Timestamp(11_000));
        pace.records_per_ms = 1000.0;
        assert_eq!(pace.next(Timestamp(10_500)), Timestamp(10_501), "never without a pause");
        pace.records_per_ms = RATE_MIN / 1000.0;
        assert!(pace.next(Timestamp::MAX) == Timestamp::MAX);
    }
}
