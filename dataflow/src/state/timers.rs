//! [`Timers`]: event-time and processing-time timers per key, each key and time once, fired in
//! order of time.
//!
//! Registered and fired by process functions and whatever else waits for a time. The truth is a
//! captured [`MapState`]; the order is an index over all keys of the task, built again after a
//! restore.

use std::collections::BTreeSet;

use millstream_protocol::id::Epoch;
use serde::{Deserialize, Serialize};

use super::map::Slot;
use super::{Chunk, Entry, MapState, State};
use crate::data::Key;
use crate::error::Result;
use crate::time::Timestamp;

/// Which time a timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TimerKind {
    /// The watermark passes the timer's time.
    EventTime,
    /// The clock reaches it.
    ProcessingTime,
}

/// A timer that is due.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Due<K> {
    pub(crate) hash: u64,
    pub(crate) key: K,
    pub(crate) time: Timestamp,
}

/// The timers of one operator instance.
pub(crate) struct Timers<K> {
    set: MapState<K, (TimerKind, Timestamp), ()>,
    /// Every timer of the set, by kind and time. A slot stays a key's while the key has timers.
    event: BTreeSet<(Timestamp, Slot)>,
    processing: BTreeSet<(Timestamp, Slot)>,
}

impl<K: Key> Default for Timers<K> {
    fn default() -> Self {
        Self { set: MapState::default(), event: BTreeSet::new(), processing: BTreeSet::new() }
    }
}

impl<K: Key> Timers<K> {
    fn order(&mut self, kind: TimerKind) -> &mut BTreeSet<(Timestamp, Slot)> {
        match kind {
            TimerKind::EventTime => &mut self.event,
            TimerKind::ProcessingTime => &mut self.processing,
        }
    }

    /// Sets a timer for a key. One that is set already stays as it is.
    pub(crate) fn register(&mut self, hash: u64, key: &K, kind: TimerKind, time: Timestamp) {
        if self.set.get(hash, key, &(kind, time)).is_none() {
            self.set.insert(hash, key, (kind, time), ());
            let slot = self.set.slot(hash, key).expect("it has the timer just set");
            self.order(kind).insert((time, slot));
        }
    }

    /// Takes a timer back, if it is set.
    pub(crate) fn delete(&mut self, hash: u64, key: &K, kind: TimerKind, time: Timestamp) {
        let Some(slot) = self.set.slot(hash, key) else { return };
        if self.order(kind).remove(&(time, slot)) {
            self.set.remove(hash, key, &(kind, time));
        }
    }

    /// The time of the first timer.
    pub(crate) fn first(&self, kind: TimerKind) -> Option<Timestamp> {
        let order = match kind {
            TimerKind::EventTime => &self.event,
            TimerKind::ProcessingTime => &self.processing,
        };
        order.first().map(|(time, _)| *time)
    }

    /// Takes the first timer if it is due: an event-time timer when the watermark is later than it,
    /// a processing-time timer when the clock has reached it.
    pub(crate) fn pop_due(&mut self, kind: TimerKind, now: Timestamp) -> Option<Due<K>> {
        let order = self.order(kind);
        let &(time, slot) = order.first()?;
        let is_due = match kind {
            TimerKind::EventTime => time < now,
            TimerKind::ProcessingTime => time <= now,
        };
        if !is_due {
            return None;
        }
        order.pop_first();
        let (hash, key) = self.set.key_at(slot);
        let key = key.clone();
        self.set.remove(hash, &key, &(kind, time));
        Some(Due { hash, key, time })
    }
}

impl<K: Key> State for Timers<K> {
    fn can_delta(&self) -> bool {
        self.set.can_delta()
    }

    fn len(&self) -> usize {
        self.set.len()
    }

    fn begin(&mut self, epoch: Epoch, full: bool) {
        self.set.begin(epoch, full);
    }

    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>> {
        self.set.scan(budget)
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        self.set.settled(epoch, published);
    }

    fn restore(&mut self, entry: Entry<'_>) -> Result<()> {
        self.set.restore(entry)
    }

    fn restored(&mut self) {
        self.set.restored();
        for place in 0..self.set.slots() {
            let Some((slot, entries)) = self.set.entries_at(place) else { continue };
            for ((kind, time), ()) in entries {
                match kind {
                    TimerKind::EventTime => self.event.insert((*time, slot)),
                    TimerKind::ProcessingTime => self.processing.insert((*time, slot)),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: TimerKind = TimerKind::EventTime;
    const CLOCK: TimerKind = TimerKind::ProcessingTime;

    #[test]
    fn timers_fire_once_each_in_order_of_time() {
        let mut timers = Timers::default();
        for (key, time) in [(1u32, 30), (2, 10), (1, 20), (2, 10), (3, 10)] {
            timers.register(u64::from(key), &key, EVENT, Timestamp(time));
        }
        timers.register(1, &1, CLOCK, Timestamp(20));
        timers.delete(3, &3, EVENT, Timestamp(10));
        timers.delete(3, &3, EVENT, Timestamp(11));
        assert_eq!(timers.pop_due(EVENT, Timestamp(10)), None);
        let due: Vec<_> = std::iter::from_fn(|| timers.pop_due(EVENT, Timestamp(30))).collect();
        let due: Vec<_> = due.into_iter().map(|due| (due.key, due.time.0)).collect();
        assert_eq!(due, [(2, 10), (1, 20)]);
        assert_eq!(timers.first(EVENT), Some(Timestamp(30)));
        let clock = Due { hash: 1, key: 1, time: Timestamp(20) };
        assert_eq!(timers.pop_due(CLOCK, Timestamp(20)), Some(clock));
        assert_eq!(timers.len(), 1);
    }

    #[test]
    fn the_order_is_built_again_from_what_was_captured() {
        let mut timers = Timers::default();
        for time in 0..100 {
            timers.register(7, &7u64, if time % 2 == 0 { EVENT } else { CLOCK }, Timestamp(time));
        }
        timers.set.begin(Epoch(1), true);
        let chunk = timers.set.scan_entries(&mut 1000).unwrap();
        let mut again: Timers<u64> = Timers::default();
        for entry in &chunk.entries {
            let body = postcard::to_stdvec(entry).unwrap();
            again.restore(Entry { removed: false, body: &body }).unwrap();
        }
        again.restored();
        let due: Vec<_> = std::iter::from_fn(|| again.pop_due(CLOCK, Timestamp(9))).collect();
        assert_eq!(due.iter().map(|due| due.time.0).collect::<Vec<_>>(), [1, 3, 5, 7, 9]);
    }
}
