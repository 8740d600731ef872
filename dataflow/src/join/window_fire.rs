//! [`Firing`]: a window of a join on its way out, in slices of work that captures may come between.
//!
//! Driven by [`super::window`]. First a table is built of the window's right side, then its left
//! side is walked in the order of arrival and each record pairs with its partners. That order is
//! the same, key by key, in whatever task a snapshot puts the records: so the number of records
//! done says where to go on.

use std::collections::HashMap;

use super::buffer::Buffer;
use super::chains::Chains;
use super::combine::Combine;
use super::reached::{Floors, decode};
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::Context;
use crate::snapshot::RestoredList;
use crate::time::Timestamp;
use crate::window::Grid;

/// Records ahead of the one at work whose table slots are fetched.
const PREFETCH_RECORDS: usize = 16;
/// The name of the list state.
const LIST: &str = "fired";

/// A record of a side, by its slice and its number there.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    slice: usize,
    id: u32,
}

/// How far the records of a key hash have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Records of the left side that are done.
    lefts: u32,
    /// Partners that the next one has met.
    rights: u32,
}

/// Of windows that had half fired when the snapshot was taken: how far each key hash had come.
#[derive(Default)]
pub(super) struct Fired(HashMap<(Timestamp, u64), Done>);

type FiredItem = (Timestamp, u64, u32, u32);

impl Fired {
    /// Windows up to this end have fired.
    pub(super) fn pass(&mut self, end: Timestamp) {
        if !self.0.is_empty() {
            self.0.retain(|(window, _), _| *window > end);
        }
    }

    /// The list states that say this, and how far the window that fires now has come.
    pub(super) fn save(
        &self,
        firing: Option<(Timestamp, HashMap<u64, Done>)>,
    ) -> Result<Option<(String, Vec<Vec<u8>>)>> {
        let mut all = self.0.clone();
        for (end, done) in firing.into_iter().flat_map(|(end, hashes)| {
            hashes.into_iter().map(move |(hash, done)| ((end, hash), done))
        }) {
            let sum: &mut Done = all.entry(end).or_default();
            sum.lefts += done.lefts;
            sum.rights = sum.rights.max(done.rights);
        }
        if all.is_empty() {
            return Ok(None);
        }
        let item = |((end, hash), done): (&(Timestamp, u64), &Done)| -> FiredItem {
            (*end, *hash, done.lefts, done.rights)
        };
        let items = all.iter().map(|entry| postcard::to_stdvec(&item(entry)));
        Ok(Some((LIST.to_owned(), items.collect::<Result<_, _>>()?)))
    }

    /// Takes back what is this task's.
    pub(super) fn restore(&mut self, list: &RestoredList, floors: &Floors) -> Result<()> {
        let Some(groups) = list.groups.filter(|_| list.name == LIST) else { return Ok(()) };
        for item in &list.items {
            let (end, hash, lefts, rights): FiredItem = decode(item)?;
            if groups.contains(floors.group_of(hash)) {
                self.0.insert((end, hash), Done { lefts, rights });
            }
        }
        Ok(())
    }

    /// Whether the next record of a key hash is done, else how many partners it has met.
    fn next(&mut self, end: Timestamp, hash: u64) -> Option<u32> {
        if self.0.is_empty() {
            return Some(0);
        }
        let Some(done) = self.0.get_mut(&(end, hash)) else { return Some(0) };
        if done.lefts > 0 {
            done.lefts -= 1;
            return None;
        }
        self.0.remove(&(end, hash)).map(|done| done.rights)
    }
}

/// What a window is fired with.
pub(super) struct Work<'a, K: Key, L: Data, R: Data, C> {
    pub(super) left: &'a Buffer<K, L, ()>,
    pub(super) right: &'a Buffer<K, R, ()>,
    pub(super) combine: &'a C,
    pub(super) floors: &'a Floors,
    pub(super) fired: &'a mut Fired,
}

