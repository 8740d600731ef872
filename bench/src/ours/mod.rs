//! Millstream's side of the table: each workload as a user would write it.
//!
//! Started by the runner through the registry; the programs are in [`programs`], the stream and the
//! tally as a source and a sink in [`ends`].

mod ends;
mod programs;
mod run;

pub use run::run;
