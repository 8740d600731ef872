//! [`Graph`]: what a program wrote down, with the closures that make its tasks.

use std::any::Any;
use std::panic::Location;
use std::time::Duration;

use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::plan::{EdgeKind, Role};

use super::build::Wiring;
use super::drift::MaxDrift;
use crate::error::Result;
use crate::exchange::Sender;
use crate::exchange::remote::Codec;
use crate::state::StateTypes;
use crate::task::{Doorbell, Head, Task, TaskInfo};

/// A node of the graph by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeIndex(pub(crate) usize);

/// An operator as the program wrote it down.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) method: &'static str,
    pub(crate) role: Role,
    pub(crate) parallelism: Option<u32>,
    pub(crate) parallelism_max: Option<u32>,
    pub(crate) keyed: bool,
    pub(crate) keeps: bool,
    pub(crate) states: StateTypes,
    pub(crate) inputs: Vec<Edge>,
    pub(crate) make: Make,
    pub(crate) location: &'static Location<'static>,
}

/// An input of a node.
pub(crate) struct Edge {
    pub(crate) from: NodeIndex,
    /// Which output of the sender: 0 the main one, 1 the side one.
    pub(crate) output: usize,
    /// Which input of the receiver.
    pub(crate) port: usize,
    pub(crate) kind: EdgeKind,
    /// Makes the router of one sending task: a boxed `BoxNode<T>`.
    pub(crate) router: Box<dyn Fn(RouterParts) -> Box<dyn Any>>,
    /// Makes what its records are written and read with, where they go to another process.
    pub(crate) codec: fn() -> Codec,
}

/// What a router is made of.
pub(crate) struct RouterParts {
    pub(crate) senders: Vec<Sender>,
    pub(crate) from_task: u32,
    pub(crate) to_parallelism: u32,
    pub(crate) key_groups: KeyGroups,
    pub(crate) linger_ms: i64,
}

type MakeSource = dyn Fn(&Wiring<'_>, TaskInfo, Doorbell) -> Result<Box<dyn Task>>;
type MakeNode = dyn Fn(&Wiring<'_>, TaskInfo) -> Result<Box<dyn Any>>;
type MakeHead = dyn Fn(&Wiring<'_>, TaskInfo) -> Result<Box<dyn Head>>;

/// Makes an operator instance with all that is chained behind it.
pub(crate) enum Make {
    /// A task that polls.
    Source(Box<MakeSource>),
    /// A node with one input: a boxed `BoxNode<T>`, and what makes a head of it.
    Node { node: Box<MakeNode>, head: fn(Box<dyn Any>) -> Result<Box<dyn Head>> },
    /// An operator with two inputs.
    Head(Box<MakeHead>),
}

/// What a program wrote down.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) errors: Vec<(String, &'static Location<'static>)>,
    /// The sources whose records have event times.
    pub(crate) timed: Vec<NodeIndex>,
    /// The operators that hold what one input has until another has come as far.
    pub(crate) holding: Vec<NodeIndex>,
    /// How far sources may be apart, as the program says.
    pub(crate) max_drift: MaxDrift,
    /// How long a record may wait for its batch to fill, where the program says so.
    pub(crate) linger: Option<Duration>,
}

impl Graph {
    pub(crate) fn add(&mut self, node: Node) -> NodeIndex {
        if let Some(other) = self.nodes.iter().find(|other| other.id == node.id) {
            let message = format!(
                "the id {:?} is used twice, here and at {}: give each operator its own",
                node.id, other.location
            );
            self.errors.push((message, node.location));
        }
        self.nodes.push(node);
        NodeIndex(self.nodes.len() - 1)
    }

    pub(crate) fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[index.0]
    }

    pub(crate) fn node_mut(&mut self, index: NodeIndex) -> &mut Node {
        &mut self.nodes[index.0]
    }

    /// Whether the records of an output have event times: a source in front of it gives them.
    /// Malformed records, at the side output of a source, have none.
    pub(crate) fn has_event_time(&self, node: NodeIndex, output: usize) -> bool {
        let mut inputs = self.node(node).inputs.iter();
        (output == 0 && self.timed.contains(&node))
            || inputs.any(|edge| self.has_event_time(edge.from, edge.output))
    }

    /// A name for a stateless operator, for messages only.
    pub(crate) fn derived_id(&self, upstream: NodeIndex, method: &str) -> String {
        let upstream = &self.node(upstream).id;
        let taken = |n: &usize| {
            let id = format!("{upstream}/{method}-{n}");
            self.nodes.iter().any(|node| node.id == id)
        };
        let numbers = self.nodes.len() + 1;
        let n = (1..=numbers).find(|n| !taken(n)).expect("there are more numbers than nodes");
        format!("{upstream}/{method}-{n}")
    }

    /// The edges that leave an output.
    pub(crate) fn edges_from(
        &self,
        from: NodeIndex,
        output: usize,
    ) -> impl Iterator<Item = (NodeIndex, usize, &Edge)> {
        self.nodes.iter().enumerate().flat_map(move |(to, node)| {
            let edges = node.inputs.iter().enumerate();
            edges
                .filter(move |(_, edge)| edge.from == from && edge.output == output)
                .map(move |(place, edge)| (NodeIndex(to), place, edge))
        })
    }
}
