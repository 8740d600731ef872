//! [`KeyedProcess`]: the operator that runs users' process functions. Fires their timers, frees
//! their expired state.

use std::mem;

use super::context::{ProcessContext, Timer};
use super::declare::States;
use super::store::AnyState;
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::{Error, Result};
use crate::operator::show::show;
use crate::operator::{Context, Operator, Progress, Saved, TwoInputs};
use crate::snapshot::RestoredList;
use crate::state::{State, StateTypes, TimerKind, Timers};
use crate::stream::{KeyedStream, SelectKeys};
use crate::task::{Barrier, TaskInfo};
use crate::time::Timestamp;

/// Records whose state is fetched together, ahead of those at work: one call per state for all of
/// them.
const PREFETCH_RECORDS: usize = 16;
/// Timers fired before the task sees to captures and to its output again.
const TIMERS_PER_CALL: usize = 4096;
/// Slots that one step looks at for expired entries: some 30 us of work.
const SWEEP_SLOTS: usize = 4096;

/// A process function and its states, as the operator calls it.
pub(super) trait Handlers<K: Key, T: Data>: Clone + Send + 'static {
    type Out: Data;
    type Side: Data;
    /// What every task holds alike: the broadcast state.
    type Shared: Default + Send + 'static;
    /// What arrives at the second input.
    type Right: Data;

    fn on_record(
        &self,
        shared: &Self::Shared,
        record: T,
        cx: &mut ProcessContext<'_, K, Self::Out, Self::Side>,
    ) -> Result<()>;

    fn on_timer(
        &self,
        shared: &Self::Shared,
        timer: Timer,
        cx: &mut ProcessContext<'_, K, Self::Out, Self::Side>,
    ) -> Result<()>;

    fn on_right(&self, shared: &mut Self::Shared, record: Self::Right) -> Result<()>;

    fn save(&self, shared: &Self::Shared, info: &TaskInfo) -> Result<Saved> {
        let _ = (shared, info);
        Ok(Saved::default())
    }

    fn restore(&self, shared: &mut Self::Shared, lists: Vec<RestoredList>) -> Result<()> {
        let _ = (shared, lists);
        Ok(())
    }
}

/// A process function at work on one task.
pub(super) struct KeyedProcess<K: Key, T: Data, H: Handlers<K, T>> {
    keys: Box<dyn SelectKeys<K, T>>,
    scratch: Vec<K>,
    handlers: H,
    shared: H::Shared,
    states: Vec<Box<dyn AnyState<K>>>,
    timers: Timers<K>,
    info: TaskInfo,
}

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// What the plan says of a process function's states, and what makes its operator.
    #[track_caller]
    pub(super) fn operator<H: Handlers<K, T>>(
        &self,
        id: &str,
        states: States<K>,
        handlers: H,
    ) -> (StateTypes, impl Fn(&TaskInfo) -> Result<KeyedProcess<K, T, H>> + 'static) {
        states.check(id, &self.stream);
        let keys = self.key.clone_box();
        let types = states.types();
        let make = move |info: &TaskInfo| {
            Ok(KeyedProcess {
                keys: keys.clone_box(),
                scratch: Vec::new(),
                handlers: handlers.clone(),
                shared: H::Shared::default(),
                states: states.make(),
                timers: Timers::default(),
                info: info.clone(),
            })
        };
        (types, make)
    }
}

type Ctx<'a, K, T, H> = Context<'a, <H as Handlers<K, T>>::Out, <H as Handlers<K, T>>::Side>;

