//! `scan`: a state per key, updated by each record, with one record out for each record in.

use super::per_key::PerKey;
use crate::data::{Data, Key};
use crate::state::Migrations;
use crate::stream::{Described, KeyedStream, MigratingStream, Stream, value_per_key};

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Keeps a state per key, which starts as `zero`; puts out what `step` returns for each record.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let sums = numbers.key_by(|n| n % 2).scan("sums", 0, |sum: &mut u64, n| {
    ///     *sum += n;
    ///     *sum
    /// });
    /// ```
    #[track_caller]
    pub fn scan<S: Data, U: Data>(
        &self,
        id: &str,
        zero: S,
        step: impl Fn(&mut S, T) -> U + Clone + Send + 'static,
    ) -> Stream<U> {
        self.migrating().scan(id, zero, step)
    }
}

impl<K: Key, T: Data, M> MigratingStream<K, T, M> {
    /// See [`KeyedStream::scan`].
    #[track_caller]
    pub fn scan<S: Data, U: Data>(
        &self,
        id: &str,
        zero: S,
        step: impl Fn(&mut S, T) -> U + Clone + Send + 'static,
    ) -> Stream<U>
    where
        M: Migrations<S>,
    {
        let states = value_per_key::<K, S>(&self.migrations);
        let keys = self.keyed.key.clone_box();
        let make = move |_: &_| {
            let (zero, step) = (zero.clone(), step.clone());
            let step = move |_: &K, state: &mut S, record: T, _| step(state, record);
            Ok(PerKey::new(keys.clone_box(), move |_: &T| zero.clone(), step))
        };
        self.keyed.then(Described::keyed(id, "scan", states), make)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Element, suite};
    use crate::time::Timestamp;

    #[test]
    fn sums_per_key_pass_the_suite() {
        let elements: Vec<_> =
            (0..50u64).map(|n| Element::Record(n, Timestamp(n as i64))).collect();
        let out = suite(&elements, |numbers, _| {
            numbers.key_by(|n| n % 7).scan("sums", 0, |sum, n| {
                *sum += n;
                (n, *sum)
            })
        });
        let sum = |n: u64| (0..=n).filter(|m| m % 7 == n % 7).sum();
        let expected: Vec<_> = (0..50).map(|n| ((n, sum(n)), Timestamp(n as i64))).collect();
        assert_eq!(out, expected);
    }
}
