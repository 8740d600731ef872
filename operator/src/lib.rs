//! The Kubernetes side: the resources that users write, and what is made of them.
//!
//! Received from: a `StreamJob` as the API server keeps it. Handed to: the API server, as the
//! objects of its workers. [`crd`] has the resources, [`reconcile`] the steps between them and the
//! objects; [`names`] spells what both are called. Invariant: what is here decides and builds, and
//! touches nothing outside.
#![warn(missing_docs)]

pub mod crd;
pub mod names;
pub mod reconcile;
#[cfg(test)]
mod testing;
