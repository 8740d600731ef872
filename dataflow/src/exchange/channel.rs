//! A channel between two tasks of one process: a bounded ring of events, handed over without
//! copying.
//!
//! Received from by [`crate::task`], sent to by [`super::Router`]. A sender whose ring is full
//! keeps the event itself and reports that it is blocked; the task then takes no further input, so
//! what overflows is bounded by what one input event makes.

use std::any::Any;
use std::collections::VecDeque;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::task::{Barrier, Doorbell};
use crate::time::Timestamp;

/// A [`crate::Batch`] of some type: the two ends of an edge agree on which.
pub(crate) type AnyBatch = Box<dyn Any + Send>;

/// What travels through a channel, in order.
pub(crate) enum Event {
    Batch(AnyBatch),
    Watermark(Timestamp),
    Idle,
    Barrier(Barrier),
    End,
}

/// Batches in flight per channel. 4 measured as fast as 16; 2 cost 15 %. Marks need a few more
/// places.
pub(super) const RING_EVENTS: usize = 8;

/// Makes a channel. `to` is the bell of the receiving thread, `from` that of the sending one.
pub(crate) fn channel(from: Doorbell, to: Doorbell) -> (Sender, Receiver) {
    let (producer, consumer) = RingBuffer::new(RING_EVENTS);
    let sender = Sender { ring: producer, overflow: VecDeque::new(), receiver: to };
    (sender, Receiver { ring: consumer, sender: from, was_full: false })
}

/// The sending end.
pub(crate) struct Sender {
    ring: Producer<Event>,
    overflow: VecDeque<Event>,
    receiver: Doorbell,
}

impl Sender {
    /// Sends an event, or keeps it until there is room.
    pub(crate) fn send(&mut self, event: Event) {
        if !self.overflow.is_empty() {
            self.overflow.push_back(event);
            return;
        }
        match self.ring.push(event) {
            Ok(()) => self.receiver.ring(),
            Err(rtrb::PushError::Full(event)) => self.overflow.push_back(event),
        }
    }

    /// Sends what was kept; says whether all of it went.
    pub(crate) fn flush(&mut self) -> bool {
        if self.overflow.is_empty() {
            return true;
        }
        let before = self.overflow.len();
        while let Some(event) = self.overflow.pop_front() {
            if let Err(rtrb::PushError::Full(event)) = self.ring.push(event) {
                self.overflow.push_front(event);
                break;
            }
        }
        if self.overflow.len() < before {
            self.receiver.ring();
        }
        self.overflow.is_empty()
    }

    /// Whether events wait for room.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.overflow.is_empty()
    }
}

/// The receiving end.
pub(crate) struct Receiver {
    ring: Consumer<Event>,
    sender: Doorbell,
    was_full: bool,
}

impl Receiver {
    /// The next event, if one is there.
    pub(crate) fn receive(&mut self) -> Option<Event> {
        if self.ring.slots() == RING_EVENTS {
            self.was_full = true;
        }
        let event = self.ring.pop().ok()?;
        // A blocked sender is woken when half of the ring is free: fewer wake-ups than at each
        // place.
        if self.was_full && self.ring.slots() <= RING_EVENTS / 2 {
            self.was_full = false;
            self.sender.ring();
        }
        Some(event)
    }
}
