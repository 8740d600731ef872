//! What the tests of this crate share: log entries by the handful, and a world of faults.
//!
//! The world: a store and a broker that outlive every process ([`outside`]), workers that keep the
//! rules of the engine but process toy records ([`worker`]), coordinators with their workers
//! ([`host`]), and a scheduler that breaks all of it from a seed ([`simulation`]).

pub(crate) mod chance;
pub(crate) mod entries;
pub(crate) mod host;
pub(crate) mod outside;
mod recover;
mod schedules;
mod simulation;
pub(crate) mod worker;
