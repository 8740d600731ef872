//! Tumbling windows and hops: records go into slices, watermarks fire windows out of them.
//!
//! Built by [`super::kind`]; keeps its state in [`Slices`], and for hops [`Running`] totals beside
//! it. Invariants: a record is in the slice of its time or was counted late; a window fires for a
//! key when the watermark of the key's group passes its end, and again for each later record that
//! it still takes.

use std::mem;

use super::firing::Firing;
use super::fold::{Fold, Sliding};
use super::grid::Grid;
use super::reached::Reached;
use super::running::{Running, gather};
use super::slices::Slices;
use super::{Window, untimed};
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::{Error, Result};
use crate::operator::{Context, Operator, Progress, Saved};
use crate::snapshot::RestoredList;
use crate::state::State;
use crate::stream::SelectKeys;
use crate::task::{Barrier, TaskInfo};
use crate::time::Timestamp;

/// Records ahead of the one at work whose table slots are fetched: worth 1.3x on large tables.
const PREFETCH_RECORDS: usize = 16;
/// Entries worked on before a call ends: some 100 us, a tenth of what a task may stall.
const WORK_ENTRIES: usize = 4096;
/// The place of a record that came too late.
const LATE: u32 = u32::MAX;
/// Marks a place whose slice belongs to windows that have fired, or that a running total holds.
const TOUCHED: u32 = 1 << 31;

/// The list state that holds the shape of the windows.
const SHAPE: &str = "shape";

pub(super) struct Sliced<K: Key, T, F: Fold<K, T>> {
    keys: Box<dyn SelectKeys<K, T>>,
    scratch: Vec<K>,
    places: Vec<u32>,
    pub(super) fold: F,
    pub(super) grid: Grid,
    pub(super) reached: Reached,
    pub(super) slices: Slices<K, F::Acc>,
    /// None for tumbling windows, whose result is their slice.
    pub(super) running: Option<Running<K, F::Acc>>,
    /// Windows up to this end have fired.
    pub(super) fired: i64,
    pub(super) firing: Option<Firing>,
    pub(super) lateness_ms: i64,
}

/// A slice that records fell into lately.
#[derive(Clone, Copy)]
struct Near {
    from: i64,
    to: i64,
    place: u32,
}

impl<K: Key, T: Data, F: Fold<K, T>> Sliced<K, T, F> {
    pub(super) fn new(
        keys: Box<dyn SelectKeys<K, T>>,
        fold: F,
        grid: Grid,
        lateness_ms: i64,
        info: &TaskInfo,
    ) -> Self {
        let sliding: Sliding = fold.sliding();
        Self {
            keys,
            scratch: Vec::new(),
            places: Vec::new(),
            fold,
            grid,
            reached: Reached::new(info, lateness_ms),
            slices: Slices::new(grid),
            running: (!grid.is_tumbling()).then(|| Running::new(sliding)),
            fired: i64::MIN,
            firing: None,
            lateness_ms,
        }
    }

    /// Where all records of a batch go, if that is one slice that was not used yet: nearly always,
    /// and what follows is a third faster for it.
    fn one_place(&mut self, batch: &Batch<T>) -> Option<usize> {
        let near = self.find(*batch.times.first()?, *batch.hashes.first()?);
        if near.place >= TOUCHED {
            return None;
        }
        // One comparison per record and no branch.
        let width = near.to.wrapping_sub(near.from) as u64;
        let is_outside = |time: &Timestamp| time.0.wrapping_sub(near.from) as u64 >= width;
        let any_outside = batch.times.iter().fold(false, |any, time| any | is_outside(time));
        (!any_outside).then_some(near.place as usize)
    }

    fn add_all(&mut self, place: usize, batch: Batch<T>, keys: &[K]) {
        let (fold, table) = (&self.fold, self.slices.table_mut(place));
        let Batch { records, hashes, .. } = batch;
        let add = |_: &K, acc: &mut F::Acc, record, _| fold.add(acc, record);
        table.update_all(&hashes, keys.iter().zip(records), |_| fold.zero(), add);
    }

    /// Finds the table of each record: most fall into one or two slices.
    fn place(&mut self, batch: &Batch<T>) {
        self.places.clear();
        let none = Near { from: i64::MAX, to: i64::MIN, place: LATE };
        let (mut near, mut other) = (none, none);
        for (index, time) in batch.times.iter().enumerate() {
            if time.0 < near.from || time.0 >= near.to {
                mem::swap(&mut near, &mut other);
                if time.0 < near.from || time.0 >= near.to {
                    near = self.find(*time, batch.hashes[index]);
                }
            }
            self.places.push(near.place);
        }
    }

    /// The slice of a time and where its table is, opened if it may be.
    fn find(&mut self, time: Timestamp, hash: u64) -> Near {
        let slice = self.grid.slice_of(time.0);
        let uneven = self.reached.is_uneven();
        let watermark = self.reached.of(hash);
        let place = if self.reached.is_closed(self.grid.last_end(slice), watermark) {
            LATE
        } else {
            let held = self.running.as_ref().is_some_and(|running| running.holds(slice));
            let fired = self.grid.next_end(slice) <= watermark.0;
            let touched = if uneven || held || fired { TOUCHED } else { 0 };
            self.slices.open(slice) as u32 | touched
        };
        // Where key groups are not all equally far, what is found for one record is not for others.
        let to = if uneven { slice } else { self.grid.slice_end(slice) };
        Near { from: slice, to, place }
    }

