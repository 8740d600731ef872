//! [`Running`]: what a sliding window keeps from one result to the next, so that its cost does not
//! grow with `size / slide`.
//!
//! Derived from [`Slices`] and never captured: after a restore the first window takes all its
//! slices in anew. Invariant: between firings it holds the slices from `low` to `included`, each
//! with all its records.

use serde::{Deserialize, Serialize};

use super::Window;
use super::fold::{Fold, Sliding};
use super::reached::Reached;
use super::slices::Slices;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::Context;
use crate::state::Table;

/// What sums up a key's records in the slices from `low` to `included`.
enum Totals<K, A> {
    /// The merged accumulators, and how many slices hold the key.
    Subtract(Table<K, (A, u32)>),
    /// Two stacks.
    Stacks(Table<K, Stacks<A>>),
    /// The last slice that holds the key.
    Anew(Table<K, i64>),
}

/// The slices of a key, as two stacks: at the back they are merged into one as they come in; when
/// the front has run out, they are taken from the slices again and merged from the newest to the
/// oldest, with every step kept, so that the oldest can be taken off.
#[derive(Clone, Serialize, Deserialize)]
struct Stacks<A> {
    /// Slices, newest first, each merged with all newer ones in front.
    front: Vec<(i64, A)>,
    back: Option<A>,
    /// The oldest slice in `back`, MIN where both must be made anew.
    back_from: i64,
}

/// What firing takes from the operator.
pub(super) struct Around<'a, K, F, A> {
    pub(super) fold: &'a F,
    pub(super) slices: &'a Slices<K, A>,
    pub(super) reached: &'a Reached,
}

/// See the module.
pub(super) struct Running<K, A> {
    totals: Totals<K, A>,
    low: i64,
    included: i64,
    /// The next segment of the slice at work.
    segment: usize,
    /// The hashes of the keys in it.
    hashes: Vec<u64>,
}

impl<K: Key, A: Data> Running<K, A> {
    pub(super) fn new(sliding: Sliding) -> Self {
        let totals = match sliding {
            Sliding::Subtract => Totals::Subtract(Table::default()),
            Sliding::Stacks => Totals::Stacks(Table::default()),
            Sliding::Anew => Totals::Anew(Table::default()),
        };
        Self { totals, low: i64::MIN, included: i64::MIN, segment: 0, hashes: Vec::new() }
    }

    /// Whether it holds the slice.
    pub(super) fn holds(&self, slice: i64) -> bool {
        self.low <= slice && slice < self.included
    }

    /// Takes out the slices before `to`. Whether that is done; if not, call again.
    pub(super) fn drop_before<T, F: Fold<K, T, Acc = A>>(
        &mut self,
        to: i64,
        around: &Around<'_, K, F, A>,
        budget: &mut usize,
    ) -> bool {
        if to >= self.included {
            match &mut self.totals {
                Totals::Subtract(table) => *table = Table::default(),
                Totals::Stacks(table) => *table = Table::default(),
                Totals::Anew(table) => *table = Table::default(),
            }
            (self.low, self.included, self.segment) = (to, to, 0);
            return true;
        }
        if let Totals::Subtract(table) = &mut self.totals {
            for (slice, entries) in around.slices.range(self.low, to) {
                self.low = slice;
                while self.segment < entries.segment_count() {
                    if *budget == 0 {
                        return false;
                    }
                    entries.hashes_of_segment(self.segment, &mut self.hashes);
                    subtract(table, around.fold, &self.hashes, entries.segment(self.segment));
                    *budget = budget.saturating_sub(self.hashes.len());
                    self.segment += 1;
                }
                self.segment = 0;
                self.low = slice.saturating_add(1);
            }
        }
        self.low = self.low.max(to);
        true
    }

    /// Takes in the slices up to `to`. Whether that is done; if not, call again.
    pub(super) fn include<T, F: Fold<K, T, Acc = A>>(
        &mut self,
        to: i64,
        around: &Around<'_, K, F, A>,
        budget: &mut usize,
    ) -> bool {
        for (slice, entries) in around.slices.range(self.included, to) {
            self.included = slice;
            while self.segment < entries.segment_count() {
                if *budget == 0 {
                    return false;
                }
                entries.hashes_of_segment(self.segment, &mut self.hashes);
                self.totals.include(
                    around.fold,
                    slice,
                    &self.hashes,
                    entries.segment(self.segment),
                );
                *budget = budget.saturating_sub(self.hashes.len());
                self.segment += 1;
            }
            self.segment = 0;
            self.included = slice.saturating_add(1);
        }
        self.included = self.included.max(to);
        true
    }

    /// A record came for a slice that it holds already.
    pub(super) fn add<T, F: Fold<K, T, Acc = A>>(
        &mut self,
        fold: &F,
        slice: i64,
        (hash, key, is_new): (u64, &K, bool),
        record: T,
    ) {
        match &mut self.totals {
            Totals::Subtract(table) => {
                let (total, slices) = table.entry(hash, key.clone(), || (fold.zero(), 0));
                fold.add(total, record);
                *slices += u32::from(is_new);
            }
            Totals::Stacks(table) => {
                let stacks = table.entry(hash, key.clone(), Stacks::default);
                match &mut stacks.back {
                    Some(back) if slice >= stacks.back_from => fold.add(back, record),
                    _ => *stacks = Stacks::default(),
                }
            }
            Totals::Anew(table) => {
                let last = table.entry(hash, key.clone(), || slice);
                *last = slice.max(*last);
            }
        }
    }

    /// How many segments a walk over all keys has.
    pub(super) fn segment_count(&self) -> usize {
        match &self.totals {
            Totals::Subtract(table) => table.segment_count(),
            Totals::Stacks(table) => table.segment_count(),
            Totals::Anew(table) => table.segment_count(),
        }
    }

