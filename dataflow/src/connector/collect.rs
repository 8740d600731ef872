//! A sink that shows its records to the process, each once, when their snapshot is committed. For
//! tests.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_protocol::id::Epoch;
use millstream_protocol::plan::Guarantee;

use crate::batch::Batch;
use crate::data::Data;
use crate::error::Result;
use crate::sink::{Committer, Prepared, Recovery, Sink, SinkContext, Writer};
use crate::time::Timestamp;

/// Where committed records appear. Clones share it.
#[derive(Debug)]
pub struct Collect<T>(Arc<Mutex<Collected<T>>>);

#[derive(Debug)]
struct Collected<T> {
    records: Vec<(T, Timestamp)>,
    /// The newest committed epoch of each task, by which a repeated commit is known.
    epochs: std::collections::HashMap<u32, Epoch>,
}

impl<T> Clone for Collect<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Collect<T> {
    fn default() -> Self {
        let empty = Collected { records: Vec::new(), epochs: std::collections::HashMap::new() };
        Self(Arc::new(Mutex::new(empty)))
    }
}

impl<T: Data> Collect<T> {
    /// The records committed so far.
    pub fn records(&self) -> Vec<T> {
        self.timed().into_iter().map(|(record, _)| record).collect()
    }

    /// The records committed so far, with their event times.
    pub fn timed(&self) -> Vec<(T, Timestamp)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).records.clone()
    }
}

/// What one task has taken in since the last snapshot.
pub struct CollectWriter<T> {
    task: u32,
    records: Vec<(T, Timestamp)>,
}

impl<T: Data> Sink for Collect<T> {
    type Item = T;
    type Pending = (u32, Epoch, Vec<(T, Timestamp)>);
    type Writer = CollectWriter<T>;
    type Committer = Self;

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, ctx: SinkContext) -> Result<(CollectWriter<T>, Self)> {
        Ok((CollectWriter { task: ctx.info.task.0, records: Vec::new() }, self.clone()))
    }
}

impl<T: Data> Writer for CollectWriter<T> {
    type Item = T;
    type Pending = (u32, Epoch, Vec<(T, Timestamp)>);

    fn write(&mut self, batch: Batch<T>) -> Result<()> {
        self.records.extend(batch.into_timed());
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepared<Self::Pending>> {
        let records = std::mem::take(&mut self.records);
        Ok(Prepared { pending: Some((self.task, epoch, records)), durable: None })
    }
}

#[async_trait]
impl<T: Data> Committer for Collect<T> {
    type Pending = (u32, Epoch, Vec<(T, Timestamp)>);

    async fn commit(&self, _: Epoch, (task, epoch, records): Self::Pending) -> Result<()> {
        let mut collected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = collected.epochs.entry(task).or_insert(Epoch(0));
        if epoch > *newest {
            *newest = epoch;
            collected.records.extend(records);
        }
        Ok(())
    }

    async fn recover(&self, from: Recovery<Self::Pending>) -> Result<()> {
        for pending in from.pending {
            self.commit(from.epoch, pending).await?;
        }
        Ok(())
    }
}
