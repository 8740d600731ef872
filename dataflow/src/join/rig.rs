//! For tests: one instance of a join without an engine, so that a snapshot can cut it anywhere.

use std::sync::{Arc, Mutex};

use millstream_protocol::id::{Epoch, TaskIndex};
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::key_hash::key_hash;

use super::script::Record;
use crate::batch::Batch;
use crate::connector::collection::Collection;
use crate::error::Result;
use crate::operator::{Context, Output, Progress, TwoInputs};
use crate::snapshot::{EncoderSpec, Restore, RestoredList, encoder};
use crate::state::{Buckets, entries};
use crate::stream::{Job, JobSettings, SelectKeys};
use crate::task::{Barrier, Control, Counters, Node, Step, TaskInfo};
use crate::time::Timestamp;

/// The key function of [`Record`]s.
pub(super) fn keys() -> Box<dyn SelectKeys<u32, Record>> {
    let job = Job::new(JobSettings::default());
    let records = job.source("records", Collection::of(Vec::<Record>::new()));
    records.key_by(|record| record.0).key
}

type Shown<T> = Arc<Mutex<Vec<(T, Timestamp)>>>;

/// An output that notes what comes.
struct Show<T>(Shown<T>);

impl<T: Send> Control for Show<T> {
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

    fn settled(&mut self, _: Epoch, _: bool) {}

    fn restore(&mut self, _: &Restore) -> Result<()> {
        Ok(())
    }
}

impl<T: Send> Node<T> for Show<T> {
    fn batch(&mut self, _: &mut Step, batch: Batch<T>) -> Result<()> {
        self.0.lock().unwrap().extend(batch.into_timed());
        Ok(())
    }
}

/// What a snapshot of an instance holds.
#[derive(Clone, Default)]
pub(super) struct Kept {
    lists: Vec<(String, Vec<Vec<u8>>)>,
    /// The bytes of each state, older captures before newer ones.
    states: Vec<Vec<Vec<u8>>>,
    info: Option<TaskInfo>,
}

/// One instance of a join.
pub(super) struct Rig<P: TwoInputs> {
    pub(super) operator: P,
    pub(super) info: TaskInfo,
    step: Step,
    out: Output<P::Out>,
    side: Output<P::Side>,
    shown: Shown<P::Out>,
    epoch: u64,
}

/// Who task `task` of `parallelism` is.
pub(super) fn info(task: u32, parallelism: u32) -> TaskInfo {
    TaskInfo {
        operator: "join".into(),
        task: TaskIndex(task),
        parallelism,
        key_groups: KeyGroups::default(),
        counters: Arc::new(Counters::default()),
    }
}

impl<P: TwoInputs> Rig<P> {
    pub(super) fn new(operator: P, info: TaskInfo) -> Self {
        let (encoder, _) = encoder(EncoderSpec::default(), |_, _| {});
        let shown = Shown::default();
        Self {
            operator,
            info,
            step: Step::new(encoder),
            out: Output::new(Box::new(Show(shown.clone()))),
            side: Output::new(Box::new(Show(Shown::default()))),
            shown,
            epoch: 0,
        }
    }

    fn with<T>(&mut self, call: impl FnOnce(&mut P, &mut Context<'_, P::Out, P::Side>) -> T) -> T {
        let mut ctx = Context {
            step: &mut self.step,
            out: &mut self.out,
            side: &mut self.side,
            info: &self.info,
            watermark: Timestamp::MIN,
            floors: &[],
        };
        let result = call(&mut self.operator, &mut ctx);
        self.out.flush(&mut self.step).unwrap();
        result
    }

    /// Records of the left side, as key, record and time.
    pub(super) fn left(&mut self, records: Vec<(u32, P::In, i64)>) {
        let batch = batch(records);
        self.with(|operator, ctx| operator.on_batch(ctx, batch)).unwrap();
    }

    pub(super) fn right(&mut self, records: Vec<(u32, P::Right, i64)>) {
        let batch = batch(records);
        self.with(|operator, ctx| operator.on_right(ctx, batch)).unwrap();
    }

    /// One call for a watermark; whether it is done.
    pub(super) fn watermark(&mut self, time: i64) -> bool {
        let progress = self.with(|operator, ctx| operator.on_watermark(ctx, Timestamp(time)));
        progress.unwrap() == Progress::Done
    }

    /// What was put out since the last call.
    pub(super) fn shown(&mut self) -> Vec<(P::Out, Timestamp)> {
        std::mem::take(&mut *self.shown.lock().unwrap())
    }

    pub(super) fn late(&self) -> u64 {
        self.info.counters.late.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A snapshot, published at once: a full one, or on top of those in `kept`.
    pub(super) fn cut(&mut self, kept: Option<&Kept>) -> Kept {
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        let barrier = Barrier { epoch, stopping: false };
        let full = kept.is_none();
        let mut kept = kept.cloned().unwrap_or_default();
        kept.lists = self.operator.save(barrier).unwrap().lists;
        kept.info = Some(self.info.clone());
        let groups = self.info.key_groups;
        let mut states = self.operator.states();
        kept.states.resize(states.len(), Vec::new());
        for (state, bytes) in states.iter_mut().zip(&mut kept.states) {
            assert!(full || state.can_delta());
            state.begin(epoch, full);
            let mut buckets = Buckets::new(groups);
            while let Some(chunk) = state.scan(&mut 100) {
                chunk.encode(&mut buckets).unwrap();
            }
            bytes.extend(buckets.into_groups().map(|(_, bytes)| bytes));
        }
        for state in &mut states {
            state.settled(epoch, true);
        }
        kept
    }

    /// Takes back this instance's share of what others kept.
    pub(super) fn restore(&mut self, kept: &[Kept]) {
        let own = self.info.groups();
        let mut lists = Vec::new();
        for kept in kept {
            let its = kept.info.as_ref().unwrap();
            for (name, items) in &kept.lists {
                let groups = its.groups().intersect(own);
                let (name, items) = (name.clone(), items.clone());
                let (task, parallelism) = (its.task.0, its.parallelism);
                lists.push(RestoredList { name, task, parallelism, groups, items });
            }
        }
        let info = self.info.clone();
        self.operator.restore_lists(&info, lists).unwrap();
        for (place, state) in self.operator.states().into_iter().enumerate() {
            for bytes in kept.iter().flat_map(|kept| &kept.states[place]) {
                for entry in entries(bytes) {
                    let entry = entry.unwrap();
                    // Every state of a join keeps its key in front.
                    let key: u32 = postcard::take_from_bytes(entry.body).unwrap().0;
                    if own.contains(info.key_groups.of_hash(key_hash(&key).unwrap())) {
                        state.restore(entry).unwrap();
                    }
                }
            }
            state.restored();
        }
    }
}

fn batch<T>(records: Vec<(u32, T, i64)>) -> Batch<T> {
    let times = records.iter().map(|(_, _, time)| Timestamp(*time)).collect();
    let hashes = records.iter().map(|(key, _, _)| key_hash(key).unwrap()).collect();
    Batch { records: records.into_iter().map(|(_, record, _)| record).collect(), times, hashes }
}
