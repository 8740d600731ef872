//! `inspect`: looks at records as they pass.

use std::marker::PhantomData;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::stream::{Described, Stream};

impl<T: Data> Stream<T> {
    /// Shows each record to a function and passes it on. After a restore it sees some records
    /// again.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1, 2, 3]));
    /// let same = numbers.inspect(|n| println!("{n}"));
    /// ```
    #[track_caller]
    pub fn inspect(&self, look: impl Fn(&T) + Clone + Send + 'static) -> Stream<T> {
        let make = move |_: &_| Ok(Inspect { look: look.clone(), marker: PhantomData });
        self.then(Described::stateless("inspect"), make)
    }
}

struct Inspect<F, T> {
    look: F,
    marker: PhantomData<fn(T)>,
}

impl<T: Data, F: Fn(&T) + Send + 'static> Operator for Inspect<F, T> {
    type In = T;
    type Out = T;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, T>, mut batch: Batch<T>) -> Result<()> {
        batch.records.iter().for_each(&self.look);
        batch.hashes.clear();
        ctx.emit_batch(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::testing::{Element, Harness, suite};
    use crate::time::Timestamp;

    #[test]
    fn it_sees_what_it_passes_on() {
        let elements: Vec<_> = (1..=9u64).map(|n| Element::Record(n, Timestamp(5))).collect();
        let out = suite(&elements, |numbers, _| numbers.inspect(|n| assert!(*n < 10)));
        assert_eq!(out.len(), 9);
        let sum = Arc::new(AtomicU64::new(0));
        let seen = sum.clone();
        let look = move |n: &u64| {
            seen.fetch_add(*n, Ordering::Relaxed);
        };
        Harness::new().run(elements, |numbers, _| numbers.inspect(look.clone())).unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), 45);
    }
}
