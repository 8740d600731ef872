//! Kafka's source and sink against a broker, through the engine.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

mod faults;
mod lag;
mod reading;
mod resuming;