    /// Puts out the results of a window for the keys of one segment; returns how many there were.
    pub(super) fn emit<T, F: Fold<K, T, Acc = A>, S: Send + 'static>(
        &mut self,
        ctx: &mut Context<'_, F::Out, S>,
        around: &Around<'_, K, F, A>,
        window: Window,
        segment: usize,
    ) -> Result<usize> {
        let mut emitted = 0;
        let mut gone = Vec::new();
        let mut emit = |key: &K, acc: &A| {
            emitted += 1;
            if around.reached.is_uneven() && around.reached.of_key(key)? >= window.end {
                return Ok(());
            }
            around.fold.emit(ctx, key, window, acc)
        };
        match &mut self.totals {
            Totals::Subtract(table) => {
                table.segment(segment).try_for_each(|(key, (acc, _))| emit(key, acc))?;
            }
            Totals::Stacks(table) => {
                for (hash, key, stacks) in table.segment_mut(segment) {
                    match stacks.total(around, window, hash, key) {
                        Some(total) => emit(key, &total)?,
                        None => gone.push((hash, key.clone())),
                    }
                }
                for (hash, key) in gone {
                    table.remove(hash, &key);
                }
            }
            Totals::Anew(table) => {
                for (hash, key, _) in table.segment_hashed(segment) {
                    let (from, to) = (window.start.0, window.end.0);
                    match gather(around.fold, around.slices.range(from, to), hash, key) {
                        Some(total) => emit(key, &total)?,
                        None => gone.push((hash, key.clone())),
                    }
                }
                for (hash, key) in gone {
                    table.remove(hash, &key);
                }
            }
        }
        Ok(emitted)
    }
}

/// Takes keys of one slice out of their totals, and a key with its last slice.
fn subtract<'a, K: Key, T, F: Fold<K, T>>(
    table: &mut Table<K, (F::Acc, u32)>,
    fold: &F,
    hashes: &[u64],
    entries: impl Iterator<Item = (&'a K, &'a F::Acc)>,
) {
    let mut gone = Vec::new();
    let mut at = hashes.iter();
    let none = |_: &_| (fold.zero(), 0);
    table.update_all(hashes, entries, none, |key, (total, slices), acc, _| {
        let hash = at.next();
        if *slices > 1 {
            *slices -= 1;
            fold.subtract(total, acc);
        } else {
            gone.extend(hash.map(|hash| (*hash, key.clone())));
        }
    });
    for (hash, key) in gone {
        table.remove(hash, &key);
    }
}

impl<K: Key, A: Data> Totals<K, A> {
    /// Takes in keys of one slice.
    fn include<'a, T, F: Fold<K, T, Acc = A>>(
        &mut self,
        fold: &F,
        slice: i64,
        hashes: &[u64],
        entries: impl Iterator<Item = (&'a K, &'a A)>,
    ) {
        match self {
            Self::Subtract(table) => {
                let none = |_: &_| (fold.zero(), 0);
                table.update_all(hashes, entries, none, |_, (total, slices), acc, _| {
                    fold.merge(total, acc);
                    *slices += 1;
                });
            }
            Self::Stacks(table) => {
                let none = |_: &_| Stacks { back_from: i64::MAX, ..Stacks::default() };
                table.update_all(hashes, entries, none, |_, stacks, acc, _| {
                    match &mut stacks.back {
                        Some(back) => fold.merge(back, acc),
                        // Marked to be made anew: that takes this slice in too.
                        None if stacks.back_from == i64::MIN => {}
                        None => (stacks.back, stacks.back_from) = (Some(acc.clone()), slice),
                    }
                });
            }
            Self::Anew(table) => {
                table.update_all(hashes, entries, |_| slice, |_, last, _, _| *last = slice);
            }
        }
    }
}

impl<A> Default for Stacks<A> {
    fn default() -> Self {
        Self { front: Vec::new(), back: None, back_from: i64::MIN }
    }
}

impl<A: Data> Stacks<A> {
    /// The key's total in a window, none if the window does not hold it.
    fn total<K: Key, T, F: Fold<K, T, Acc = A>>(
        &mut self,
        around: &Around<'_, K, F, A>,
        window: Window,
        hash: u64,
        key: &K,
    ) -> Option<A> {
        let (from, to) = (window.start.0, window.end.0);
        while self.front.pop_if(|(slice, _)| *slice < from).is_some() {}
        if self.front.is_empty() && self.back_from < from {
            let mut newer: Option<A> = None;
            for (slice, table) in around.slices.range(from, to).rev() {
                let Some(acc) = table.peek(hash, key) else { continue };
                let mut total = acc.clone();
                if let Some(newer) = &newer {
                    around.fold.merge(&mut total, newer);
                }
                self.front.push((slice, total.clone()));
                newer = Some(total);
            }
            (self.back, self.back_from) = (None, i64::MAX);
        }
        match (self.front.last(), &self.back) {
            (Some((_, front)), Some(back)) => {
                let mut total = front.clone();
                around.fold.merge(&mut total, back);
                Some(total)
            }
            (Some((_, front)), None) => Some(front.clone()),
            (None, back) => back.clone(),
        }
    }
}

/// Merges a key's accumulators of these slices.
pub(super) fn gather<'a, K: Key, T, F: Fold<K, T>>(
    fold: &F,
    slices: impl Iterator<Item = (i64, &'a Table<K, F::Acc>)>,
    hash: u64,
    key: &K,
) -> Option<F::Acc> {
    let mut accs = slices.filter_map(|(_, table)| table.peek(hash, key));
    let mut total = accs.next()?.clone();
    accs.for_each(|acc| fold.merge(&mut total, acc));
    Some(total)
}
