//! The operator harness: elements in, elements out, with snapshots and restores in the middle.
//!
//! Public, so that people who write operators test them as the built-in ones are tested. It runs
//! the real engine; only the source is scripted.

mod run;
mod script;
mod two;

pub use run::{Harness, Output, suite};
pub use script::Element;
pub use two::suite_two;
