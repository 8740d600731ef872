//! Global windows: one per key, without bounds; a [`Trigger`] says when its result is put out.
//!
//! Built by [`super::kind`]. State: the accumulator of each key, what its trigger keeps, and its
//! timer. Invariant: a key's timer stands in [`Due`].

use std::marker::PhantomData;
use std::mem;

use millstream_protocol::key_hash::key_hash;
use serde::{Deserialize, Serialize};

use super::Window;
use super::due::Due;
use super::fold::Fold;
use crate::batch::Batch;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::{Context, Operator, Progress};
use crate::snapshot::RestoredList;
use crate::state::{Shape, State, TableState};
use crate::stream::SelectKeys;
use crate::task::TaskInfo;
use crate::time::Timestamp;

const PREFETCH_RECORDS: usize = 16;
/// Timers that fire before a call ends: some 200 us.
const WORK_KEYS: usize = 2048;

/// What a trigger decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fire {
    /// Nothing yet.
    Continue,
    /// Put the result out, and go on gathering.
    Fire,
    /// Put the result out, then forget the key: its records, its timer, the trigger's state.
    FireAndPurge,
    /// Forget the key.
    Purge,
}

/// Says when the global window of a key puts its result out.
///
/// ```
/// # use millstream_dataflow::window::{Fire, Global, Trigger, TriggerContext};
/// /// Fires when a record says so.
/// #[derive(Clone)]
/// struct AtMarks;
/// impl Trigger<Option<u32>> for AtMarks {
///     type State = ();
///     fn on_record(&self, record: &Option<u32>, _: &mut TriggerContext<'_, ()>) -> Fire {
///         if record.is_none() { Fire::FireAndPurge } else { Fire::Continue }
///     }
/// }
/// let windows = Global::with(AtMarks);
/// ```
pub trait Trigger<T>: Clone + Send + 'static {
    /// What it keeps per key; `()` if nothing.
    type State: Data + Default;

    /// A record was added to the window.
    fn on_record(&self, record: &T, ctx: &mut TriggerContext<'_, Self::State>) -> Fire;

    /// The watermark has passed the timer that was set.
    fn on_timer(&self, ctx: &mut TriggerContext<'_, Self::State>) -> Fire {
        let _ = ctx;
        Fire::Fire
    }
}

/// What a trigger sees and keeps of a key.
pub struct TriggerContext<'a, S> {
    /// What it keeps.
    pub state: &'a mut S,
    /// The event time of the record, or the time of the timer.
    pub time: Timestamp,
    timer: &'a mut Option<Timestamp>,
}

impl<S> TriggerContext<'_, S> {
    /// Asks for a call when the watermark is larger than this time. A key has one timer: this one
    /// takes the place of another.
    pub fn set_timer(&mut self, time: Timestamp) {
        *self.timer = Some(time);
    }

    /// Takes the timer back.
    pub fn clear_timer(&mut self) {
        *self.timer = None;
    }

    /// The timer that is set.
    pub fn timer(&self) -> Option<Timestamp> {
        *self.timer
    }
}

/// A key and its window, as snapshots keep them.
pub(super) struct PerKey<K, S>(PhantomData<(K, S)>);

impl<K: Key, S: Data> Shape for PerKey<K, S> {
    type Entry<V: Data> = (K, Gathered<V, S>);

    fn map<V: Data, W: Data>(
        (key, gathered): (K, Gathered<V, S>),
        to: impl Fn(V) -> W,
    ) -> (K, Gathered<W, S>) {
        let Gathered { acc, first, last, trigger, timer } = gathered;
        (key, Gathered { acc: to(acc), first, last, trigger, timer })
    }
}

/// The window of one key.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Gathered<A, S> {
    acc: A,
    first: Timestamp,
    last: Timestamp,
    trigger: S,
    timer: Option<Timestamp>,
}

pub(super) struct Globals<K: Key, T, F: Fold<K, T>, G: Trigger<T>> {
    keys: Box<dyn SelectKeys<K, T>>,
    scratch: Vec<K>,
    fold: F,
    trigger: G,
    table: TableState<K, Gathered<F::Acc, G::State>>,
    due: Due<K>,
    /// `due` is to be made from the restored table.
    restored: bool,
}

