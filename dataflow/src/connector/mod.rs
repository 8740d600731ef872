//! Connectors: sources and sinks that Millstream brings, a file or folder each.

pub mod collect;
pub mod collection;
pub mod discard;
pub mod files;
pub mod format;
pub mod generator;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod print;
pub mod stdin;
