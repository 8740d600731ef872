//! A source of given records, for tests and examples.

use std::sync::Arc;

use crate::data::Data;
use crate::error::Result;
use crate::source::{Emit, Poll, Reader, Source, SourceContext, owner_by_number};

/// A source of given records. Task i of p reads every p-th record, as a split of its own per record
/// residue.
#[derive(Clone, Debug)]
pub struct Collection<T> {
    records: Arc<Vec<T>>,
    splits: u32,
}

impl<T> Collection<T> {
    /// A source of these records, in this order, read by one task.
    pub fn of(records: impl Into<Vec<T>>) -> Self {
        Self { records: Arc::new(records.into()), splits: 1 }
    }

    /// Deals the records out to so many splits, which are read independently.
    #[must_use]
    pub fn splits(self, splits: u32) -> Self {
        Self { splits: splits.max(1), ..self }
    }
}

/// The records of one split: those whose index leaves the split's number as remainder.
struct Split {
    id: Arc<str>,
    next: usize,
}

/// Reads the splits of one task in turn.
pub struct CollectionReader<T> {
    records: Arc<Vec<T>>,
    stride: usize,
    splits: Vec<Split>,
}

impl<T: Data + Sync> Source for Collection<T> {
    type Item = T;
    type Position = u64;
    type Reader = CollectionReader<T>;

    fn open(&self, ctx: SourceContext<u64>) -> Result<CollectionReader<T>> {
        let ids = (0..self.splits).map(|split| (split, format!("split-{split}")));
        let own = ids.filter(|(_, id)| ctx.owns(self, id)).map(|(split, id)| {
            let restored = ctx.restored.iter().find(|(known, _)| *known == id);
            let next = restored.map_or(split as usize, |(_, position)| *position as usize);
            Split { id: id.into(), next }
        });
        let splits = own.collect();
        Ok(CollectionReader { records: self.records.clone(), stride: self.splits as usize, splits })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        owner_by_number(split, parallelism)
    }
}

impl<T: Data + Sync> Reader for CollectionReader<T> {
    type Item = T;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<T>) -> Result<Poll> {
        let mut open = 0;
        let share = (emit.room() / self.splits.len().max(1)).max(1);
        for split in &mut self.splits {
            let index = emit.split(&split.id);
            let share = if emit.is_held(index) { 0 } else { share };
            for _ in 0..share {
                let Some(record) = self.records.get(split.next) else { break };
                emit.record(index, record.clone());
                split.next += self.stride;
            }
            let left = self.records.len().saturating_sub(split.next).div_ceil(self.stride);
            emit.backlog(index).set(Some(left as u64));
            if left > 0 || emit.is_held(index) {
                open += 1;
            } else {
                emit.is_finished(index);
            }
        }
        Ok(if open > 0 { Poll::Ready } else { Poll::Finished })
    }

    fn holds_splits(&self) -> bool {
        true
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        self.splits.iter().map(|split| (split.id.clone(), split.next as u64)).collect()
    }
}
