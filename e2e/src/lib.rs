//! What stories on a real cluster are told with: the cluster, images, jobs, and waiting.
//!
//! `make e2e` tells them: a cluster ([`cluster::Cluster`]) gets Kafka, S3, the images of what cargo
//! has built ([`image`]) and the chart ([`stage::Stage`]); a story ([`story::Story`]) has a
//! namespace of its own, in which it applies a job ([`job::Job`]) and does things to it, while
//! orders come in ([`orders::Orders`]) and what the job says of itself is checked ([`watch`]) and
//! remembered ([`said`]).
//! Invariant: with the process ends all that it started.
#![warn(missing_docs)]

pub mod cluster;
pub mod image;
pub mod inside;
pub mod job;
pub mod orders;
pub mod said;
pub mod stage;
pub mod story;
pub mod watch;
