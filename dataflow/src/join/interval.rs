//! The interval join: pairs the records of two streams that share a key and lie within an interval
//! of time.
//!
//! Receives both keyed streams, hands the results on as soon as two records have met. Each side
//! waits in a [`Buffer`] until time has passed whatever could still match it; a record that comes
//! looks for partners in the few slices of the other side that its interval touches.
//!
//! Invariant: a record that is not late finds all its partners, so that which records have met is
//! the same for all of one key and time, however they arrived.

use std::mem;

use millstream_protocol::plan::StateSchema;

use super::buffer::{Buffer, Slice};
use super::combine::{Combine, Inner, LeftOuter};
use super::partners::Partners;
use super::reached::{Floors, Reached};
use super::{Bounds, IntervalJoin, Joined, check_timed};
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::{Context, Operator, Progress, Saved, TwoInputs};
use crate::snapshot::RestoredList;
use crate::state::State;
use crate::stream::{Described, Stream};
use crate::task::{Barrier, TaskInfo};
use crate::time::Timestamp;

/// Results per call at a watermark: some 100 us of work between captures and input.
const WORK_PER_CALL: usize = 4096;
/// Slices that an interval spans. More of them let go of memory sooner, and cost a look-up each per
/// record.
const SLICES: i64 = 4;
/// Slices fetched ahead at most: records far apart in time would else fetch the whole buffer.
const PREFETCH_SLICES: usize = 8;
/// Records whose places in the tables are fetched before the first of them is looked at.
const PREFETCH_RECORDS: usize = 16;
/// The narrowest slice in milliseconds: joins on equal times would else have a slice per
/// millisecond.
const SLICE_MS_MIN: i64 = 16;

impl<K: Key, L: Data, R: Data> IntervalJoin<K, L, R> {
    /// Puts out what `f` makes of each two records that share a key and lie within the interval, at
    /// once.
    ///
    /// A result carries the later of the two times. Records behind the watermark are counted as
    /// late and dropped.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream_dataflow::{Watermarks, Timestamp, Job};
    /// use millstream_dataflow::join::Offset::{After, Before};
    /// # use millstream_dataflow::connector::collection::Collection;
    /// # let job = Job::new(Default::default());
    /// # let views = job.source("views", Collection::of(vec![(1u64, 2u64)]))
    /// #     .event_time(|_| Timestamp(0), Watermarks::ascending());
    /// # let clicks = views.clone();
    /// let clicked = views.key_by(|view| view.0).join(&clicks.key_by(|click| click.0))
    ///     .between(Before(Duration::from_secs(1)), After(Duration::from_secs(600)))
    ///     .inner("clicked", |user, view, click| (*user, view.1, click.1));
    /// ```
    #[track_caller]
    pub fn inner<O: Data>(
        &self,
        id: &str,
        f: impl Fn(&K, &L, &R) -> O + Clone + Send + 'static,
    ) -> Stream<O> {
        self.put::<_, false>(id, Inner(f))
    }

    /// The same, and for each record of the left stream that met none what `f` makes of it alone.
    ///
    /// That is put out when the watermark has passed its interval, with the last time in the
    /// interval (or the record's own, if that is later): an earlier one would be late behind the
    /// join.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millstream_dataflow::{Watermarks, Timestamp, Job};
    /// # use millstream_dataflow::connector::collection::Collection;
    /// # let job = Job::new(Default::default());
    /// # let views = job.source("views", Collection::of(vec![(1u64, 2u64)]))
    /// #     .event_time(|_| Timestamp(0), Watermarks::ascending());
    /// # let clicks = views.clone();
    /// let missed = views.key_by(|view| view.0).join(&clicks.key_by(|click| click.0))
    ///     .within(Duration::from_secs(600))
    ///     .left_outer("missed", |user, _, click| (*user, click.is_none()));
    /// ```
    #[track_caller]
    pub fn left_outer<O: Data>(
        &self,
        id: &str,
        f: impl Fn(&K, &L, Option<&R>) -> O + Clone + Send + 'static,
    ) -> Stream<O> {
        self.put::<_, true>(id, LeftOuter(f))
    }

    #[track_caller]
    fn put<C: Combine<K, L, R>, const OUTER: bool>(&self, id: &str, combine: C) -> Stream<C::Out> {
        let Joined { left, right } = &self.joined;
        let (left_keys, right_keys) = (left.key.clone_box(), right.key.clone_box());
        self.joined.check(id, &[]);
        let bounds = self.bounds;
        let width = (bounds.upper.saturating_sub(bounds.lower) / SLICES).max(SLICE_MS_MIN);
        let make = move |info: &TaskInfo| {
            Ok(Interval::<K, L, R, C, OUTER> {
                bounds,
                reached: Reached::at(Timestamp::MIN, Timestamp::MIN),
                floors: Floors::new(info),
                left: Buffer::new(left_keys.clone_box(), info, width, 0),
                right: Buffer::new(right_keys.clone_box(), info, width, 0),
                scratch: Vec::new(),
                combine: combine.clone(),
            })
        };
        self.joined.put(Described::keyed(id, "interval_join", schemas::<K, L, R>()), make)
    }
}

