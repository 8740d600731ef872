//! Everything that crosses a process boundary, and the pure arithmetic about it.
//!
//! No runtime, no client and no clock: the coordinator, the engine, the worker and the operator all
//! build on this crate, and it builds on none of them.
#![warn(missing_docs)]

pub mod access;
pub mod drift;
pub mod error_kind;
pub mod field;
pub mod flow;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod id;
pub mod job;
pub mod key_group;
pub mod key_hash;
pub mod log;
pub mod nearest;
pub mod path;
pub mod place;
pub mod plan;
pub mod quantity;
pub mod session;
pub mod share;
pub mod time;
pub mod validate;
pub mod wish;
