//! How operators are put behind handles: the one place that makes nodes of the graph.

use std::any::Any;
use std::panic::Location;

use millstream_protocol::plan::{EdgeKind, Role, StateSchema};

use super::{KeyedStream, Stream};
use crate::data::{Data, Key};
use crate::error::{Error, Result};
use crate::exchange::remote::codec;
use crate::exchange::{ByKeyGroup, RoundRobin, Router, ToAll, ToOne};
use crate::operator::{Operator, TwoInputs};
use crate::plan::{Edge, Make, Node, NodeIndex, RouterParts};
use crate::state::{Migrations, PerKey, StateTypes, schema_of};
use crate::task::{BoxNode, Head, Keeps, OnePort, Stage, TaskInfo, TwoPorts};

/// What the plan says of an operator, besides its inputs.
#[derive(Clone, Default)]
pub(crate) struct Described {
    /// The id that the user gave; without one it is derived, and the operator keeps no state.
    pub(crate) id: Option<String>,
    pub(crate) method: &'static str,
    pub(crate) role: Option<Role>,
    pub(crate) keyed: bool,
    pub(crate) keeps: bool,
    pub(crate) states: StateTypes,
    pub(crate) parallelism_max: Option<u32>,
}

impl Described {
    /// A stateless operator.
    pub(crate) fn stateless(method: &'static str) -> Self {
        Self { method, ..Self::default() }
    }

    /// An operator with keyed states.
    pub(crate) fn keyed(id: &str, method: &'static str, states: impl Into<StateTypes>) -> Self {
        Self {
            id: Some(id.to_owned()),
            method,
            keyed: true,
            keeps: true,
            states: states.into(),
            ..Self::default()
        }
    }
}

/// The one state of an operator that keeps a value per key, made of `S` or of what `migrations`
/// start from.
pub(crate) fn value_per_key<K: Key, S: Data>(migrations: &impl Migrations<S>) -> StateTypes {
    let name = "state";
    let schema = schema_of::<(K, S)>();
    let state = StateSchema { name: name.into(), kind: "value".into(), schema };
    let mut types = StateTypes::from(vec![state]);
    migrations.list::<PerKey<K>>(name, &mut types.migrations);
    types
}

/// An edge that is about to be drawn.
pub(crate) struct InputEdge(pub(crate) Edge);

fn router<T: Data>(kind: EdgeKind) -> Box<dyn Fn(RouterParts) -> Box<dyn Any>> {
    Box::new(move |parts| {
        let linger = parts.linger_ms;
        let node: BoxNode<T> = match kind {
            EdgeKind::Forward | EdgeKind::Global | EdgeKind::Hash => {
                Box::new(Router::new(ToOne, parts.senders, linger))
            }
            EdgeKind::Rebalance => {
                let next = parts.from_task as usize;
                Box::new(Router::new(RoundRobin { next }, parts.senders, linger))
            }
            EdgeKind::Broadcast => Box::new(Router::new(ToAll, parts.senders, linger)),
        };
        Box::new(node)
    })
}

impl<T: Data> Stream<T> {
    /// The edge from this handle to an input port.
    pub(crate) fn input(&self, port: usize) -> InputEdge {
        InputEdge(Edge {
            from: self.node,
            output: self.output,
            port,
            kind: self.edge,
            router: router::<T>(self.edge),
            codec: codec::<T>,
        })
    }

    /// Puts an operator behind this handle.
    #[track_caller]
    pub(crate) fn then<P>(
        &self,
        described: Described,
        make: impl Fn(&TaskInfo) -> Result<P> + 'static,
    ) -> Stream<P::Out>
    where
        P: Operator<In = T>,
        P::Out: Data,
        P::Side: Data,
    {
        self.add_node(vec![self.input(0)], described, move |_, info| make(info))
    }

    /// Puts an operator behind edges that all carry this handle's type to port 0.
    #[track_caller]
    pub(crate) fn add_node<P>(
        &self,
        inputs: Vec<InputEdge>,
        described: Described,
        make: impl Fn(&crate::plan::Wiring<'_>, &TaskInfo) -> Result<P> + 'static,
    ) -> Stream<P::Out>
    where
        P: Operator<In = T>,
        P::Out: Data,
        P::Side: Data,
    {
        let index = NodeIndex(self.graph.borrow().nodes.len());
        let keeps = described.clone();
        let node = Box::new(move |wiring: &crate::plan::Wiring<'_>, info: TaskInfo| {
            let stage = stage(index, &keeps, wiring, info, &make)?;
            Ok(Box::new(Box::new(stage) as BoxNode<T>) as Box<dyn Any>)
        });
        let make = Make::Node { node, head: head_of::<T> };
        self.add(inputs, described, make, Location::caller())
    }

