//! From a job to the objects of its workers, step by step: fetch, [`validate`], [`decide`],
//! [`build`], apply, [`status`].
//!
//! Received from: a [`StreamJob`](crate::crd::StreamJob) as the API server has it. Handed to: the
//! API server, as [`build::Resources`] and a status, and to the job's coordinator. Invariant: a
//! step takes what the one before it made; those in the middle touch nothing outside.

mod acceptable;
pub mod accepted;
mod admission;
mod apply;
pub mod build;
pub mod check;
pub mod decide;
pub(crate) mod deletion;
pub(crate) mod errand;
pub mod events;
mod fetch;
pub mod flow;
mod lost;
pub mod operator;
pub mod pod_template;
pub mod pods;
pub(crate) mod removal;
mod restore;
pub mod savepoint;
pub mod status;
pub(crate) mod step;
pub(crate) mod still;
pub mod validate;
pub(crate) mod written;
