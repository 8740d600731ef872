//! The window join: pairs the records of two streams that share a key and a window.
//!
//! Receives both keyed streams, hands the results on. Records wait in a [`Buffer`] per side, by
//! slices, without any index; when a window ends, a table is built of its right side and probed
//! with its left one. So a record costs an append when it comes, and a look-up for each window that
//! it lies in.
//!
//! Invariant: windows fire in the order of their ends, each key's once.

use super::buffer::{Buffer, Index};
use super::combine::{Combine, Inner, LeftOuter};
use super::log::Log;
use super::reached::{Floors, Reached};
use super::window_fire::{Fired, Firing, Work};
use super::{JoinWindow, Joined, WindowedJoin, check_timed};
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::{Context, Operator, Progress, Saved, TwoInputs};
use crate::snapshot::RestoredList;
use crate::state::State;
use crate::stream::{Described, Stream};
use crate::task::{Barrier, TaskInfo};
use crate::time::Timestamp;
use crate::window::Grid;

/// Look-ups and results per call: some 100 us to 1 ms of work between captures and input.
const WORK_PER_CALL: usize = 4096;

impl<K: Key, L: Data, R: Data> WindowedJoin<K, L, R> {
    /// Puts out what `f` makes of each two records that share a key and a window, when the window
    /// ends.
    ///
    /// A result carries the time of its window's end less 1 ms. Records whose windows have all
    /// ended are counted as late and dropped.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream_dataflow::{Watermarks, Timestamp, Job, window::Tumbling};
    /// # use millstream_dataflow::connector::collection::Collection;
    /// # let job = Job::new(Default::default());
    /// # let orders = job.source("orders", Collection::of(vec![(1u64, 2u64)]))
    /// #     .event_time(|_| Timestamp(0), Watermarks::ascending());
    /// # let payments = orders.clone();
    /// let paid = orders.key_by(|order| order.0).join(&payments.key_by(|payment| payment.0))
    ///     .window(Tumbling::of(Duration::from_secs(60)))
    ///     .inner("paid", |id, order, payment| (*id, order.1, payment.1));
    /// ```
    #[track_caller]
    pub fn inner<O: Data>(
        &self,
        id: &str,
        f: impl Fn(&K, &L, &R) -> O + Clone + Send + 'static,
    ) -> Stream<O> {
        self.put(id, Inner(f))
    }

    /// The same, and for each record of the left stream without a partner in a window what `f`
    /// makes of it alone.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream_dataflow::{Watermarks, Timestamp, Job, window::Tumbling};
    /// # use millstream_dataflow::connector::collection::Collection;
    /// # let job = Job::new(Default::default());
    /// # let orders = job.source("orders", Collection::of(vec![(1u64, 2u64)]))
    /// #     .event_time(|_| Timestamp(0), Watermarks::ascending());
    /// # let payments = orders.clone();
    /// let open = orders.key_by(|order| order.0).join(&payments.key_by(|payment| payment.0))
    ///     .window(Tumbling::of(Duration::from_secs(60)))
    ///     .left_outer("open", |id, _, payment| (*id, payment.is_none()));
    /// ```
    #[track_caller]
    pub fn left_outer<O: Data>(
        &self,
        id: &str,
        f: impl Fn(&K, &L, Option<&R>) -> O + Clone + Send + 'static,
    ) -> Stream<O> {
        self.put(id, LeftOuter(f))
    }

    #[track_caller]
    fn put<C: Combine<K, L, R>>(&self, id: &str, combine: C) -> Stream<C::Out> {
        let Joined { left, right } = &self.joined;
        let (left_keys, right_keys) = (left.key.clone_box(), right.key.clone_box());
        let JoinWindow { size, slide, .. } = self.window;
        self.joined.check(id, &[("size", size), ("slide", slide)]);
        if slide > size {
            left.stream.refuse(format!(
                "operator {id}: the window's slide of {slide} ms is larger than its size of \
                 {size} ms, and would leave records out: filter them, or take a slide up to the \
                 size"
            ));
        }
        let grid = self.window.grid();
        let make = move |info: &TaskInfo| {
            let (slice, offset) = (grid.slice, grid.offset);
            Ok(WindowJoin {
                grid,
                done: Timestamp::MIN,
                floors: Floors::new(info),
                left: Buffer::new(left_keys.clone_box(), info, slice, offset),
                right: Buffer::new(right_keys.clone_box(), info, slice, offset),
                firing: None,
                spare: Firing::default(),
                fired: Fired::default(),
                combine: combine.clone(),
            })
        };
        let states = vec![Buffer::<K, L, ()>::schema("left"), Buffer::<K, R, ()>::schema("right")];
        self.joined.put(Described::keyed(id, "window_join", states), make)
    }
}

/// A window join keeps no index while records come in.
impl<K, T> Index<K, T> for () {
    fn restored(&mut self, _: &Log<T>, _: u64, _: K) {}

