//! How windows fire out of the slices of [`super::sliced`], a bounded piece of work at a time.
//!
//! Driven by its `on_watermark`, window by window in the order of their ends. Invariant: whatever
//! pauses goes on where it stopped, and no record comes in between.

use super::Window;
use super::fold::Fold;
use super::running::Around;
use super::sliced::Sliced;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::Context;
use crate::state::Table;
use crate::time::Timestamp;

/// A window that is firing.
pub(super) struct Firing {
    pub(super) window: Window,
    phase: Phase,
    /// The next segment to be put out.
    segment: usize,
    /// The slice is taken apart as it is put out.
    drain: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    DropOld,
    Include,
    Emit,
}

impl<K: Key, T: Data, F: Fold<K, T>> Sliced<K, T, F> {
    /// The next window that a watermark fires and that may hold records.
    pub(super) fn next_firing(&self, watermark: Timestamp) -> Option<Firing> {
        if self.fired >= watermark.0 {
            return None;
        }
        let next = self.grid.next_end(self.fired);
        let slice = self.slices.first_from(self.grid.window_start(next))?;
        let end = next.max(self.grid.next_end(slice));
        if end > watermark.0 {
            return None;
        }
        let start = self.grid.window_start(end);
        let table = self.slices.place_of(start).map(|place| self.slices.table(place));
        // What nobody will ask for again is taken out at once; but a capture must find it.
        let wanted = table.is_some_and(Table::is_capturing);
        let drain =
            self.running.is_none() && self.lateness_ms == 0 && !wanted && !self.reached.is_uneven();
        let window = Window { start: Timestamp(start), end: Timestamp(end) };
        Some(Firing { window, phase: Phase::DropOld, segment: 0, drain })
    }

    /// Goes on with a window; whether it is done.
    pub(super) fn fire(
        &mut self,
        ctx: &mut Context<'_, F::Out, T>,
        firing: &mut Firing,
        budget: &mut usize,
    ) -> Result<bool> {
        if self.running.is_none() {
            return self.fire_slice(ctx, firing, budget);
        }
        let Self { fold, slices, reached, running: Some(running), .. } = self else {
            return Ok(true);
        };
        let around = Around { fold: &*fold, slices: &*slices, reached: &*reached };
        let window = firing.window;
        if firing.phase == Phase::DropOld {
            if !running.drop_before(window.start.0, &around, budget) {
                return Ok(false);
            }
            firing.phase = Phase::Include;
        }
        if firing.phase == Phase::Include {
            if !running.include(window.end.0, &around, budget) {
                return Ok(false);
            }
            firing.phase = Phase::Emit;
        }
        while firing.segment < running.segment_count() {
            if *budget == 0 || ctx.is_blocked() {
                return Ok(false);
            }
            let emitted = running.emit(ctx, &around, window, firing.segment)?;
            *budget = budget.saturating_sub(emitted);
            firing.segment += 1;
        }
        Ok(true)
    }

    /// The same for a tumbling window.
    fn fire_slice(
        &mut self,
        ctx: &mut Context<'_, F::Out, T>,
        firing: &mut Firing,
        budget: &mut usize,
    ) -> Result<bool> {
        let window = firing.window;
        let Some(place) = self.slices.place_of(window.start.0) else { return Ok(true) };
        let table = self.slices.table_mut(place);
        while firing.segment < table.segment_count() {
            if *budget == 0 || ctx.is_blocked() {
                return Ok(false);
            }
            if firing.drain {
                for (key, acc) in table.drain_segment(firing.segment) {
                    *budget = budget.saturating_sub(1);
                    self.fold.emit(ctx, &key, window, &acc)?;
                }
            } else {
                for (key, acc) in table.segment(firing.segment) {
                    *budget = budget.saturating_sub(1);
                    let uneven = self.reached.is_uneven();
                    if !uneven || self.reached.of_key(key)? < window.end {
                        self.fold.emit(ctx, key, window, acc)?;
                    }
                }
            }
            firing.segment += 1;
        }
        Ok(true)
    }

    /// Lets go of what no later window needs; whether that is done.
    pub(super) fn let_go(&mut self, watermark: Timestamp, budget: &mut usize) -> bool {
        let Self { fold, slices, reached, running, grid, .. } = self;
        if let Some(running) = running {
            let next = grid.window_start(grid.next_end(watermark.0));
            let low = if watermark == Timestamp::MAX { i64::MAX } else { next };
            let around = Around { fold: &*fold, slices: &*slices, reached: &*reached };
            if !running.drop_before(low, &around, budget) {
                return false;
            }
        }
        while slices.close_first(|slice| reached.is_closed(grid.last_end(slice), watermark)) {}
        true
    }
}