impl<K: Key, T: Data, F: Fold<K, T>, G: Trigger<T>> Globals<K, T, F, G> {
    pub(super) fn new(keys: Box<dyn SelectKeys<K, T>>, fold: F, trigger: G) -> Self {
        let (scratch, table) = (Vec::new(), TableState::in_memory());
        Self { keys, scratch, fold, trigger, table, due: Due::default(), restored: false }
    }

    fn note_restored(&mut self) -> Result<()> {
        if mem::take(&mut self.restored) {
            for (key, gathered) in self.table.iter() {
                if let Some(time) = gathered.timer {
                    self.due.add(time.0, key_hash(key)?, key.clone());
                }
            }
        }
        Ok(())
    }

    fn on_record(
        &mut self,
        ctx: &mut Context<'_, F::Out>,
        (hash, key, time): (u64, K, Timestamp),
        record: T,
    ) -> Result<()> {
        let gathered = self.table.entry(hash, key.clone(), || Gathered {
            acc: self.fold.zero(),
            first: time,
            last: time,
            trigger: G::State::default(),
            timer: None,
        });
        let before = gathered.timer;
        let (state, timer) = (&mut gathered.trigger, &mut gathered.timer);
        let fire = self.trigger.on_record(&record, &mut TriggerContext { state, time, timer });
        self.fold.add(&mut gathered.acc, record);
        gathered.first = gathered.first.min(time);
        gathered.last = gathered.last.max(time);
        self.act(ctx, fire, before, (hash, key))
    }

    fn on_timer(
        &mut self,
        ctx: &mut Context<'_, F::Out>,
        (due, hash, key): (i64, u64, K),
    ) -> Result<()> {
        let time = Timestamp(due);
        if self.table.get(hash, &key).is_none_or(|gathered| gathered.timer != Some(time)) {
            return Ok(());
        }
        let Some(gathered) = self.table.get_mut(hash, &key) else { return Ok(()) };
        gathered.timer = None;
        let (state, timer) = (&mut gathered.trigger, &mut gathered.timer);
        let fire = self.trigger.on_timer(&mut TriggerContext { state, time, timer });
        self.act(ctx, fire, None, (hash, key))
    }

    fn act(
        &mut self,
        ctx: &mut Context<'_, F::Out>,
        fire: Fire,
        timer_before: Option<Timestamp>,
        (hash, key): (u64, K),
    ) -> Result<()> {
        let Some(gathered) = self.table.get(hash, &key) else { return Ok(()) };
        if matches!(fire, Fire::Fire | Fire::FireAndPurge) {
            let end = gathered.last.saturating_add(1);
            let window = Window { start: gathered.first, end };
            self.fold.emit(ctx, &key, window, &gathered.acc)?;
        }
        if matches!(fire, Fire::Purge | Fire::FireAndPurge) {
            self.table.remove(hash, &key);
        } else if let Some(time) = gathered.timer.filter(|_| gathered.timer != timer_before) {
            self.due.add(time.0, hash, key);
        }
        Ok(())
    }
}

impl<K: Key, T: Data, F: Fold<K, T>, G: Trigger<T>> Operator for Globals<K, T, F, G> {
    type In = T;
    type Out = F::Out;
    type Side = ();

    fn on_batch(&mut self, ctx: &mut Context<'_, F::Out>, batch: Batch<T>) -> Result<()> {
        self.note_restored()?;
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

    fn on_watermark(&mut self, ctx: &mut Context<'_, F::Out>, time: Timestamp) -> Result<Progress> {
        self.note_restored()?;
        for _ in 0..WORK_KEYS {
            if ctx.is_blocked() {
                return Ok(Progress::More);
            }
            // A timer fires when the watermark is larger than its time.
            match self.due.pop(time.0.saturating_sub(1)) {
                Some(due) => self.on_timer(ctx, due)?,
                None => return Ok(Progress::Done),
            }
        }
        Ok(Progress::More)
    }

    fn states(&mut self) -> Vec<&mut dyn State> {
        vec![&mut self.table]
    }

    fn restore_lists(&mut self, _: &TaskInfo, _: Vec<RestoredList>) -> Result<()> {
        self.restored = true;
        Ok(())
    }
}
