//! `filter`: some of the records.

use std::marker::PhantomData;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::stream::{Described, Stream};

impl<T: Data> Stream<T> {
    /// Keeps the records for which `keep` is true.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1, 2, 3]));
    /// let odd = numbers.filter(|n| n % 2 == 1);
    /// ```
    #[track_caller]
    pub fn filter(&self, keep: impl Fn(&T) -> bool + Clone + Send + 'static) -> Stream<T> {
        let make = move |_: &_| Ok(Filter { keep: keep.clone(), marker: PhantomData });
        self.then(Described::stateless("filter"), make)
    }
}

struct Filter<F, T> {
    keep: F,
    marker: PhantomData<fn(T)>,
}

impl<T: Data, F: Fn(&T) -> bool + Send + 'static> Operator for Filter<F, T> {
    type In = T;
    type Out = T;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, T>, mut batch: Batch<T>) -> Result<()> {
        let mut kept = 0;
        // Swapping each record to where it would go needs no branch on what is kept: half of all
        // branches on random data are mispredicted, which costs more than the swaps. The order of
        // the kept ones stays.
        if batch.times.is_empty() {
            for index in 0..batch.records.len() {
                let keep = (self.keep)(&batch.records[index]);
                batch.records.swap(kept, index);
                kept += usize::from(keep);
            }
        } else {
            for index in 0..batch.records.len() {
                let keep = (self.keep)(&batch.records[index]);
                batch.records.swap(kept, index);
                batch.times.swap(kept, index);
                kept += usize::from(keep);
            }
            batch.times.truncate(kept);
        }
        batch.records.truncate(kept);
        batch.hashes.clear();
        if batch.is_empty() { Ok(()) } else { ctx.emit_batch(batch) }
    }
}