fn schemas<K: Key, L: Data, R: Data>() -> Vec<StateSchema> {
    let left = Buffer::<K, L, Partners<K, false>>::schema("left");
    let right = Buffer::<K, R, Partners<K, false>>::schema("right");
    vec![left, right]
}

/// Fetches the places of neighbouring records in the slices of one side that `range` gives for
/// their times.
fn prefetch<K: Key, T: Data, const OUTER: bool>(
    side: &Buffer<K, T, Partners<K, OUTER>>,
    (times, hashes): (&[Timestamp], &[u64]),
    range: impl Fn(Timestamp) -> (Timestamp, Timestamp),
) {
    let (Some(&first), Some(&last)) = (times.iter().min(), times.iter().max()) else { return };
    let (from, to) = (side.start_of(range(first).0), range(last).1.0);
    for (_, slice) in side.slices.range(from..=to).take(PREFETCH_SLICES) {
        for hash in hashes {
            slice.index.prefetch(*hash);
        }
    }
}

/// The records of a batch from `index` on that are fetched together, if a stretch of them begins
/// there.
fn stretch<'a>(
    index: usize,
    times: &'a [Timestamp],
    hashes: &'a [u64],
) -> Option<(&'a [Timestamp], &'a [u64])> {
    let end = times.len().min(index + PREFETCH_RECORDS);
    index.is_multiple_of(PREFETCH_RECORDS).then(|| (&times[index..end], &hashes[index..end]))
}

struct Interval<K: Key, L: Data, R: Data, C, const OUTER: bool> {
    bounds: Bounds,
    reached: Reached,
    floors: Floors,
    left: Buffer<K, L, Partners<K, OUTER>>,
    right: Buffer<K, R, Partners<K, false>>,
    scratch: Vec<K>,
    combine: C,
}

impl<K, L, R, C, const OUTER: bool> Interval<K, L, R, C, OUTER>
where
    K: Key,
    L: Data,
    R: Data,
    C: Combine<K, L, R>,
{
    /// A record of the left side: pairs it with what is there, and keeps it for what may come.
    #[inline]
    fn take_left(
        &mut self,
        ctx: &mut Context<'_, C::Out>,
        key: K,
        (record, time, hash): (L, Timestamp, u64),
        done: Timestamp,
    ) -> Result<()> {
        let (from, to) = self.bounds.rights_of(time);
        let mut has_met = false;
        for (_, slice) in self.right.slices.range(self.right.start_of(from)..=to.0) {
            for id in slice.index.walk(hash, &key) {
                let (partner, its) = slice.log.get(id);
                if from <= its && its <= to {
                    has_met = true;
                    ctx.emit(self.combine.both(&key, &record, partner), time.max(its))?;
                }
            }
        }
        if to >= done {
            let (slice, id) = self.left.push(record, time, hash);
            slice.index.add(hash, key, time, has_met);
            if OUTER && has_met {
                slice.settled.push(id);
            }
        } else if !has_met && let Some(out) = self.combine.alone(&key, &record) {
            ctx.emit(out, time)?;
        }
        Ok(())
    }

    /// A record of the right side.
    #[inline]
    fn take_right(
        &mut self,
        ctx: &mut Context<'_, C::Out>,
        key: K,
        (record, time, hash): (R, Timestamp, u64),
        done: Timestamp,
    ) -> Result<()> {
        let (from, to) = self.bounds.lefts_of(time);
        let start = self.left.start_of(from);
        for (_, slice) in self.left.slices.range_mut(start..=to.0) {
            let Slice { log, index, settled, .. } = slice;
            let mut next = index.newest(hash, &key);
            while let Some(id) = next {
                next = index.before(id);
                let (partner, its) = log.get(id);
                if from <= its && its <= to {
                    if index.meet(id) {
                        settled.push(id);
                    }
                    ctx.emit(self.combine.both(&key, partner, &record), time.max(its))?;
                }
            }
        }
        if to >= done {
            let (slice, _) = self.right.push(record, time, hash);
            slice.index.add(hash, key, time, false);
        }
        Ok(())
    }
}

