//! How Millstream talks to S3 and to what speaks its protocol.
//!
//! Used by the store of a worker and by the connectors of the engine, which say what is asked for:
//! [`connect`] makes the SDK's client, [`repeat`] makes a request of it until it is answered, and
//! [`Fault`] says what a refusal means. Invariant: nothing is repeated but in [`repeat`].
#![warn(missing_docs)]

mod attempt;
mod client;
mod fault;

pub use attempt::{Failed, Limits, Patience, repeat, requests, trouble};
pub use client::{connect, loader};
pub use fault::{Fault, Words};