    #[inline]
    fn prefetch(&self, index: usize, hashes: &[u64]) {
        if let (Some(place), Some(hash)) = (self.places.get(index), hashes.get(index))
            && *place != LATE
        {
            self.slices.table((place & !TOUCHED) as usize).prefetch(*hash);
        }
    }

    /// A record for a slice that was used already: totals and fired windows hear of it.
    #[cold]
    fn touch(
        &mut self,
        ctx: &mut Context<'_, F::Out, T>,
        place: u32,
        (hash, key, time): (u64, K, Timestamp),
        record: T,
    ) -> Result<()> {
        let slice = self.grid.slice_of(time.0);
        let table = self.slices.table_mut((place & !TOUCHED) as usize);
        if let Some(running) = self.running.as_mut().filter(|running| running.holds(slice)) {
            let is_new = table.get(hash, &key).is_none();
            running.add(&self.fold, slice, (hash, &key, is_new), record.clone());
        }
        self.fold.add(table.entry(hash, key.clone(), || self.fold.zero()), record);
        let watermark = self.reached.of(hash);
        let last = self.grid.last_end(slice).min(watermark.0);
        let mut end = self.grid.next_end(slice);
        while end <= last {
            if !self.reached.is_closed(end, watermark) {
                self.fire_again(ctx, hash, &key, end)?;
            }
            let Some(next) = end.checked_add(self.grid.slide) else { break };
            end = next;
        }
        Ok(())
    }

    fn fire_again(
        &self,
        ctx: &mut Context<'_, F::Out, T>,
        hash: u64,
        key: &K,
        end: i64,
    ) -> Result<()> {
        let start = self.grid.window_start(end);
        let window = Window { start: Timestamp(start), end: Timestamp(end) };
        match gather(&self.fold, self.slices.range(start, end), hash, key) {
            Some(total) => self.fold.emit(ctx, key, window, &total),
            None => Ok(()),
        }
    }
}

impl<K: Key, T: Data, F: Fold<K, T>> Operator for Sliced<K, T, F>
where
    F::Out: Data,
{
    type In = T;
    type Out = F::Out;
    type Side = T;

    fn on_batch(&mut self, ctx: &mut Context<'_, F::Out, T>, batch: Batch<T>) -> Result<()> {
        if batch.times.len() != batch.records.len() {
            return Err(untimed());
        }
        let mut keys = mem::take(&mut self.scratch);
        self.keys.keys(&batch.records, &mut keys);
        if let Some(place) = self.one_place(&batch) {
            self.add_all(place, batch, &keys);
            keys.clear();
            self.scratch = keys;
            return Ok(());
        }
        self.place(&batch);
        let Batch { records, times, hashes } = batch;
        for index in 0..PREFETCH_RECORDS {
            self.prefetch(index, &hashes);
        }
        let mut late = 0;
        for (index, (record, key)) in records.into_iter().zip(keys.drain(..)).enumerate() {
            self.prefetch(index + PREFETCH_RECORDS, &hashes);
            let (place, hash, time) = (self.places[index], hashes[index], times[index]);
            if place < TOUCHED {
                let table = self.slices.table_mut(place as usize);
                self.fold.add(table.entry(hash, key, || self.fold.zero()), record);
            } else if place == LATE {
                late += 1;
                ctx.emit_side(record, time)?;
            } else {
                self.touch(ctx, place, (hash, key, time), record)?;
            }
        }
        if late > 0 {
            ctx.count_late(late);
        }
        self.scratch = keys;
        Ok(())
    }

    fn on_watermark(
        &mut self,
        ctx: &mut Context<'_, F::Out, T>,
        time: Timestamp,
    ) -> Result<Progress> {
        let mut budget = WORK_ENTRIES;
        while let Some(mut firing) = self.firing.take().or_else(|| self.next_firing(time)) {
            if !self.fire(ctx, &mut firing, &mut budget)? {
                self.firing = Some(firing);
                return Ok(Progress::More);
            }
            self.fired = firing.window.end.0;
        }
        if !self.let_go(time, &mut budget) {
            return Ok(Progress::More);
        }
        self.fired = self.fired.max(time.0);
        self.reached.advance(time);
        Ok(Progress::Done)
    }

    fn on_tick(&mut self, _: &mut Context<'_, F::Out, T>) -> Result<Progress> {
        self.slices.sweep(WORK_ENTRIES);
        Ok(Progress::Done)
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.slices]
    }

    fn save(&mut self, _: Barrier) -> Result<Saved> {
        let shape = (SHAPE.to_owned(), vec![postcard::to_stdvec(&self.grid)?]);
        Ok(Saved { lists: vec![shape, self.reached.save()?], ..Saved::default() })
    }

    fn restore_lists(&mut self, _: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        for item in lists.iter().filter(|list| list.name == SHAPE).flat_map(|list| &list.items) {
            let was: Grid = postcard::from_bytes(item)
                .map_err(|error| Error::corrupt(format!("the shape of a window: {error}")))?;
            if was != self.grid {
                return Err(shape_changed(was, self.grid));
            }
        }
        let given_up = self.reached.restore(&lists)?;
        self.slices.pass_over(given_up);
        self.fired = self.reached.watermark().0;
        Ok(())
    }
}

fn shape_changed(was: Grid, now: Grid) -> Error {
    let text = |grid: Grid| {
        format!("size {} ms, slide {} ms, offset {} ms", grid.size, grid.slide, grid.offset)
    };
    Error::invalid(format!(
        "the snapshot holds windows of {}, the program has windows of {}: write the old ones, or \
         give the operator another id and write restore.allowDroppedState: true, which loses the \
         windows that are open",
        text(was),
        text(now)
    ))
}
