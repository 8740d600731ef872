//! `flat_map`: any number of records out for each record in.

use std::marker::PhantomData;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::stream::{Described, Stream};

impl<T: Data> Stream<T> {
    /// Turns each record into any number of others, which all carry its event time.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let lines = job.source("lines", Collection::of(vec!["to be or not".to_string()]));
    /// let words = lines.flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    /// ```
    #[track_caller]
    pub fn flat_map<I: IntoIterator<Item: Data> + 'static>(
        &self,
        f: impl Fn(T) -> I + Clone + Send + 'static,
    ) -> Stream<I::Item> {
        let make = move |_: &_| Ok(FlatMap { f: f.clone(), marker: PhantomData });
        self.then(Described::stateless("flat_map"), make)
    }
}

struct FlatMap<F, T, I> {
    f: F,
    marker: PhantomData<fn(T) -> I>,
}

impl<T, I, F> Operator for FlatMap<F, T, I>
where
    T: Data,
    I: IntoIterator<Item: Data> + 'static,
    F: Fn(T) -> I + Send + 'static,
{
    type In = T;
    type Out = I::Item;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, I::Item>, batch: Batch<T>) -> Result<()> {
        for (record, time) in batch.into_timed() {
            for out in (self.f)(record) {
                ctx.emit(out, time)?;
            }
        }
        Ok(())
    }
}
