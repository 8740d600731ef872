//! The benchmark: contenders, the runner that interleaves them, and the table.
//!
//! [`registry`] lists who takes part; [`runner`] starts each run in a fresh child process and reads
//! its line of JSON; [`table`] prints medians and ratios. [`hand`] holds the hand-written loops
//! that ours is measured against; where two processes take part, [`processes`] runs ours and
//! [`halves`] puts together what each has measured. [`costs`] is the second table: what ours costs
//! by itself, in CPU, stalls and memory. Invariant: a figure is only ever set beside one of the
//! same run.

#![deny(missing_docs)]

pub mod agreed;
pub mod costs;
pub mod halves;
pub mod hand;
pub mod kafka;
pub mod ours;
pub mod processes;
pub mod registry;
pub mod runner;
pub mod table;
pub mod verdict;