    /// Puts an operator of two inputs behind this handle and another edge.
    #[track_caller]
    pub(crate) fn then_two<P>(
        &self,
        inputs: Vec<InputEdge>,
        described: Described,
        make: impl Fn(&TaskInfo) -> Result<P> + 'static,
    ) -> Stream<P::Out>
    where
        P: TwoInputs<In = T>,
        P::Out: Data,
        P::Side: Data,
    {
        let index = NodeIndex(self.graph.borrow().nodes.len());
        let keeps = described.clone();
        let head = Box::new(move |wiring: &crate::plan::Wiring<'_>, info: TaskInfo| {
            let stage = stage(index, &keeps, wiring, info, &|_: &_, info: &_| make(info))?;
            Ok(Box::new(TwoPorts(stage)) as Box<dyn Head>)
        });
        self.add(inputs, described, Make::Head(head), Location::caller())
    }

    fn add<O: Data>(
        &self,
        inputs: Vec<InputEdge>,
        described: Described,
        make: Make,
        location: &'static Location<'static>,
    ) -> Stream<O> {
        let mut graph = self.graph.borrow_mut();
        let id = described.id.unwrap_or_else(|| graph.derived_id(self.node, described.method));
        let inputs: Vec<Edge> = inputs.into_iter().map(|edge| edge.0).collect();
        for mistake in described.states.mistakes() {
            graph.errors.push((format!("operator {id}: {mistake}"), location));
        }
        let global = inputs.iter().any(|edge| edge.kind == EdgeKind::Global);
        let node = graph.add(Node {
            id,
            method: described.method,
            role: described.role.unwrap_or(Role::Operator),
            parallelism: global.then_some(1),
            parallelism_max: described.parallelism_max,
            keyed: described.keyed,
            keeps: described.keeps,
            states: described.states,
            inputs,
            make,
            location,
        });
        Stream::at(self.graph.clone(), node, 0)
    }

    /// The side output of the operator in front of this handle.
    pub(crate) fn side<S: Data>(&self) -> Stream<S> {
        Stream::at(self.graph.clone(), self.node, 1)
    }
}

fn stage<P>(
    index: NodeIndex,
    described: &Described,
    wiring: &crate::plan::Wiring<'_>,
    info: TaskInfo,
    make: &impl Fn(&crate::plan::Wiring<'_>, &TaskInfo) -> Result<P>,
) -> Result<Stage<P>>
where
    P: Operator,
    P::Out: Data,
    P::Side: Data,
{
    let out = wiring.output::<P::Out>(index, 0, info.task)?;
    let side = wiring.output::<P::Side>(index, 1, info.task)?;
    let operator = make(wiring, &info)?;
    let keeps = Keeps {
        any: described.keeps || described.role.is_some(),
        keyed: described.keyed,
        states: described.states.clone(),
    };
    let mut stage = Stage::new(operator, info, out, side, keeps);
    if let Some(tiers) = wiring.tiers {
        stage.bound(tiers)?;
    }
    Ok(stage)
}

fn head_of<T: Data>(node: Box<dyn Any>) -> Result<Box<dyn Head>> {
    let node = node.downcast::<BoxNode<T>>();
    let node = node.map_err(|_| Error::bug("a node and its inputs differ in type"))?;
    Ok(Box::new(OnePort(*node)))
}

impl<K: Key, T: Data> KeyedStream<K, T> {
    /// The edge from this handle to an input port: by key group.
    pub(crate) fn input(&self, port: usize) -> InputEdge {
        let key = self.key.clone_box();
        let router = move |parts: RouterParts| {
            let key = key.clone_box();
            let hash = move |records: &[T], into: &mut Vec<u64>| key.hashes(records, into);
            let partition = ByKeyGroup::new(parts.key_groups, parts.to_parallelism, hash);
            let node = Router::new(partition, parts.senders, parts.linger_ms);
            Box::new(Box::new(node) as BoxNode<T>) as Box<dyn Any>
        };
        InputEdge(Edge {
            from: self.stream.node,
            output: self.stream.output,
            port,
            kind: EdgeKind::Hash,
            router: Box::new(router),
            codec: codec::<T>,
        })
    }

    /// Puts a keyed operator behind this handle.
    #[track_caller]
    pub(crate) fn then<P>(
        &self,
        described: Described,
        make: impl Fn(&TaskInfo) -> Result<P> + 'static,
    ) -> Stream<P::Out>
    where
        P: Operator<In = T>,
        P::Out: Data,
        P::Side: Data,
    {
        self.stream.add_node(vec![self.input(0)], described, move |_, info| make(info))
    }
}
