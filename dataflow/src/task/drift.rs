//! [`Drift`]: how far the sources of a worker have come, and how far ahead of the slowest each may
//! be.
//!
//! Made by [`crate::engine`] with a [`Seat`] for each source task; told by [`super::hold`] where
//! its splits stand, and by the worker where those of other workers do. Invariant: who waits is
//! woken when the smallest watermark has come to where it may go on.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use millstream_protocol::drift::Marks;

use super::Doorbell;
use crate::time::Timestamp;

/// How far the sources of a worker have come.
pub(crate) struct Drift {
    max_ms: i64,
    slots: Box<[Slot]>,
    /// How many slots have been given away.
    taken: AtomicUsize,
    /// The sources of other workers, as of when they were last told of. Locked once per poll.
    others: Mutex<Marks>,
}

/// What one source task says.
struct Slot {
    /// Its watermark: MIN while it has none, MAX where it holds nobody back.
    watermark: AtomicI64,
    /// The smallest watermark that a split of it began with; MAX before that.
    first: AtomicI64,
    /// It waits for the smallest watermark to come so far; MAX where it does not wait.
    waits_for: AtomicI64,
    doorbell: OnceLock<Doorbell>,
}

/// How far splits may be read, as a watermark: a split that is further is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// By the sources of this worker, as they stand now.
    pub(super) own: Timestamp,
    /// By those of others, as they stood a moment ago.
    pub(super) others: Timestamp,
}

impl Drift {
    /// For so many source tasks; `others` are those of other workers.
    pub(crate) fn new(max_ms: i64, tasks: usize, others: Marks) -> Arc<Self> {
        // A slot that nobody has taken holds nobody back.
        let slot = || Slot {
            watermark: AtomicI64::new(i64::MAX),
            first: AtomicI64::new(i64::MAX),
            waits_for: AtomicI64::new(i64::MAX),
            doorbell: OnceLock::new(),
        };
        let slots = (0..tasks).map(|_| slot()).collect();
        Arc::new(Self { max_ms, slots, taken: AtomicUsize::new(0), others: Mutex::new(others) })
    }

    /// The place of a source task, which has no watermark yet.
    pub(crate) fn seat(self: &Arc<Self>, doorbell: Doorbell) -> Option<Seat> {
        let at = self.taken.fetch_add(1, Ordering::Relaxed);
        let slot = self.slots.get(at)?;
        let _ = slot.doorbell.set(doorbell);
        slot.watermark.store(i64::MIN, Ordering::SeqCst);
        Some(Seat { drift: self.clone(), at })
    }

    /// How far the sources here have come.
    pub(crate) fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        for slot in &self.slots {
            let of = |it: &AtomicI64| Some(it.load(Ordering::SeqCst)).filter(|it| *it != i64::MAX);
            let watermark = of(&slot.watermark);
            marks = marks.and(Marks {
                lowest: watermark.filter(|it| *it != i64::MIN),
                first: of(&slot.first),
                unknown: watermark == Some(i64::MIN),
            });
        }
        marks
    }

    /// How far those of other workers have come.
    pub(crate) fn tell(&self, others: Marks) {
        *self.others.lock().unwrap_or_else(PoisonError::into_inner) = others;
        for slot in self.slots.iter().filter(|slot| slot.waits_for() != i64::MAX) {
            slot.wake();
        }
    }

    fn limits(&self) -> Limits {
        let own = self.marks();
        let others = *self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let first = own.and(others).first;
        let limit = |marks: Marks| {
            let minimum = Marks { first, ..marks }.minimum();
            minimum.map_or(Timestamp::MAX, |it| Timestamp(it).saturating_add(self.max_ms))
        };
        Limits { own: limit(own), others: limit(others) }
    }

    /// Wakes those who wait for what has come to pass.
    fn wake(&self) {
        if self.slots.iter().all(|slot| slot.waits_for() == i64::MAX) {
            return;
        }
        let minimum = self.marks().minimum().unwrap_or(i64::MAX);
        for slot in self.slots.iter().filter(|slot| slot.waits_for() <= minimum) {
            slot.wake();
        }
    }
}

impl Slot {
    fn waits_for(&self) -> i64 {
        self.waits_for.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        if let Some(doorbell) = self.doorbell.get() {
            doorbell.ring();
        }
    }
}

/// A source task's place among the others.
pub(crate) struct Seat {
    drift: Arc<Drift>,
    at: usize,
}

