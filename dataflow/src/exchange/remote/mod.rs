//! Channels between tasks of two processes: events become frames, and room is granted in bytes.
//!
//! Made by [`crate::plan`], which gives both ends of a channel the same number. The transport,
//! which is the worker's, carries the messages of an [`Outgoing`] to the [`Incoming`] of the other
//! process, and what that one grants back. Invariants: a channel never has more on its way than its
//! receiver granted and one frame; marks need no grant, but keep their place; nobody who carries
//! messages ever waits for a task.

mod codec;
mod credit;
mod frame;
mod inlet;
mod lane;
mod links;
mod receiver;
mod sender;

pub(crate) use codec::{Codec, codec};
pub(crate) use links::LinksBuilder;
pub use links::{Incoming, LinkCounts, Links, Outgoing};
pub(crate) use receiver::RemoteReceiver;
pub(crate) use sender::RemoteSender;
