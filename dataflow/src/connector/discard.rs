//! A sink that forgets everything, for measuring what comes before it.

use std::marker::PhantomData;

use async_trait::async_trait;
use millstream_protocol::id::Epoch;
use millstream_protocol::plan::Guarantee;

use crate::batch::Batch;
use crate::error::Result;
use crate::sink::{Committer, Prepared, Recovery, Sink, SinkContext, Writer};

/// A sink that forgets everything.
#[derive(Debug)]
pub struct Discard<T>(PhantomData<fn(T)>);

impl<T> Clone for Discard<T> {
    fn clone(&self) -> Self {
        Self(PhantomData)
    }
}

impl<T> Discard<T> {
    /// A sink that forgets everything.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Discard<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static> Sink for Discard<T> {
    type Item = T;
    type Pending = ();
    type Writer = Self;
    type Committer = NoCommit;

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, _: SinkContext) -> Result<(Self, NoCommit)> {
        Ok((self.clone(), NoCommit))
    }
}

impl<T: Send + 'static> Writer for Discard<T> {
    type Item = T;
    type Pending = ();

    fn write(&mut self, _: Batch<T>) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        Ok(Prepared::nothing())
    }
}

/// The committer of a sink that has nothing to commit.
#[derive(Clone, Copy, Debug)]
pub struct NoCommit;

#[async_trait]
impl Committer for NoCommit {
    type Pending = ();

    async fn commit(&self, _: Epoch, (): ()) -> Result<()> {
        Ok(())
    }

    async fn recover(&self, _: Recovery<()>) -> Result<()> {
        Ok(())
    }
}