impl Seat {
    fn slot(&self) -> &Slot {
        &self.drift.slots[self.at]
    }

    /// The task has this watermark now: MIN for none yet, MAX where it holds nobody back. `first`
    /// is the smallest that a split of it began with.
    pub(super) fn stand(&self, watermark: Timestamp, first: Timestamp) {
        let slot = self.slot();
        let first = slot.first.swap(first.0, Ordering::SeqCst) != first.0;
        if slot.watermark.swap(watermark.0, Ordering::SeqCst) != watermark.0 || first {
            self.drift.wake();
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.drift.limits()
    }

    /// The task waits until a split with this watermark may be read; none: for nothing.
    pub(super) fn wait_for(&self, split: Option<Timestamp>) {
        let minimum = split.map_or(i64::MAX, |it| it.0.saturating_sub(self.drift.max_ms));
        self.slot().waits_for.store(minimum, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NONE: Timestamp = Timestamp::MAX;

    fn seats(drift: &Arc<Drift>, count: usize) -> Vec<Seat> {
        (0..count).map(|_| drift.seat(Doorbell::default()).unwrap()).collect()
    }

    #[test]
    fn nobody_is_held_before_anybody_has_begun_and_then_all_to_the_first() {
        let drift = Drift::new(10, 2, Marks::default());
        let seats = seats(&drift, 2);
        assert_eq!(seats[0].limits().own, Timestamp::MAX);
        seats[0].stand(Timestamp(105), Timestamp(100));
        assert_eq!(seats[0].limits().own, Timestamp(110), "the other one may begin at 100");
        seats[1].stand(Timestamp(90), Timestamp(90));
        assert_eq!(seats[0].limits().own, Timestamp(100));
        seats[1].stand(NONE, Timestamp(90));
        assert_eq!(seats[0].limits().own, Timestamp(115), "it is idle, or at its end");
        seats[0].stand(NONE, Timestamp(100));
        assert_eq!(seats[0].limits(), Limits { own: NONE, others: NONE });
    }

    #[test]
    fn other_workers_hold_back_from_the_start_until_they_are_heard_of() {
        let drift = Drift::new(10, 1, Marks::UNHEARD);
        let seat = &seats(&drift, 1)[0];
        seat.stand(Timestamp(500), Timestamp(100));
        assert_eq!(seat.limits(), Limits { own: Timestamp(510), others: Timestamp(110) });
        drift.tell(Marks { lowest: Some(80), first: Some(70), unknown: false });
        assert_eq!(seat.limits(), Limits { own: Timestamp(510), others: Timestamp(90) });
        drift.tell(Marks { lowest: Some(80), first: Some(70), unknown: true });
        assert_eq!(seat.limits().others, Timestamp(80));
        drift.tell(Marks::default());
        assert_eq!(seat.limits().others, Timestamp::MAX);
        assert_eq!(drift.marks(), Marks { lowest: Some(500), first: Some(100), unknown: false });
    }

    #[test]
    fn a_task_without_a_seat_holds_nobody_back() {
        let drift = Drift::new(10, 2, Marks::default());
        let seat = &seats(&drift, 1)[0];
        seat.stand(Timestamp(500), Timestamp(100));
        assert_eq!(seat.limits().own, Timestamp(510));
    }

    #[test]
    fn who_waits_is_woken_when_it_may_go_on_and_not_before() {
        let drift = Drift::new(10, 2, Marks::default());
        let doorbell = Doorbell::default();
        let (fast, slow) =
            (drift.seat(doorbell.clone()).unwrap(), drift.seat(Doorbell::default()).unwrap());
        fast.stand(Timestamp(200), Timestamp(0));
        fast.wait_for(Some(Timestamp(200)));
        let rung = |doorbell: &Doorbell| {
            let rung = doorbell.is_rung();
            doorbell.clear();
            rung
        };
        doorbell.clear();
        slow.stand(Timestamp(189), Timestamp(0));
        assert!(!rung(&doorbell));
        slow.stand(Timestamp(190), Timestamp(0));
        assert!(rung(&doorbell));
        fast.wait_for(None);
        slow.stand(Timestamp(195), Timestamp(0));
        assert!(!rung(&doorbell));
        fast.wait_for(Some(Timestamp(300)));
        drift.tell(Marks::default());
        assert!(rung(&doorbell), "news of other workers");
        doorbell.wait(Duration::ZERO);
    }
}
