//! `map`: one record out for each record in.

use std::marker::PhantomData;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::stream::{Described, Stream};

impl<T: Data> Stream<T> {
    /// Turns each record into another.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1, 2, 3]));
    /// let doubled = numbers.map(|n| n * 2);
    /// ```
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Clone + Send + 'static) -> Stream<U> {
        let make = move |_: &_| Ok(Map { f: f.clone(), marker: PhantomData });
        self.then(Described::stateless("map"), make)
    }
}

struct Map<F, T, U> {
    f: F,
    marker: PhantomData<fn(T) -> U>,
}

impl<T: Data, U: Data, F: Fn(T) -> U + Send + 'static> Operator for Map<F, T, U> {
    type In = T;
    type Out = U;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, U>, batch: Batch<T>) -> Result<()> {
        ctx.emit_batch(batch.with_records(|records| records.into_iter().map(&self.f).collect()))
    }
}