    fn settle(&mut self, _: &Log<T>, _: u64, _: &K, _: Timestamp) -> Option<Vec<u32>> {
        None
    }

    fn clear_some(&mut self) -> bool {
        true
    }
}

struct WindowJoin<K: Key, L: Data, R: Data, C> {
    grid: Grid,
    /// Windows that end here or before have fired.
    done: Timestamp,
    floors: Floors,
    left: Buffer<K, L, ()>,
    right: Buffer<K, R, ()>,
    firing: Option<Firing<K>>,
    spare: Firing<K>,
    /// Of the window that was firing at the snapshot: how far each key hash had come.
    fired: Fired,
    combine: C,
}

impl<K: Key, L: Data, R: Data, C: Combine<K, L, R>> WindowJoin<K, L, R, C> {
    fn reached(&self, done: Timestamp) -> Reached {
        Reached::at(done, open_from(self.grid, done))
    }

    /// The end of the first window that has not fired, is over at the watermark, and has a record
    /// on the left.
    fn next_window(&self, watermark: Timestamp) -> Option<Timestamp> {
        let (first, _) = self.left.slices.first_key_value()?;
        let end = Timestamp(self.grid.next_end(self.done.0.max(*first)));
        (end <= watermark && end > self.done).then_some(end)
    }

    /// Notes that all windows up to a time have fired, and lets go of what lies in no later one.
    fn pass(&mut self, done: Timestamp) {
        self.done = done;
        let open = open_from(self.grid, done);
        self.left.drop_before(open);
        self.right.drop_before(open);
        self.fired.pass(done);
    }
}

/// The time from which on records lie in a window that ends after the watermark.
fn open_from(grid: Grid, watermark: Timestamp) -> Timestamp {
    Timestamp(grid.window_start(grid.next_end(watermark.0)))
}

impl<K: Key, L: Data, R: Data, C: Combine<K, L, R>> Operator for WindowJoin<K, L, R, C> {
    type In = L;
    type Out = C::Out;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, C::Out>, batch: Batch<L>) -> Result<()> {
        check_timed(&batch)?;
        self.spare.clear_some();
        let (floors, now) = (&self.floors, self.reached(self.done));
        let open = |hash| floors.of(hash, now).within.0;
        ctx.count_late(self.left.take_in(batch, |time, hash| time < open(hash)));
        Ok(())
    }

    fn on_watermark(
        &mut self,
        ctx: &mut Context<'_, C::Out>,
        watermark: Timestamp,
    ) -> Result<Progress> {
        let mut budget = WORK_PER_CALL;
        loop {
            let mut firing = match (self.firing.take(), self.next_window(watermark)) {
                (Some(firing), _) => firing,
                (None, Some(end)) => {
                    let spare = std::mem::take(&mut self.spare);
                    spare.begin(self.grid, end, &self.left, &self.right)
                }
                (None, None) => break,
            };
            let work = Work {
                left: &self.left,
                right: &self.right,
                combine: &self.combine,
                floors: &self.floors,
                fired: &mut self.fired,
            };
            if !firing.go_on(ctx, work, &mut budget)? {
                self.firing = Some(firing);
                return Ok(Progress::More);
            }
            let end = firing.end();
            self.spare = firing;
            self.spare.clear_some();
            self.pass(end);
        }
        self.pass(watermark.max(self.done));
        self.floors.pass(self.reached(self.done));
        Ok(Progress::Done)
    }

    fn on_tick(&mut self, _: &mut Context<'_, C::Out>) -> Result<Progress> {
        self.left.sweep();
        self.right.sweep();
        self.spare.clear_some();
        Ok(Progress::Done)
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.left, &mut self.right]
    }

    fn save(&mut self, _: Barrier) -> Result<Saved> {
        let mut saved = self.floors.save(self.reached(self.done))?;
        let firing = self.firing.as_ref();
        saved.lists.extend(self.fired.save(firing.map(|it| it.progress(&self.left)))?);
        Ok(saved)
    }

    fn restore_lists(&mut self, _: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        for list in &lists {
            self.floors.restore(list)?;
            self.fired.restore(list, &self.floors)?;
        }
        for (range, reached) in self.floors.ranges() {
            self.left.is_over(*range, reached.within);
            self.right.is_over(*range, reached.within);
        }
        Ok(())
    }
}

impl<K: Key, L: Data, R: Data, C: Combine<K, L, R>> TwoInputs for WindowJoin<K, L, R, C> {
    type Right = R;

    fn on_right(&mut self, ctx: &mut Context<'_, C::Out>, batch: Batch<R>) -> Result<()> {
        check_timed(&batch)?;
        self.spare.clear_some();
        let (floors, now) = (&self.floors, self.reached(self.done));
        let open = |hash| floors.of(hash, now).within.0;
        ctx.count_late(self.right.take_in(batch, |time, hash| time < open(hash)));
        Ok(())
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
