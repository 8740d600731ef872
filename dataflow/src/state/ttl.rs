//! [`Ttl`]: when a state's entries expire, by processing time. [`Lived`] is an entry with what that
//! needs.
//!
//! Used by [`super::expiring`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{Timestamp, millis};

/// When entries of a state expire: after so much processing time without a write, or without any
/// use.
///
/// An expired entry is never seen again. Its memory is freed when it is next looked for, or by a
/// sweep in the background within about a quarter of the time to live more. Entries of lists and
/// maps expire one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    after_ms: i64,
    on_read: bool,
}

impl Ttl {
    /// Entries expire when they have not been written to for this long; whole milliseconds, at
    /// least one.
    pub fn after_write(time: Duration) -> Self {
        Self { after_ms: millis(time).max(1), on_read: false }
    }

    /// Entries expire when they have been neither written to nor read for this long; whole
    /// milliseconds, at least one. Each read counts as a change in incremental snapshots.
    pub fn after_use(time: Duration) -> Self {
        Self { on_read: true, ..Self::after_write(time) }
    }

    /// Whether a read prolongs the life of an entry.
    pub(super) fn on_read(self) -> bool {
        self.on_read
    }

    /// Whether an entry is expired. One that was written before the state had a time to live is
    /// not.
    #[inline]
    pub(super) fn is_over<V>(self, entry: &Lived<V>, now: Timestamp) -> bool {
        entry.touched != NEVER && now.0.saturating_sub(entry.touched) >= self.after_ms
    }

    /// The pause between two sweeps.
    fn pause_ms(self) -> i64 {
        (self.after_ms / 4).clamp(SWEEP_PAUSE_MIN_MS, SWEEP_PAUSE_MAX_MS)
    }
}

/// Sweeps are at least this far apart: one walks the whole state.
const SWEEP_PAUSE_MIN_MS: i64 = 1000;
/// And at most this far, so that the memory of a state with a long life is not held for days more.
const SWEEP_PAUSE_MAX_MS: i64 = 3_600_000;

/// The mark of entries written while their state had no time to live.
const NEVER: i64 = 0;

/// What is written down of a time: never [`NEVER`].
fn mark(now: Timestamp) -> i64 {
    now.0.max(NEVER + 1)
}

/// An entry, and the processing time in milliseconds at which it was last written, or used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lived<V> {
    touched: i64,
    pub(super) value: V,
}

impl<V> Lived<V> {
    pub(super) fn new(ttl: Option<Ttl>, value: V, now: Timestamp) -> Self {
        Self { touched: if ttl.is_some() { mark(now) } else { NEVER }, value }
    }

    /// The same age, with another value.
    pub(super) fn map<W>(self, to: impl FnOnce(V) -> W) -> Lived<W> {
        Lived { touched: self.touched, value: to(self.value) }
    }

    #[inline]
    pub(super) fn touch(&mut self, ttl: Option<Ttl>, now: Timestamp) {
        if ttl.is_some() {
            self.touched = mark(now);
        }
    }

    /// Whether a use at this time must be written down.
    pub(super) fn is_touched_at(&self, now: Timestamp) -> bool {
        self.touched == mark(now)
    }

    /// Whether it has no time of its last use, which a sweep then gives it.
    pub(super) fn is_ageless(&self) -> bool {
        self.touched == NEVER
    }
}

/// Where the walk in search of expired entries stands.
#[derive(Debug)]
pub(super) struct Sweep<P> {
    /// The place to go on from; `None` between walks.
    pub(super) at: Option<P>,
    next: Timestamp,
}

impl<P> Default for Sweep<P> {
    fn default() -> Self {
        Self { at: None, next: Timestamp::MIN }
    }
}

impl<P: Default> Sweep<P> {
    /// The place to go on from, if it is time to walk.
    pub(super) fn due(&mut self, ttl: Ttl, now: Timestamp) -> Option<P> {
        if self.next == Timestamp::MIN {
            self.next = now.saturating_add(ttl.pause_ms());
        }
        match self.at.take() {
            None if now >= self.next => Some(P::default()),
            at => at,
        }
    }

    /// Notes that the walk is through.
    pub(super) fn is_through(&mut self, ttl: Ttl, now: Timestamp) {
        self.at = None;
        self.next = now.saturating_add(ttl.pause_ms());
    }

    /// When to go on.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        if self.at.is_some() { now } else { self.next }
    }
}
