//! Count windows: so many records of a key, in the order of their arrival.
//!
//! Built by [`super::kind`]. State: the panes of each key; a pane is `gcd(size, every)` records.
//! Invariant: only the last pane is not full, and there are no more than one window needs.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem;

use serde::{Deserialize, Serialize};

use super::Window;
use super::fold::Fold;
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::{Context, Operator};
use crate::state::{Shape, State, TableState};
use crate::stream::SelectKeys;
use crate::time::Timestamp;

const PREFETCH_RECORDS: usize = 16;

/// A key and its panes, as snapshots keep them.
pub(super) struct PerKey<K>(PhantomData<K>);

impl<K: Key> Shape for PerKey<K> {
    type Entry<V: Data> = (K, Panes<V>);

    fn map<V: Data, W: Data>((key, panes): (K, Panes<V>), to: impl Fn(V) -> W) -> (K, Panes<W>) {
        let Panes { all, filled, since } = panes;
        let migrated = |Pane { acc, first, last }| Pane { acc: to(acc), first, last };
        (key, Panes { all: all.into_iter().map(migrated).collect(), filled, since })
    }
}

/// The panes of one key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Panes<A> {
    all: VecDeque<Pane<A>>,
    /// Records in the last pane.
    filled: u64,
    /// Records since the last result.
    since: u64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Pane<A> {
    acc: A,
    /// The earliest and the latest time of its records.
    first: Timestamp,
    last: Timestamp,
}

pub(super) struct Counted<K: Key, T, F: Fold<K, T>> {
    keys: Box<dyn SelectKeys<K, T>>,
    scratch: Vec<K>,
    fold: F,
    every: u64,
    pane: u64,
    panes_max: usize,
    table: TableState<K, Panes<F::Acc>>,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl<A> Pane<A> {
    fn widen(&mut self, first: Timestamp, last: Timestamp) {
        self.first = self.first.min(first);
        self.last = self.last.max(last);
    }

    fn window(&self) -> Window {
        Window { start: self.first, end: self.last.saturating_add(1) }
    }
}

impl<A> Default for Panes<A> {
    fn default() -> Self {
        Self { all: VecDeque::new(), filled: 0, since: 0 }
    }
}

impl<K: Key, T: Data, F: Fold<K, T>> Counted<K, T, F> {
    pub(super) fn new(keys: Box<dyn SelectKeys<K, T>>, fold: F, (size, every): (u64, u64)) -> Self {
        let pane = gcd(size, every);
        let panes_max = usize::try_from(size / pane).unwrap_or(usize::MAX);
        let (scratch, table) = (Vec::new(), TableState::default());
        Self { keys, scratch, fold, every, pane, panes_max, table }
    }

    fn on_record(
        &mut self,
        ctx: &mut Context<'_, F::Out>,
        (hash, key, time): (u64, K, Timestamp),
        record: T,
    ) -> Result<()> {
        let state = self.table.entry(hash, key.clone(), Panes::default);
        if state.all.is_empty() || state.filled == self.pane {
            if state.all.len() == self.panes_max {
                state.all.pop_front();
            }
            state.all.push_back(Pane { acc: self.fold.zero(), first: time, last: time });
            state.filled = 0;
        }
        if let Some(last) = state.all.back_mut() {
            self.fold.add(&mut last.acc, record);
            last.widen(time, time);
        }
        state.filled += 1;
        state.since += 1;
        if state.since < self.every {
            return Ok(());
        }
        state.since = 0;
        if let [only] = state.all.make_contiguous() {
            self.fold.emit(ctx, &key, only.window(), &only.acc)?;
        } else if let Some(mut total) = state.all.front().cloned() {
            for pane in state.all.iter().skip(1) {
                self.fold.merge(&mut total.acc, &pane.acc);
                total.widen(pane.first, pane.last);
            }
            self.fold.emit(ctx, &key, total.window(), &total.acc)?;
        }
        if self.panes_max == 1 {
            self.table.remove(hash, &key);
        }
        Ok(())
    }
}

impl<K: Key, T: Data, F: Fold<K, T>> Operator for Counted<K, T, F> {
    type In = T;
    type Out = F::Out;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, F::Out>, batch: Batch<T>) -> Result<()> {
        let mut keys = mem::take(&mut self.scratch);
        self.keys.keys(&batch.records, &mut keys);
        let hashes = batch.hashes.clone();
        for (index, ((record, time), key)) in batch.into_timed().zip(keys.drain(..)).enumerate() {
            if let Some(&ahead) = hashes.get(index + PREFETCH_RECORDS) {
                self.table.prefetch(ahead);
            }
            self.on_record(ctx, (hashes[index], key, time), record)?;
        }
        self.scratch = keys;
        Ok(())
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.table]
    }
}
