//! How records get from the tasks of one chain to those of the next: partition, buffer, send,
//! receive.
//!
//! Receives from the end of a chain ([`crate::task`]), hands to the inputs of tasks. Knows no
//! operator.

mod by_key;
mod channel;
mod local;
mod partition;
pub mod remote;
mod router;

pub(crate) use by_key::ByKeyGroup;
pub(crate) use channel::{AnyBatch, Event, Receiver, Sender, channel};
pub(crate) use partition::{RoundRobin, ToAll, ToOne};
pub(crate) use router::Router;
