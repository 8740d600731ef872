//! Real parts for tests: an S3 endpoint, a Kafka broker, proxies with faults, certificates, and
//! the processes that are tested.
//!
//! Used by the tests of other crates, never linked into the product. Each part runs on loopback,
//! keeps its files in a folder of its own, and leaves nothing behind, however the test ends.
//! Invariant: a part that is not installed is a failure that says what to run, never a test that is
//! left out.
#![warn(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a part that does not start is a failed test")]

mod certificates;
mod gate;
mod kafka;
mod life;
mod part;
mod proxy;
mod s3;
mod serving;
mod tools;

pub use certificates::{Authority, Certificate};
pub use gate::{Call, Gate, Passage};
pub use kafka::Kafka;
pub use life::{End, Life};
pub use part::free_ports;
pub use proxy::{Fault, Proxy, Request};
pub use s3::{Credentials, S3};
