//! [`PerKey`]: the operator behind `scan`, `reduce` and `fold`: a value per key, and a function
//! that meets it with each record.
//!
//! Invariant: one record out for each record in, in its place and with its time.

use std::mem;

use super::{Context, Operator};
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::state::{State, TableState};
use crate::stream::SelectKeys;

/// `init` makes the value of a key from its first record; `step` is given the key, the value, the
/// record and whether the value is new, and returns what to put out.
pub(super) struct PerKey<K: Key, T, S: Data, I, F> {
    keys: Box<dyn SelectKeys<K, T>>,
    scratch: Vec<K>,
    table: TableState<K, S>,
    init: I,
    step: F,
}

impl<K: Key, T, S: Data, I, F> PerKey<K, T, S, I, F> {
    pub(super) fn new(keys: Box<dyn SelectKeys<K, T>>, init: I, step: F) -> Self {
        Self { keys, scratch: Vec::new(), table: TableState::default(), init, step }
    }
}

impl<K, T, S, U, I, F> Operator for PerKey<K, T, S, I, F>
where
    K: Key,
    T: Data,
    S: Data,
    U: Data,
    I: Fn(&T) -> S + Send + 'static,
    F: Fn(&K, &mut S, T, bool) -> U + Send + 'static,
{
    type In = T;
    type Out = U;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, U>, batch: Batch<T>) -> Result<()> {
        let mut keys = mem::take(&mut self.scratch);
        self.keys.keys(&batch.records, &mut keys);
        let mut out = Vec::with_capacity(batch.len());
        let Batch { records, times, hashes } = batch;
        let each = |key: &K, state: &mut S, record, is_new| {
            out.push((self.step)(key, state, record, is_new));
        };
        self.table.update_all(&hashes, keys.iter().zip(records), &self.init, each);
        keys.clear();
        self.scratch = keys;
        ctx.emit_batch(Batch::timed(out, times))
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.table]
    }
}
