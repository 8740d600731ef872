//! Key groups that come together in one task from tasks that had come differently far.

use millstream_protocol::id::{KeyGroup, TaskIndex};
use millstream_protocol::key_group::{KeyGroupRange, KeyGroups};
use millstream_protocol::key_hash::key_hash;

use super::*;
use crate::batch::Batch;
use crate::error::Result;
use crate::operator::aggregate::Sum;
use crate::operator::{Context, Operator, Output, Progress};
use crate::snapshot::{EncoderSpec, RestoredList, encoder};
use crate::state::Entry;
use crate::stream::SelectKeys;
use crate::task::{Barrier, BoxNode, Control, Discard, Node, Step, TaskInfo};
use crate::window::fold::Aggregated;
use crate::window::grid::Grid;
use crate::window::sliced::Sliced;
use std::sync::{Arc, Mutex};

type Out = Windowed<u8, i64>;

/// Keeps what it is sent.
struct Keep(Arc<Mutex<Vec<(u8, i64, i64)>>>);

impl Control for Keep {
    fn watermark(&mut self, _: &mut Step, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn idle(&mut self, _: &mut Step) -> Result<()> {
        Ok(())
    }

    fn barrier(&mut self, _: &mut Step, _: Barrier) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut Step) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self, _: &mut Step) -> Result<()> {
        Ok(())
    }

    fn settled(&mut self, _: millstream_protocol::id::Epoch, _: bool) {}

    fn restore(&mut self, _: &crate::snapshot::Restore) -> Result<()> {
        Ok(())
    }
}

impl Node<Out> for Keep {
    fn batch(&mut self, _: &mut Step, batch: Batch<Out>) -> Result<()> {
        let out = batch.records.into_iter().map(|w| (w.key, w.end.0, w.value));
        self.0.lock().unwrap().extend(out);
        Ok(())
    }
}

fn info() -> TaskInfo {
    TaskInfo {
        operator: "w".into(),
        task: TaskIndex(0),
        parallelism: 1,
        key_groups: KeyGroups::default(),
        counters: Arc::default(),
    }
}

fn keys() -> Box<dyn SelectKeys<u8, Record>> {
    crate::stream::boxed(|record: &Record| record.0)
}

/// The half of the key groups that a key is in.
fn is_ahead(key: u8) -> bool {
    KeyGroups::default().of_hash(key_hash(&key).unwrap()) < KeyGroup(360)
}

/// One key of the half that is ahead, and one of the other.
fn two_keys() -> (u8, u8) {
    let find = |ahead| (0..=u8::MAX).find(|key| is_ahead(*key) == ahead).unwrap();
    (find(true), find(false))
}

struct Rig<P: Operator<In = Record, Out = Out, Side = Record>> {
    operator: P,
    step: Step,
    out: Output<Out>,
    side: Output<Record>,
    seen: Arc<Mutex<Vec<(u8, i64, i64)>>>,
    watermark: Timestamp,
}

impl<P: Operator<In = Record, Out = Out, Side = Record>> Rig<P> {
    fn new(operator: P) -> Self {
        let seen = Arc::default();
        let out: BoxNode<Out> = Box::new(Keep(Arc::clone(&seen)));
        let step = Step::new(encoder(EncoderSpec::default(), |_, _| {}).0);
        let (out, side) = (Output::new(out), Output::new(Box::new(Discard) as _));
        Self { operator, step, out, side, seen, watermark: Timestamp::MIN }
    }

    fn call<R>(
        &mut self,
        call: impl FnOnce(&mut P, &mut Context<'_, Out, Record>) -> Result<R>,
    ) -> R {
        let info = info();
        let mut ctx = Context {
            step: &mut self.step,
            out: &mut self.out,
            side: &mut self.side,
            info: &info,
            watermark: self.watermark,
            floors: &[],
        };
        let result = call(&mut self.operator, &mut ctx).unwrap();
        self.out.flush(&mut self.step).unwrap();
        result
    }

    fn record(&mut self, key: u8, value: i64, time: i64) {
        let mut batch = Batch::timed(vec![(key, value)], vec![Timestamp(time)]);
        batch.hashes = vec![key_hash(&key).unwrap()];
        self.call(|operator, ctx| operator.on_batch(ctx, batch));
    }

    fn watermark(&mut self, time: i64) {
        self.watermark = Timestamp(time);
        let advance = |operator: &mut P, ctx: &mut Context<'_, Out, Record>| {
            operator.on_watermark(ctx, Timestamp(time))
        };
        while self.call(advance) == Progress::More {}
    }

