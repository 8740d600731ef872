//! Millstream's side of the table: each workload as a user would write it.
//!
//! Started by the runner through the registry; the programs are in [`programs`] and [`nexmark`],
//! the stream and the tally as a source and a sink in [`ends`]. [`crate::costs`] runs its own
//! programs the same way.

pub(crate) mod ends;
mod kafka;
mod nexmark;
pub(crate) mod programs;
pub(crate) mod run;
pub(crate) mod shuffle_grpc;

pub use run::run;
