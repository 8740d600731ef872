//! One job's brain: a pure state machine, and the small driver that executes what it decides.
//!
//! The same code runs inside the operator and inside `run` on one machine, so that a job behaves
//! the same in both. [`machine::Machine`] takes events in and gives actions out; it does no I/O and
//! knows no time but the one it is told. [`driver::Driver`] carries the actions to the workers over
//! a [`driver::Session`], and the workers' reports back.
#![warn(missing_docs)]

mod agreement;
mod append;
mod backoff;
pub mod channel;
pub mod config;
mod context;
mod drift;
pub mod driver;
pub mod edit;
mod ending;
mod flow;
pub mod history;
mod let_go;
pub mod machine;
#[cfg(feature = "remote")]
pub mod remote;
pub mod resolve;
pub mod retain;
mod savepoint;
mod snapshot;
mod state;
pub mod status;
#[cfg(test)]
mod testing;