    fn seen(&mut self) -> Vec<(u8, i64, i64)> {
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        seen.sort_unstable();
        seen
    }

    /// The lists that this instance saves, as another is given them.
    fn saved(&mut self, groups: KeyGroupRange) -> Vec<RestoredList> {
        let barrier = Barrier { epoch: millstream_protocol::id::Epoch(1), stopping: false };
        let lists = self.operator.save(barrier).unwrap().lists.into_iter();
        let groups = Some(groups);
        lists
            .map(|(name, items)| RestoredList { name, task: 0, parallelism: 1, groups, items })
            .collect()
    }
}

fn half(first: u16) -> KeyGroupRange {
    KeyGroupRange { start: KeyGroup(first), end: KeyGroup(first + 360) }
}

fn operator(
    size: i64,
    slide: i64,
    info: &TaskInfo,
) -> impl Operator<In = Record, Out = Out, Side = Record> + use<> {
    let fold = Aggregated::new(|record: &Record| record.1, Sum);
    Sliced::new(keys(), fold, Grid::new(size, slide, 0), 0, info)
}

/// What a task of one half of the groups saves once it has come to a watermark.
fn saved_at(task: u32, watermark: i64, (size, slide): (i64, i64)) -> Vec<RestoredList> {
    let info = TaskInfo { task: TaskIndex(task), parallelism: 2, ..info() };
    let mut rig = Rig::new(operator(size, slide, &info));
    rig.watermark(watermark);
    rig.saved(half(task as u16 * 360))
}

/// An instance restored from two tasks, the first of which had come further; with one record of 1
/// in each slice from 0 to 40 for both keys, of which a part may be long given up.
fn restored(shape: (i64, i64)) -> Rig<impl Operator<In = Record, Out = Out, Side = Record>> {
    let mut rig = Rig::new(operator(shape.0, shape.1, &info()));
    let lists = [saved_at(0, 25, shape), saved_at(1, 12, shape)].concat();
    rig.operator.restore_lists(&info(), lists).unwrap();
    let (ahead, behind) = two_keys();
    for slice in [0i64, 10, 20, 30] {
        for key in [ahead, behind] {
            let body = postcard::to_stdvec(&(slice, key, 1i64)).unwrap();
            let entry = Entry { removed: false, body: &body };
            rig.operator.states()[0].restore(entry).unwrap();
        }
    }
    rig.operator.states()[0].restored();
    rig
}

#[test]
fn a_tumbling_window_fires_for_the_key_groups_that_it_had_not_fired_for() {
    let (ahead, behind) = two_keys();
    let mut rig = restored((10, 10));
    rig.watermark(20);
    assert_eq!(rig.seen(), [(behind, 20, 1)]);
    rig.record(ahead, 5, 22);
    rig.record(behind, 7, 22);
    rig.record(ahead, 5, 15);
    rig.record(behind, 7, 15);
    rig.watermark(40);
    let mut expected = [(ahead, 30, 6), (ahead, 40, 1), (behind, 30, 8), (behind, 40, 1)];
    expected.sort_unstable();
    assert_eq!(rig.seen(), expected);
}

#[test]
fn a_hop_fires_for_the_key_groups_that_it_had_not_fired_for() {
    let (ahead, behind) = two_keys();
    let mut rig = restored((20, 10));
    rig.watermark(20);
    assert_eq!(rig.seen(), [(behind, 20, 2)]);
    rig.record(ahead, 5, 15);
    rig.record(behind, 7, 15);
    rig.watermark(30);
    let mut expected = [(ahead, 30, 2 + 5), (behind, 30, 2 + 7)];
    expected.sort_unstable();
    assert_eq!(rig.seen(), expected);
}

#[test]
fn how_far_each_range_had_come_outlives_a_second_restore() {
    let (ahead, behind) = two_keys();
    let lists = restored((10, 10)).saved(KeyGroups::default().all());
    let mut rig = Rig::new(operator(10, 10, &info()));
    rig.operator.restore_lists(&info(), lists).unwrap();
    rig.operator.states()[0].restored();
    rig.record(ahead, 5, 15);
    rig.record(behind, 7, 15);
    rig.watermark(20);
    assert_eq!(rig.seen(), [(behind, 20, 7)]);
}
