//! The programs of the stock binary.

use super::Program;
use super::bird_strikes::BIRD_STRIKES;
use super::counter::counter;

/// The programs of the stock binary.
pub const PROGRAMS: &[Program] = &[
    BIRD_STRIKES,
    Program { name: "counter", build: counter },
    #[cfg(feature = "kafka")]
    Program { name: "orders", build: super::turnover::orders },
    #[cfg(feature = "kafka")]
    Program { name: "turnover", build: super::turnover::turnover },
];
