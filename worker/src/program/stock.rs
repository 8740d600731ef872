//! The programs of the stock binary.

use super::Program;
use super::counter::counter;

/// The programs of the stock binary.
pub const PROGRAMS: &[Program] = &[Program { name: "counter", build: counter }];
