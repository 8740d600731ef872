//! The user's pod template: what may stand in it, and how it goes into ours.
//!
//! Received from: `spec.podTemplate`, opaque JSON. Handed to: [`super::validate`], which shows
//! its mistakes, and [`super::build`], which merges it. Invariant: what we do not know passes
//! through as it is; the types of a client would drop fields that a newer API server knows.

mod check;
mod merge;

pub use check::{cpu_limit, has_shared_mount, problems};
pub use merge::merge;

use serde_json::Value;

use crate::names::WORKER;

/// The container of the worker in a pod template, if it has one.
pub(crate) fn worker(template: &Value) -> Option<&Value> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    containers.iter().find(|container| container["name"] == WORKER)
}
