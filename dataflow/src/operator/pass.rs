//! `pass`: records reach the task that owns their key, and go on unchanged.

use std::marker::PhantomData;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::stream::{Described, KeyedStream, Stream};

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// Sends each record to the task that owns its key, and nothing more.
    ///
    /// ```
    /// # use millstream_dataflow::{connector::collection::Collection, Job};
    /// # let job = Job::new(Default::default());
    /// let numbers = job.source("numbers", Collection::of(vec![1u64, 2, 3]));
    /// let by_parity = numbers.key_by(|n| n % 2).pass("by-parity");
    /// ```
    #[track_caller]
    pub fn pass(&self, id: &str) -> Stream<T> {
        let described = Described { id: Some(id.to_owned()), ..Described::stateless("pass") };
        self.then(described, |_| Ok(Pass(PhantomData)))
    }
}

struct Pass<T>(PhantomData<fn(T)>);

impl<T: Data> Operator for Pass<T> {
    type In = T;
    type Out = T;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, T>, mut batch: Batch<T>) -> Result<()> {
        batch.hashes = Vec::new();
        ctx.emit_batch(batch)
    }
}
