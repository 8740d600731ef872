//! [`PerKey`]: one value per key, one record out for each record in: what `scan`, `fold` and
//! `reduce` have in common.

use std::mem;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::state::{State, Table, TableState};
use crate::stream::SelectKeys;

/// Records ahead of the one at work whose table slots are fetched: worth 1.3x and more on large
/// tables.
const PREFETCH_RECORDS: usize = 16;

/// A table of one value per key, and what to do with it for each record: given the table, the key's
/// hash, the key and the record.
pub(super) struct PerKey<K: Key, T, S: Data, F> {
    keys: Box<dyn SelectKeys<K, T>>,
    scratch: Vec<K>,
    table: TableState<K, S>,
    update: F,
}

impl<K: Key, T, S: Data, F> PerKey<K, T, S, F> {
    pub(super) fn new(keys: Box<dyn SelectKeys<K, T>>, update: F) -> Self {
        Self { keys, scratch: Vec::new(), table: TableState::default(), update }
    }
}

impl<K, T, S, U, F> Operator for PerKey<K, T, S, F>
where
    K: Key,
    T: Data,
    S: Data,
    U: Data,
    F: Fn(&mut Table<K, S>, u64, K, T) -> U + Send + 'static,
{
    type In = T;
    type Out = U;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, U>, batch: Batch<T>) -> Result<()> {
        let mut keys = mem::take(&mut self.scratch);
        self.keys.keys(&batch.records, &mut keys);
        for &hash in batch.hashes.iter().take(PREFETCH_RECORDS) {
            self.table.prefetch(hash);
        }
        let mut out = Vec::with_capacity(batch.len());
        let Batch { records, times, hashes } = batch;
        for (index, (record, key)) in records.into_iter().zip(keys.drain(..)).enumerate() {
            if let Some(&ahead) = hashes.get(index + PREFETCH_RECORDS) {
                self.table.prefetch(ahead);
            }
            out.push((self.update)(&mut self.table, hashes[index], key, record));
        }
        self.scratch = keys;
        ctx.emit_batch(Batch::timed(out, times))
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.table]
    }
}