/// A window on its way out.
pub(super) struct Firing<K> {
    end: Timestamp,
    /// The slices of each side, by their starts; those of the right with the number of their first
    /// record.
    lefts: Vec<i64>,
    rights: Vec<(i64, u32)>,
    /// The records of the right side, numbered through.
    chains: Chains<K>,
    /// How much of the right side is in the table.
    built: Place,
    /// The record of the left side that comes next.
    at: Place,
    /// The partner that it meets next, where it was interrupted, and how many it has met.
    partner: Option<u32>,
    met: u32,
    scratch: Vec<K>,
}

impl<K: Key> Default for Firing<K> {
    fn default() -> Self {
        Self {
            end: Timestamp::MIN,
            lefts: Vec::new(),
            rights: Vec::new(),
            chains: Chains::default(),
            built: Place::default(),
            at: Place::default(),
            partner: None,
            met: 0,
            scratch: Vec::new(),
        }
    }
}

impl<K: Key> Firing<K> {
    /// Starts with the window that has this end.
    pub(super) fn begin<L: Data, R: Data>(
        mut self,
        grid: Grid,
        end: Timestamp,
        left: &Buffer<K, L, ()>,
        right: &Buffer<K, R, ()>,
    ) -> Self {
        while !self.clear_some() {}
        let window = grid.window_start(end.0)..end.0;
        self.end = end;
        self.lefts.extend(left.slices.range(window.clone()).map(|(start, _)| *start));
        let mut number = 0;
        for (start, slice) in right.slices.range(window) {
            self.rights.push((*start, number));
            number += slice.log.len();
        }
        self
    }

    /// The end of the window.
    pub(super) fn end(&self) -> Timestamp {
        self.end
    }

    /// Forgets some of a window that has fired and keeps the memory; whether all is forgotten.
    pub(super) fn clear_some(&mut self) -> bool {
        self.lefts.clear();
        self.rights.clear();
        (self.built, self.at) = (Place::default(), Place::default());
        (self.partner, self.met) = (None, 0);
        self.chains.clear_some()
    }

    /// How many records of each key hash are done, and how many partners the one at work has met.
    pub(super) fn progress<L: Data>(
        &self,
        left: &Buffer<K, L, ()>,
    ) -> (Timestamp, HashMap<u64, Done>) {
        let mut hashes: HashMap<u64, Done> = HashMap::new();
        for (number, start) in self.lefts.iter().enumerate().take(self.at.slice + 1) {
            let Some(slice) = left.slices.get(start) else { continue };
            let to = if number < self.at.slice { slice.log.len() } else { self.at.id };
            let mut from = 0;
            while from < to {
                let piece = slice.log.piece(from, to);
                piece.hashes.iter().for_each(|hash| hashes.entry(*hash).or_default().lefts += 1);
                from += piece.records.len() as u32;
            }
            if number == self.at.slice && self.met > 0 {
                let hash = slice.log.piece(to, to + 1).hashes[0];
                hashes.entry(hash).or_default().rights = self.met;
            }
        }
        (self.end, hashes)
    }

