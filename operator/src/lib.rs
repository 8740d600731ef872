//! The Kubernetes side: the resources that users write, and the operator that looks after them.
//!
//! Received from: a `StreamJob` as the API server keeps it. Handed to: the API server, as the
//! objects of its workers and its status; and to the workers, by the job's coordinator. [`crd`]
//! has the resources, [`reconcile`] the steps between them and the objects, `coordinators` the
//! coordinator of each job, `savepoints` the snapshots that are asked of them, `lease` by
//! which one of several operators works, `metrics` what is counted, `teller` what is told of jobs,
//! [`serve()`] the process around them; [`names`] spells what all is called.
#![warn(missing_docs)]

mod coordinators;
pub mod crd;
mod files;
mod finalizer;
mod health;
mod lease;
mod memory;
mod metrics;
pub mod names;
pub mod options;
pub mod reconcile;
mod savepoints;
mod serve;
mod teller;
mod templates;
#[cfg(test)]
mod testing;

pub use serve::serve;
