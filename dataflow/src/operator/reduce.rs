//! `reduce`: a running combination of all records of a key.

use super::per_key::PerKey;
use crate::data::{Data, Key};
use crate::state::Migrations;
use crate::stream::{Described, KeyedStream, MigratingStream, Stream, value_per_key};

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Combines all records of a key into one: the first as it is, each further one by `combine`.
    /// Puts out the combination so far for each record in.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let sales = job.source("sales", Collection::of(vec![("tea".to_string(), 3u64)]));
    /// let by_name = sales.key_by(|(name, _)| name.clone());
    /// let totals = by_name.reduce("totals", |sum, (_, n)| sum.1 += n);
    /// ```
    #[track_caller]
    pub fn reduce(
        &self,
        id: &str,
        combine: impl Fn(&mut T, T) + Clone + Send + 'static,
    ) -> Stream<T> {
        self.migrating().reduce(id, combine)
    }
}

impl<K: Key, T: Data, M: Migrations<T>> MigratingStream<K, T, M> {
    /// See [`KeyedStream::reduce`].
    #[track_caller]
    pub fn reduce(
        &self,
        id: &str,
        combine: impl Fn(&mut T, T) + Clone + Send + 'static,
    ) -> Stream<T> {
        let states = value_per_key::<K, T>(&self.migrations);
        let keys = self.keyed.key.clone_box();
        let make = move |_: &_| {
            let combine = combine.clone();
            let step = move |_: &K, so_far: &mut T, record: T, is_first: bool| {
                if !is_first {
                    combine(so_far, record);
                }
                so_far.clone()
            };
            Ok(PerKey::new(keys.clone_box(), T::clone, step))
        };
        self.keyed.then(Described::keyed(id, "reduce", states), make)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Element, suite};
    use crate::time::Timestamp;

    #[test]
    fn running_maxima_pass_the_suite() {
        let value = |n: u64| n * 37 % 50;
        let elements: Vec<_> =
            (0..50u64).map(|n| Element::Record((n % 6, value(n)), Timestamp(n as i64))).collect();
        let mut out = suite(&elements, |pairs, _| {
            pairs.key_by(|(key, _)| *key).reduce("max", |max, next| max.1 = max.1.max(next.1))
        });
        out.sort_by_key(|(_, time)| *time);
        let max = |n: u64| (0..=n).filter(|m| m % 6 == n % 6).map(value).max().unwrap();
        let expected: Vec<_> = (0..50).map(|n| ((n % 6, max(n)), Timestamp(n as i64))).collect();
        assert_eq!(out, expected);
    }
}
