//! The second table: what is measured of ours alone, against the run without the feature or a
//! limit.
//!
//! A [`case`] is one run in a child process; it returns [`Figures`]. A line of [`line::LINES`]
//! computes one value of the figures of its cases, round by round; [`runner`] runs the cases that
//! the asked lines need, interleaved, and [`table`] prints them. Invariant: a value that compares
//! two cases takes both from the same round.

pub mod case;
mod channels;
mod deltas;
mod histogram;
mod jobs;
pub(crate) mod latency;
pub mod line;
mod meter;
pub(crate) mod recovery;
mod round_trip;
pub mod runner;
pub mod table;
mod witness;

use std::collections::BTreeMap;

pub use case::{Case, Size};

/// What a case has measured, by name. The unit is the end of the name.
pub type Figures = BTreeMap<String, f64>;
