//! A channel between two tasks, wherever they run: what the ends of an edge are.
//!
//! Sent to by [`super::Router`], received from by [`crate::task`]. A sender that finds no room
//! keeps the event itself and reports that it is blocked; the task then takes no further input, so
//! what is kept is bounded by what one input event makes.

use std::any::Any;

use super::local::{self, LocalReceiver, LocalSender};
use super::remote::{RemoteReceiver, RemoteSender};
use crate::error::Result;
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

/// Makes a channel within one process. `to` is the bell of the receiving thread, `from` that of the
/// sending one.
pub(crate) fn channel(from: Doorbell, to: Doorbell) -> (Sender, Receiver) {
    let (sender, receiver) = local::channel(from, to);
    (Sender::Local(sender), Receiver::Local(receiver))
}

/// The sending end.
pub(crate) enum Sender {
    /// To a task of this process.
    Local(LocalSender),
    /// To a task of another one.
    Remote(RemoteSender),
}

impl Sender {
    /// Sends an event, or keeps it until there is room.
    pub(crate) fn send(&mut self, event: Event) {
        match self {
            Self::Local(sender) => sender.send(event),
            Self::Remote(sender) => sender.send(event),
        }
    }

    /// Sends what was kept; says whether all of it went. An error says that a record cannot be sent
    /// at all.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        match self {
            Self::Local(sender) => Ok(sender.flush()),
            Self::Remote(sender) => sender.flush(),
        }
    }

    /// Whether events wait for room.
    pub(crate) fn is_blocked(&self) -> bool {
        match self {
            Self::Local(sender) => sender.is_blocked(),
            Self::Remote(sender) => sender.is_blocked(),
        }
    }
}

/// The receiving end.
pub(crate) enum Receiver {
    /// From a task of this process.
    Local(LocalReceiver),
    /// From a task of another one.
    Remote(RemoteReceiver),
}

impl Receiver {
    /// The next event, if one is there.
    pub(crate) fn receive(&mut self) -> Result<Option<Event>> {
        match self {
            Self::Local(receiver) => Ok(receiver.receive()),
            Self::Remote(receiver) => receiver.receive(),
        }
    }
}
