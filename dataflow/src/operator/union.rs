//! `union`: several streams of one type as one.

use std::marker::PhantomData;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::stream::{Described, Stream};
use crate::time::Timestamp;

impl<T: Data> Stream<T> {
    /// The records of this stream and the others. Order is kept within each; the watermark is the
    /// smallest.
    ///
    /// Streams of unequal parallelism need `.rebalance()` in front: on all of them but one, or on
    /// all.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let odd = job.source("odd", Collection::of(vec![1, 3, 5]));
    /// let even = job.source("even", Collection::of(vec![2, 4, 6]));
    /// let all = odd.union([&*even]);
    /// ```
    #[track_caller]
    pub fn union<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Stream<T> {
        let mut inputs = vec![self.input(0)];
        inputs.extend(others.into_iter().map(|other| other.input(0)));
        self.add_node(inputs, Described::stateless("union"), |_, _| Ok(Union(PhantomData)))
    }
}

struct Union<T>(PhantomData<fn(T)>);

impl<T: Data> Operator for Union<T> {
    type In = T;
    type Out = T;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, T>, mut batch: Batch<T>) -> Result<()> {
        // One input may have event times and another none: behind here each record has one.
        batch.times.resize(batch.records.len(), Timestamp::MIN);
        batch.hashes.clear();
        ctx.emit_batch(batch)
    }
}

#[cfg(test)]
mod tests {
    use crate::connector::collection::Collection;
    use crate::testing::{Element, Harness, suite};
    use crate::time::Timestamp;

    fn numbers(range: std::ops::Range<u64>) -> Vec<Element<u64>> {
        range.map(|n| Element::Record(n, Timestamp(n as i64))).collect()
    }

    #[test]
    fn a_stream_joined_to_its_own_offspring_passes_the_suite() {
        let out = suite(&numbers(0..20), |numbers, _| {
            numbers.union([&numbers.map(|n| n + 100), &numbers.filter(|n| *n < 5)])
        });
        let sum: u64 = out.iter().map(|(n, _)| n).sum();
        assert_eq!((out.len(), sum), (45, 190 + 190 + 2000 + 10));
    }

    #[test]
    fn timed_and_untimed_streams_meet_and_can_be_keyed() {
        let timed = numbers(0..300);
        let out = Harness::new().threads(&[3]).run(timed, |timed, job| {
            let untimed = job.source("untimed", Collection::of((300..600u64).collect::<Vec<_>>()));
            let all = timed.rebalance().union([&untimed.rebalance()]);
            all.key_by(|n| *n).scan("same", (), |(), n| n)
        });
        let mut out = out.unwrap();
        out.sort();
        let time = |n: u64| if n < 300 { Timestamp(n as i64) } else { Timestamp::MIN };
        assert_eq!(out, (0..600).map(|n| (n, time(n))).collect::<Vec<_>>());
    }
}
