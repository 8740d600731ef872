//! [`ProcessContext`]: what a process function sees: its key, the times, its states and timers, its
//! outputs.

use super::TimerKind;
use super::declare::{List, Map, Value};
use super::handles::{ListRef, MapRef};
use super::store::AnyState;
use crate::data::{Data, Key};
use crate::error::Result;
use crate::operator::Context;
use crate::state::{ExpiringValue, Timers};
use crate::task::TaskInfo;
use crate::time::Timestamp;

/// A timer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The time it was set to.
    pub time: Timestamp,
    /// Which time it waited for.
    pub kind: TimerKind,
}

/// What a process function sees while it runs for one key: of type `K`. It puts out records of type
/// `O`, and of type `S` at its side output, `()` if it has none.
///
/// State is that of the key alone. A handle serves the process function that declared it; another's
/// panics.
pub struct ProcessContext<'a, K, O, S = ()> {
    pub(super) key: &'a K,
    pub(super) hash: u64,
    pub(super) time: Timestamp,
    pub(super) engine: Context<'a, O, S>,
    pub(super) states: &'a mut [Box<dyn AnyState<K>>],
    pub(super) timers: &'a mut Timers<K>,
}

/// The state behind a handle.
pub(super) fn state_of<K, X: 'static>(states: &mut [Box<dyn AnyState<K>>], index: usize) -> &mut X {
    let state = states.get_mut(index).and_then(|state| state.any().downcast_mut());
    state.expect("a state handle is used by the process function that declared it")
}

impl<K: Key, O: Data, S: Data> ProcessContext<'_, K, O, S> {
    /// The key.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The event time of the record, [`Timestamp::MIN`] where it has none; in an event-time timer,
    /// the timer's time; in a processing-time timer, the watermark.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// The watermark: no record with a smaller time will come.
    pub fn watermark(&self) -> Timestamp {
        self.engine.watermark_of(self.hash)
    }

    /// Processing time, read once per step of the task; never falls within a run.
    pub fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// Which operator instance this is.
    pub fn info(&self) -> &TaskInfo {
        self.engine.info()
    }

    /// Puts a record out, with the time of [`Self::time`].
    pub fn emit(&mut self, record: O) -> Result<()> {
        self.engine.emit(record, self.time)
    }

    /// Puts a record out with a time of its own. One before the watermark is late for what comes
    /// behind.
    pub fn emit_at(&mut self, record: O, time: Timestamp) -> Result<()> {
        self.engine.emit(record, time)
    }

    /// Puts a record out at the side output, with the time of [`Self::time`].
    pub fn emit_side(&mut self, record: S) -> Result<()> {
        self.engine.emit_side(record, self.time)
    }

    fn value<V: Data>(&mut self, value: Value<V>) -> &mut ExpiringValue<K, V> {
        state_of(self.states, value.0)
    }

    /// The value of this key, if it has one.
    pub fn get<V: Data>(&mut self, value: &Value<V>) -> Option<&V> {
        let (hash, key, now) = (self.hash, self.key, self.now());
        self.value(*value).get(hash, key, now)
    }

    /// The value of this key, to write to, if it has one.
    pub fn get_mut<V: Data>(&mut self, value: &Value<V>) -> Option<&mut V> {
        let (hash, key, now) = (self.hash, self.key, self.now());
        self.value(*value).get_mut(hash, key, now)
    }

    /// The value of this key, to write to; made by `init` where there is none.
    pub fn get_or_insert_with<V: Data>(
        &mut self,
        value: &Value<V>,
        init: impl FnOnce() -> V,
    ) -> &mut V {
        let (hash, key, now) = (self.hash, self.key, self.now());
        self.value(*value).get_or_insert_with(hash, key, now, init)
    }

    /// Sets the value of this key.
    pub fn set<V: Data>(&mut self, value: &Value<V>, to: V) {
        let (hash, key, now) = (self.hash, self.key, self.now());
        self.value(*value).set(hash, key, now, to);
    }

    /// Takes the value of this key away.
    pub fn clear<V: Data>(&mut self, value: &Value<V>) {
        let (hash, key) = (self.hash, self.key);
        self.value(*value).clear(hash, key);
    }

    /// The list of this key.
    pub fn list<V: Data>(&mut self, list: &List<V>) -> ListRef<'_, K, V> {
        let (hash, key, now) = (self.hash, self.key, self.now());
        ListRef { hash, key, now, list: state_of(self.states, list.0) }
    }

    /// The map of this key.
    pub fn map<A: Data + Ord, B: Data>(&mut self, map: &Map<A, B>) -> MapRef<'_, K, A, B> {
        let (hash, key, now) = (self.hash, self.key, self.now());
        MapRef { hash, key, now, map: state_of(self.states, map.0) }
    }

    /// Sets a timer for this key in event time: it fires when the watermark is later than `time`.
    /// Setting it again changes nothing. A time that has passed fires with the next watermark.
    ///
    /// At the end of a bounded stream the watermark is [`Timestamp::MAX`] and every timer fires;
    /// one that sets a next one each time should then stop, or it fires for ever.
    pub fn set_timer(&mut self, time: Timestamp) {
        self.timers.register(self.hash, self.key, TimerKind::EventTime, time);
    }

    /// Takes back an event-time timer of this key, if it is set.
    pub fn delete_timer(&mut self, time: Timestamp) {
        self.timers.delete(self.hash, self.key, TimerKind::EventTime, time);
    }

    /// Sets a timer for this key in processing time: it fires when the clock reaches `time`, and if
    /// that passed while the job was down, before any record. When the stream ends, those not due
    /// are dropped.
    pub fn set_processing_timer(&mut self, time: Timestamp) {
        self.timers.register(self.hash, self.key, TimerKind::ProcessingTime, time);
    }

    /// Takes back a processing-time timer of this key, if it is set.
    pub fn delete_processing_timer(&mut self, time: Timestamp) {
        self.timers.delete(self.hash, self.key, TimerKind::ProcessingTime, time);
    }
}