impl<K, L, R, C, const OUTER: bool> Interval<K, L, R, C, OUTER>
where
    K: Key,
    L: Data,
    R: Data,
    C: Combine<K, L, R>,
{
    /// Puts out the records of the left side that stay alone now that no partner before `watermark`
    /// can come.
    fn give_up(&mut self, ctx: &mut Context<'_, C::Out>, watermark: Timestamp) -> Result<Progress> {
        let due = self.bounds.lefts_over(watermark);
        let (upper, mut budget, mut last) = (self.bounds.upper, WORK_PER_CALL, None);
        for slice in self.left.slices.range_mut(..due.0).map(|(_, slice)| slice) {
            while let Some(next) = slice.index.first_due().filter(|(time, _)| *time < due) {
                // Records of one key and time go together: a snapshot in between tells them from
                // the rest.
                if (budget == 0 || ctx.is_blocked()) && last != Some(next) {
                    self.reached.within = next;
                    return Ok(Progress::More);
                }
                let Some(id) = slice.index.pop_due() else { break };
                let (record, time) = slice.log.get(id);
                self.left.keys.keys(std::slice::from_ref(record), &mut self.scratch);
                for key in self.scratch.drain(..) {
                    if let Some(out) = self.combine.alone(&key, record) {
                        ctx.emit(out, time.max(time.saturating_add(upper)))?;
                    }
                }
                last = Some(next);
                budget = budget.saturating_sub(1);
            }
        }
        Ok(Progress::Done)
    }
}

impl<K, L, R, C, const OUTER: bool> Operator for Interval<K, L, R, C, OUTER>
where
    K: Key,
    L: Data,
    R: Data,
    C: Combine<K, L, R>,
{
    type In = L;
    type Out = C::Out;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, C::Out>, batch: Batch<L>) -> Result<()> {
        check_timed(&batch)?;
        self.left.sweep();
        let mut keys = mem::take(&mut self.scratch);
        self.left.keys.keys(&batch.records, &mut keys);
        let Batch { records, times, hashes } = batch;
        let mut late = 0;
        for (index, (record, key)) in records.into_iter().zip(keys.drain(..)).enumerate() {
            if let Some(stretch) = stretch(index, &times, &hashes) {
                prefetch(&self.right, stretch, |time| self.bounds.rights_of(time));
                prefetch(&self.left, stretch, |time| (time, time));
            }
            let (time, hash) = (times[index], hashes[index]);
            let done = self.floors.of(hash, self.reached).done;
            if time < done {
                late += 1;
                continue;
            }
            self.take_left(ctx, key, (record, time, hash), done)?;
        }
        self.scratch = keys;
        ctx.count_late(late);
        Ok(())
    }

    fn on_watermark(
        &mut self,
        ctx: &mut Context<'_, C::Out>,
        watermark: Timestamp,
    ) -> Result<Progress> {
        if OUTER && self.give_up(ctx, watermark)? == Progress::More {
            return Ok(Progress::More);
        }
        let lefts = self.bounds.lefts_over(watermark);
        self.reached = Reached::at(watermark, lefts);
        self.left.drop_before(lefts);
        self.right.drop_before(self.bounds.rights_over(watermark));
        self.floors.pass(self.reached);
        Ok(Progress::Done)
    }

    fn on_tick(&mut self, _: &mut Context<'_, C::Out>) -> Result<Progress> {
        self.left.sweep();
        self.right.sweep();
        Ok(Progress::Done)
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.left, &mut self.right]
    }

    fn save(&mut self, _: Barrier) -> Result<Saved> {
        self.floors.save(self.reached)
    }

    fn restore_lists(&mut self, _: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        lists.iter().try_for_each(|list| self.floors.restore(list))?;
        for (range, reached) in self.floors.ranges() {
            self.left.is_over(*range, reached.within);
            self.right.is_over(*range, (self.bounds.rights_over(reached.done), 0));
        }
        Ok(())
    }
}

impl<K, L, R, C, const OUTER: bool> TwoInputs for Interval<K, L, R, C, OUTER>
where
    K: Key,
    L: Data,
    R: Data,
    C: Combine<K, L, R>,
{
    type Right = R;

    fn on_right(&mut self, ctx: &mut Context<'_, C::Out>, batch: Batch<R>) -> Result<()> {
        check_timed(&batch)?;
        self.right.sweep();
        let mut keys = mem::take(&mut self.scratch);
        self.right.keys.keys(&batch.records, &mut keys);
        let Batch { records, times, hashes } = batch;
        let mut late = 0;
        for (index, (record, key)) in records.into_iter().zip(keys.drain(..)).enumerate() {
            if let Some(stretch) = stretch(index, &times, &hashes) {
                prefetch(&self.left, stretch, |time| self.bounds.lefts_of(time));
                prefetch(&self.right, stretch, |time| (time, time));
            }
            let (time, hash) = (times[index], hashes[index]);
            let done = self.floors.of(hash, self.reached).done;
            if time < done {
                late += 1;
                continue;
            }
            self.take_right(ctx, key, (record, time, hash), done)?;
        }
        self.scratch = keys;
        ctx.count_late(late);
        Ok(())
    }
}

#[cfg(test)]
#[path = "interval_tests.rs"]
mod tests;
