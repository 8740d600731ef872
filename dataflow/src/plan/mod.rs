//! From the program to tasks: the graph that handles write down, the plan that travels, the chains
//! that run.
//!
//! Filled by [`crate::stream`], read by [`crate::engine`].

mod build;
mod drift;
mod graph;
mod resolve;

pub(crate) use build::{BuildSpec, Wiring, build};
pub(crate) use drift::MaxDrift;
pub(crate) use graph::{Edge, Graph, Make, Node, NodeIndex, RouterParts};
pub(crate) use resolve::resolve;