impl<K: Key, T: Data, H: Handlers<K, T>> KeyedProcess<K, T, H> {
    /// Fires what is due; whether all that was due has fired.
    fn fire(
        &mut self,
        ctx: &mut Ctx<'_, K, T, H>,
        kind: TimerKind,
        now: Timestamp,
    ) -> Result<Progress> {
        for _ in 0..TIMERS_PER_CALL {
            let Some(due) = self.timers.pop_due(kind, now) else { return Ok(Progress::Done) };
            let time = match kind {
                TimerKind::EventTime => due.time,
                TimerKind::ProcessingTime => ctx.watermark_of(due.hash),
            };
            let mut cx = ProcessContext {
                key: &due.key,
                hash: due.hash,
                time,
                engine: ctx.lend(),
                states: &mut self.states,
                timers: &mut self.timers,
            };
            let timer = Timer { time: due.time, kind };
            let fired = self.handlers.on_timer(&self.shared, timer, &mut cx);
            fired.map_err(|error| at_key(error, &due.key))?;
            if ctx.is_blocked() {
                break;
            }
        }
        Ok(Progress::More)
    }

    /// Asks to be called when the first processing-time timer is due.
    fn wake_for_timer(&self, ctx: &mut Ctx<'_, K, T, H>) {
        if let Some(first) = self.timers.first(TimerKind::ProcessingTime) {
            ctx.wake_by(first);
        }
    }

    fn prefetch(&self, hashes: &[u64]) {
        for state in &self.states {
            state.prefetch(hashes);
        }
    }
}

#[cold]
fn at_key(error: Error, key: &impl Key) -> Error {
    error.context(format!("key {}", show(key)))
}

impl<K: Key, T: Data, H: Handlers<K, T>> Operator for KeyedProcess<K, T, H> {
    type In = T;
    type Out = H::Out;
    type Side = H::Side;

    fn on_batch(&mut self, ctx: &mut Ctx<'_, K, T, H>, batch: Batch<T>) -> Result<()> {
        let mut keys = mem::take(&mut self.scratch);
        self.keys.keys(&batch.records, &mut keys);
        let Batch { records, times, hashes } = batch;
        for (index, record) in records.into_iter().enumerate() {
            if index % PREFETCH_RECORDS == 0 {
                let ahead = hashes.len().min(index + 2 * PREFETCH_RECORDS);
                let from = if index == 0 { 0 } else { ahead.min(index + PREFETCH_RECORDS) };
                self.prefetch(&hashes[from..ahead]);
            }
            let mut cx = ProcessContext {
                key: &keys[index],
                hash: hashes[index],
                time: times.get(index).copied().unwrap_or(Timestamp::MIN),
                engine: ctx.lend(),
                states: &mut self.states,
                timers: &mut self.timers,
            };
            let done = self.handlers.on_record(&self.shared, record, &mut cx);
            done.map_err(|error| at_key(error, &keys[index]))?;
        }
        keys.clear();
        self.scratch = keys;
        self.wake_for_timer(ctx);
        Ok(())
    }

    fn on_watermark(&mut self, ctx: &mut Ctx<'_, K, T, H>, time: Timestamp) -> Result<Progress> {
        let progress = self.fire(ctx, TimerKind::EventTime, time)?;
        self.wake_for_timer(ctx);
        Ok(progress)
    }

    fn on_tick(&mut self, ctx: &mut Ctx<'_, K, T, H>) -> Result<Progress> {
        let now = ctx.now();
        let progress = self.fire(ctx, TimerKind::ProcessingTime, now)?;
        self.wake_for_timer(ctx);
        let mut budget = SWEEP_SLOTS;
        for state in &mut self.states {
            let next = state.sweep(now, &mut budget)?;
            ctx.wake_by(next);
        }
        Ok(progress)
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        let states = self.states.iter_mut().map(|state| state.state());
        let mut states: Vec<&mut dyn State> = states.collect();
        states.push(&mut self.timers);
        states
    }

    fn save(&mut self, _: Barrier) -> Result<Saved> {
        self.handlers.save(&self.shared, &self.info)
    }

    fn restore_lists(&mut self, _: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        self.handlers.restore(&mut self.shared, lists)
    }
}

impl<K: Key, T: Data, H: Handlers<K, T>> TwoInputs for KeyedProcess<K, T, H> {
    type Right = H::Right;

    fn on_right(&mut self, _: &mut Ctx<'_, K, T, H>, batch: Batch<H::Right>) -> Result<()> {
        let mut records = batch.records.into_iter();
        records.try_for_each(|record| self.handlers.on_right(&mut self.shared, record))
    }
}
