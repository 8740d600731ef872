//! `fold`: a running value over all records of a key.

use super::per_key::PerKey;
use crate::data::{Data, Key};
use crate::state::Migrations;
use crate::stream::{Described, KeyedStream, MigratingStream, Stream, value_per_key};

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Keeps a value per key, which starts as `zero` and takes in each record; puts out key and
    /// value after each. Where the value is large, [`KeyedStream::scan`] puts out a part of it.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let counts = numbers.key_by(|n| n % 2).fold("counts", 0u64, |count, _| *count += 1);
    /// ```
    #[track_caller]
    pub fn fold<S: Data>(
        &self,
        id: &str,
        zero: S,
        step: impl Fn(&mut S, T) + Clone + Send + 'static,
    ) -> Stream<(K, S)> {
        self.migrating().fold(id, zero, step)
    }
}

impl<K: Key, T: Data, M> MigratingStream<K, T, M> {
    /// See [`KeyedStream::fold`].
    #[track_caller]
    pub fn fold<S: Data>(
        &self,
        id: &str,
        zero: S,
        step: impl Fn(&mut S, T) + Clone + Send + 'static,
    ) -> Stream<(K, S)>
    where
        M: Migrations<S>,
    {
        let states = value_per_key::<K, S>(&self.migrations);
        let keys = self.keyed.key.clone_box();
        let make = move |_: &_| {
            let (zero, step) = (zero.clone(), step.clone());
            let step = move |key: &K, state: &mut S, record: T, _| {
                step(state, record);
                (key.clone(), state.clone())
            };
            Ok(PerKey::new(keys.clone_box(), move |_: &T| zero.clone(), step))
        };
        self.keyed.then(Described::keyed(id, "fold", states), make)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Element, suite};
    use crate::time::Timestamp;

    #[test]
    fn counts_per_key_pass_the_suite() {
        let elements: Vec<_> =
            (0..50u64).map(|n| Element::Record(n, Timestamp(n as i64))).collect();
        let mut out = suite(&elements, |numbers, _| {
            numbers.key_by(|n| n % 7).fold("counts", 100u32, |count, _| *count += 1)
        });
        out.sort_by_key(|(_, time)| *time);
        let expected: Vec<_> =
            (0..50u64).map(|n| ((n % 7, 101 + (n / 7) as u32), Timestamp(n as i64))).collect();
        assert_eq!(out, expected);
    }
}
