//! What stories on a real cluster are told with: the cluster, images, and waiting.
//!
//! A story is a test of its own, which `make e2e` runs: it starts a cluster
//! ([`cluster::Cluster`]), gives it the images of what cargo has built ([`image`]), and tells by
//! [`story::Story`] what it does. Invariant: with the process ends all that it started.
#![warn(missing_docs)]

pub mod cluster;
pub mod image;
pub mod story;