    /// Goes on for about `budget` look-ups and results; whether the window has fired.
    pub(super) fn go_on<L: Data, R: Data, C: Combine<K, L, R>>(
        &mut self,
        ctx: &mut Context<'_, C::Out>,
        mut work: Work<'_, K, L, R, C>,
        budget: &mut usize,
    ) -> Result<bool> {
        if !C::OUTER && self.rights.is_empty() {
            return Ok(true);
        }
        if !self.build(work.right, budget) {
            return Ok(false);
        }
        while let Some(start) = self.lefts.get(self.at.slice) {
            let Some(slice) = work.left.slices.get(start) else { return Ok(true) };
            if self.at.id == slice.log.len() {
                self.at = Place { slice: self.at.slice + 1, id: 0 };
            } else if !self.probe(ctx, &mut work, *start, budget)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Puts the right side into the table; whether all of it is in.
    fn build<R: Data>(&mut self, right: &Buffer<K, R, ()>, budget: &mut usize) -> bool {
        while let Some((start, _)) = self.rights.get(self.built.slice) {
            let Some(slice) = right.slices.get(start) else { return true };
            if self.built.id == slice.log.len() {
                self.built = Place { slice: self.built.slice + 1, id: 0 };
                continue;
            }
            if *budget == 0 {
                return false;
            }
            let piece = slice.log.piece(self.built.id, slice.log.len());
            right.keys.keys(piece.records, &mut self.scratch);
            for (index, key) in self.scratch.drain(..).enumerate() {
                if let Some(ahead) = piece.hashes.get(index + PREFETCH_RECORDS) {
                    self.chains.prefetch(*ahead);
                }
                self.chains.push(piece.hashes[index], key);
            }
            self.built.id += piece.records.len() as u32;
            *budget = budget.saturating_sub(piece.records.len());
        }
        true
    }

    /// Pairs the records of the left side that lie together from the next one on; whether all have
    /// had their turn.
    fn probe<L: Data, R: Data, C: Combine<K, L, R>>(
        &mut self,
        ctx: &mut Context<'_, C::Out>,
        work: &mut Work<'_, K, L, R, C>,
        start: i64,
        budget: &mut usize,
    ) -> Result<bool> {
        let Some(slice) = work.left.slices.get(&start) else { return Ok(true) };
        let piece = slice.log.piece(self.at.id, slice.log.len());
        let mut keys = std::mem::take(&mut self.scratch);
        keys.clear();
        work.left.keys.keys(piece.records, &mut keys);
        let mut complete = true;
        for ((record, key), (index, &hash)) in
            piece.records.iter().zip(&keys).zip(piece.hashes.iter().enumerate())
        {
            if *budget == 0 || ctx.is_blocked() {
                complete = false;
                break;
            }
            *budget -= 1;
            if let Some(ahead) = piece.hashes.get(index + PREFETCH_RECORDS) {
                self.chains.prefetch(*ahead);
            }
            if !self.pair(ctx, work, (key, hash, record), budget)? {
                complete = false;
                break;
            }
            self.at.id += 1;
        }
        keys.clear();
        self.scratch = keys;
        Ok(complete)
    }

    /// Puts out a record of the left side with each of its partners; whether it has met all.
    fn pair<L: Data, R: Data, C: Combine<K, L, R>>(
        &mut self,
        ctx: &mut Context<'_, C::Out>,
        work: &mut Work<'_, K, L, R, C>,
        (key, hash, record): (&K, u64, &L),
        budget: &mut usize,
    ) -> Result<bool> {
        let time = self.end.saturating_add(-1);
        let mut next = self.partner.take();
        if next.is_none() {
            if self.has_fired(work.floors, hash) {
                return Ok(true);
            }
            let Some(met) = work.fired.next(self.end, hash) else { return Ok(true) };
            next = self.chains.walk(hash, key).nth(met as usize);
            self.met = met;
            if next.is_none() && met == 0 {
                return work.combine.alone(key, record).map_or(Ok(true), |out| {
                    ctx.emit(out, time)?;
                    Ok(true)
                });
            }
        }
        while let Some(number) = next {
            if *budget == 0 {
                self.partner = next;
                return Ok(false);
            }
            *budget -= 1;
            let (start, id) = self.locate(number);
            if let Some(slice) = work.right.slices.get(&start) {
                let (partner, _) = slice.log.get(id);
                ctx.emit(work.combine.both(key, record, partner), time)?;
            }
            self.met += 1;
            next = self.chains.before(number);
        }
        self.met = 0;
        Ok(true)
    }

    /// Whether the window fired for this key before it came to this task.
    fn has_fired(&self, floors: &Floors, hash: u64) -> bool {
        !floors.is_empty() && floors.is_done(hash, self.end)
    }

    /// Where a record of the right side lies.
    fn locate(&self, number: u32) -> (i64, u32) {
        let behind = self.rights.partition_point(|(_, first)| *first <= number);
        let (start, first) = self.rights[behind - 1];
        (start, number - first)
    }
}
