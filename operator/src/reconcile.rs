//! From a job to the objects of its workers, step by step: [`validate`], then [`build`].
//!
//! Received from: a [`StreamJob`](crate::crd::StreamJob) as the API server has it. Handed to: the
//! API server, as [`build::Resources`]. Invariant: a step takes what the one before it made, and
//! none of these touches anything outside.

pub mod accepted;
pub mod build;
pub mod operator;
pub mod pod_template;
pub mod validate;
