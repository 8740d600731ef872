//! The handles that a program is written with: [`Job`], [`Stream`], [`KeyedStream`],
//! [`WindowedStream`](crate::window::WindowedStream).
//!
//! They hold a node of the graph and no logic; [`crate::plan`] makes tasks of what they wrote down.
//! An operator adds its methods to them in its own file.

mod args;
mod env;
mod job;
mod key;
mod migrating;
mod wire;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::Location;
use std::rc::Rc;

pub use args::Args;
pub use env::{Environment, Secret};
pub use job::{Job, JobSettings, SourceStream};
pub(crate) use key::SelectKeys;
pub(crate) use key::boxed;
pub use migrating::MigratingStream;
use millstream_protocol::plan::EdgeKind;
pub(crate) use wire::{Described, value_per_key};

use crate::data::{Data, Key};
use crate::plan::{Graph, NodeIndex};

/// Records of one type on their way from one operator to the next.
///
/// A handle is cheap to clone; an output that several operators read is copied to each.
pub struct Stream<T> {
    pub(crate) graph: Rc<RefCell<Graph>>,
    pub(crate) node: NodeIndex,
    pub(crate) output: usize,
    /// How records get to whatever is put behind this handle.
    pub(crate) edge: EdgeKind,
    pub(crate) marker: PhantomData<fn() -> T>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Self { graph: self.graph.clone(), marker: PhantomData, ..*self }
    }
}

impl<T: Data> Stream<T> {
    pub(crate) fn at(graph: Rc<RefCell<Graph>>, node: NodeIndex, output: usize) -> Self {
        Self { graph, node, output, edge: EdgeKind::Forward, marker: PhantomData }
    }

    /// Sets how many instances the operator in front of this handle has. It survives rescales.
    ///
    /// The default is that of the operator it is joined to by a forward edge, else all threads of
    /// all workers.
    pub fn parallelism(self, instances: u32) -> Self {
        self.graph.borrow_mut().node_mut(self.node).parallelism = Some(instances);
        self
    }

    /// Sends whole batches to the instances of the next operator in turn.
    pub fn rebalance(&self) -> Self {
        Self { edge: EdgeKind::Rebalance, ..self.clone() }
    }

    /// Sends every record to every instance of the next operator.
    pub fn broadcast(&self) -> Self {
        Self { edge: EdgeKind::Broadcast, ..self.clone() }
    }

    /// Sends every record to the one instance of the next operator.
    pub fn global(&self) -> Self {
        Self { edge: EdgeKind::Global, ..self.clone() }
    }

    /// Partitions the stream by a key: equal keys meet in one instance of the next operator.
    ///
    /// The function is called wherever the key is needed, so it must give the same key each time.
    pub fn key_by<K: Key>(
        &self,
        key: impl Fn(&T) -> K + Clone + Send + 'static,
    ) -> KeyedStream<K, T> {
        KeyedStream { stream: self.clone(), key: boxed(key) }
    }

    /// Records a mistake in the program; all are reported together when the graph is resolved.
    #[track_caller]
    pub(crate) fn refuse(&self, message: impl Into<String>) {
        self.graph.borrow_mut().errors.push((message.into(), Location::caller()));
    }
}

/// A stream partitioned by a key.
pub struct KeyedStream<K, T> {
    pub(crate) stream: Stream<T>,
    pub(crate) key: Box<dyn SelectKeys<K, T>>,
}

impl<K: Key, T: Data> Clone for KeyedStream<K, T> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), key: self.key.clone_box() }
    }
}
