//! Makes the tasks of one worker from the graph: channels first, then chains from their ends to
//! their heads.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use millstream_protocol::drift::Marks;
use millstream_protocol::id::{Run, TaskIndex, WorkerIndex};
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::place::{Place, place};
use millstream_protocol::plan::EdgeKind;

use super::drift::held_together;
use super::graph::{Edge, Graph, Make, NodeIndex, RouterParts};
use super::resolve::Resolved;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::exchange::remote::{Links, LinksBuilder};
use crate::exchange::{Receiver, Sender, channel};
use crate::sink::{Commits, History, SinkContext};
use crate::state::Base;
use crate::task::{
    BoxNode, Counters, Discard, Doorbell, Drift, InputTask, Seat, Task, TaskInfo, Tee,
};

type Channels<T> = HashMap<(NodeIndex, usize, u32), Vec<T>>;

/// What the makers of operator instances are given: the rest of the chain, and who they are.
pub(crate) struct Wiring<'a> {
    graph: &'a Graph,
    resolved: &'a Resolved,
    key_groups: KeyGroups,
    linger_ms: i64,
    /// By receiving node, place of the edge in its inputs, and sending task.
    senders: RefCell<Channels<Sender>>,
    infos: RefCell<Vec<TaskInfo>>,
    pub(crate) commits: Commits,
    run: Run,
    job: Arc<str>,
    history: Arc<History>,
    clock: Arc<dyn Clock>,
    drift: Option<(Arc<Drift>, Vec<NodeIndex>)>,
    /// Where bounded state goes that finds no room in memory; none where memory is not bounded.
    pub(crate) tiers: Option<&'a Base>,
}

impl Wiring<'_> {
    /// The place of a source task among those that are held together.
    pub(crate) fn seat(&self, source: NodeIndex, doorbell: &Doorbell) -> Option<Seat> {
        let (drift, _) = self.drift.as_ref().filter(|(_, sources)| sources.contains(&source))?;
        drift.seat(doorbell.clone())
    }

    /// What a sink is told when it opens.
    pub(crate) fn sink_context(&self, info: &TaskInfo) -> SinkContext {
        SinkContext {
            info: info.clone(),
            run: self.run,
            job: self.job.clone(),
            history: self.history.clone(),
            clock: self.clock.clone(),
        }
    }

    /// What stands behind an output of an operator instance.
    pub(crate) fn output<T: Clone + Send + 'static>(
        &self,
        from: NodeIndex,
        output: usize,
        task: TaskIndex,
    ) -> Result<BoxNode<T>> {
        let mut nodes: Vec<BoxNode<T>> = Vec::new();
        for (to, place, edge) in self.graph.edges_from(from, output) {
            let node = if self.resolved.chained[to.0] {
                self.node(to, task)?
            } else {
                self.router(to, place, edge, task)?
            };
            let node = node.downcast::<BoxNode<T>>();
            nodes.push(*node.map_err(|_| Error::bug("an output and its reader differ in type"))?);
        }
        Ok(match nodes.len() {
            0 => Box::new(Discard),
            1 => nodes.remove(0),
            _ => Box::new(Tee(nodes)),
        })
    }

    fn node(&self, index: NodeIndex, task: TaskIndex) -> Result<Box<dyn Any>> {
        let node = self.graph.node(index);
        match &node.make {
            // Named here: whoever made the chain would name its first operator.
            Make::Node { node: make, .. } => {
                make(self, self.info(index, task)).map_err(|error| error.in_operator(&node.id))
            }
            Make::Source(_) | Make::Head(_) => Err(Error::bug("only nodes are chained")),
        }
    }

    fn router(
        &self,
        to: NodeIndex,
        place: usize,
        edge: &Edge,
        task: TaskIndex,
    ) -> Result<Box<dyn Any>> {
        let senders = self.senders.borrow_mut().remove(&(to, place, task.0));
        let senders = senders.ok_or_else(|| Error::bug("an edge has no channels"))?;
        Ok((edge.router)(RouterParts {
            senders,
            from_task: task.0,
            to_parallelism: self.resolved.parallelism[to.0],
            key_groups: self.key_groups,
            linger_ms: self.linger_ms,
        }))
    }

    /// Who an operator instance is; makes its counters.
    fn info(&self, index: NodeIndex, task: TaskIndex) -> TaskInfo {
        let info = TaskInfo {
            operator: self.graph.node(index).id.as_str().into(),
            task,
            parallelism: self.resolved.parallelism[index.0],
            key_groups: self.key_groups,
            counters: Arc::new(Counters::default()),
        };
        self.infos.borrow_mut().push(info.clone());
        info
    }
}

/// What a worker runs.
pub(crate) struct Built {
    /// The tasks of each thread, each with who its first operator is.
    pub(crate) threads: Vec<Vec<(Box<dyn Task>, TaskInfo)>>,
    /// Every operator instance, for counters.
    pub(crate) infos: Vec<TaskInfo>,
    /// How many shares a snapshot of this worker has.
    pub(crate) shares: usize,
    pub(crate) commits: Commits,
    /// The channels to and from other processes.
    pub(crate) links: Links,
    /// How far its sources have come, where they are held together.
    pub(crate) drift: Option<Arc<Drift>>,
}

/// How a worker's tasks are to be made.
pub(crate) struct BuildSpec<'a> {
    pub(crate) key_groups: KeyGroups,
    pub(crate) linger_ms: i64,
    /// The threads of each worker.
    pub(crate) threads: &'a [u32],
    pub(crate) worker: WorkerIndex,
    pub(crate) doorbells: &'a [Doorbell],
    pub(crate) run: Run,
    pub(crate) job: Arc<str>,
    pub(crate) history: Arc<History>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tiers: Option<&'a Base>,
}

/// Makes the tasks of one worker.
pub(crate) fn build(graph: &Graph, resolved: &Resolved, spec: &BuildSpec<'_>) -> Result<Built> {
    let (senders, mut receivers, links) = channels(graph, resolved, spec);
    let wiring = Wiring {
        graph,
        resolved,
        key_groups: spec.key_groups,
        linger_ms: spec.linger_ms,
        senders: RefCell::new(senders),
        infos: RefCell::default(),
        commits: Commits::default(),
        run: spec.run,
        job: spec.job.clone(),
        history: spec.history.clone(),
        clock: spec.clock.clone(),
        drift: drift(graph, resolved, spec),
        tiers: spec.tiers,
    };
    let mut threads: Vec<Vec<_>> = spec.doorbells.iter().map(|_| Vec::new()).collect();
    let mut shares = 0;
    for (index, node) in graph.nodes.iter().enumerate() {
        let at = NodeIndex(index);
        for task in (0..resolved.parallelism[index]).map(TaskIndex) {
            let place = place(task, resolved.parallelism[index], spec.threads);
            if place.worker != spec.worker {
                continue;
            }
            shares += usize::from(Resolved::keeps(graph, at));
            if resolved.chained[index] {
                continue;
            }
            let info = wiring.info(at, task);
            let head = match &node.make {
                Make::Source(make) => {
                    let doorbell = spec.doorbells[place.thread as usize].clone();
                    let made = make(&wiring, info.clone(), doorbell);
                    let made = made.map_err(|error| error.in_operator(&node.id))?;
                    threads[place.thread as usize].push((made, info));
                    continue;
                }
                Make::Node { node, head } => node(&wiring, info.clone()).and_then(head),
                Make::Head(make) => make(&wiring, info.clone()),
            };
            let head = head.map_err(|error| error.in_operator(&node.id))?;
            let inputs = receivers.remove(&(at, task.0)).unwrap_or_default();
            let made = InputTask::new(inputs, head);
            threads[place.thread as usize].push((Box::new(made), info));
        }
    }
    let Wiring { infos, commits, drift, .. } = wiring;
    let drift = drift.map(|(drift, _)| drift);
    Ok(Built { threads, infos: infos.into_inner(), shares, commits, links, drift })
}

/// The sources that are held together, with places for those of their tasks that run here.
fn drift(
    graph: &Graph,
    resolved: &Resolved,
    spec: &BuildSpec<'_>,
) -> Option<(Arc<Drift>, Vec<NodeIndex>)> {
    let (max_ms, sources) = held_together(graph)?;
    let tasks = sources.iter().map(|source| {
        let parallelism = resolved.parallelism[source.0];
        let places = (0..parallelism).map(|task| place(TaskIndex(task), parallelism, spec.threads));
        places.filter(|place| place.worker == spec.worker).count()
    });
    let others = if spec.threads.len() > 1 { Marks::UNHEARD } else { Marks::default() };
    Some((Drift::new(max_ms, tasks.sum(), others), sources))
}

type Receivers = HashMap<(NodeIndex, u32), Vec<(usize, Receiver)>>;

/// A channel of an edge: from which task to which, and where they run.
struct Wire<'a> {
    /// The receiving node, and which of its inputs the edge is.
    to: (NodeIndex, usize),
    edge: &'a Edge,
    from_task: u32,
    to_task: u32,
    from: Place,
    at: Place,
}

/// The channels of every edge that is not within a chain. In the same order in every process: a
/// channel's place in it is its number.
fn wires<'a>(graph: &'a Graph, resolved: &Resolved, threads: &[u32]) -> Vec<Wire<'a>> {
    let mut wires = Vec::new();
    for (to, node) in graph.nodes.iter().enumerate().filter(|(to, _)| !resolved.chained[*to]) {
        let to_parallelism = resolved.parallelism[to];
        for (input, edge) in node.inputs.iter().enumerate() {
            let from_parallelism = resolved.parallelism[edge.from.0];
            for from_task in 0..from_parallelism {
                let targets = match edge.kind {
                    EdgeKind::Forward => from_task..from_task + 1,
                    EdgeKind::Global => 0..1,
                    EdgeKind::Hash | EdgeKind::Rebalance | EdgeKind::Broadcast => 0..to_parallelism,
                };
                wires.extend(targets.map(|to_task| Wire {
                    to: (NodeIndex(to), input),
                    edge,
                    from_task,
                    to_task,
                    from: place(TaskIndex(from_task), from_parallelism, threads),
                    at: place(TaskIndex(to_task), to_parallelism, threads),
                }));
            }
        }
    }
    wires
}

/// Makes the ends of channels that lie in this process.
fn channels(
    graph: &Graph,
    resolved: &Resolved,
    spec: &BuildSpec<'_>,
) -> (Channels<Sender>, Receivers, Links) {
    let (mut senders, mut receivers) = (Channels::default(), Receivers::default());
    let wires = wires(graph, resolved, spec.threads);
    let is_here = |place: Place| place.worker == spec.worker;
    let bell = |place: Place| spec.doorbells[place.thread as usize].clone();
    let incoming = wires.iter().filter(|wire| is_here(wire.at) && !is_here(wire.from)).count();
    let mut links = LinksBuilder::new(spec.run, incoming);
    for (number, wire) in (0..).zip(wires) {
        let Wire { to, edge, from_task, to_task, from, at } = wire;
        let (sender, receiver) = match (is_here(from), is_here(at)) {
            (true, true) => {
                let (sender, receiver) = channel(bell(from), bell(at));
                (Some(sender), Some(receiver))
            }
            (true, false) => {
                let sender = links.sender(at.worker, number, bell(from), (edge.codec)());
                (Some(Sender::Remote(sender)), None)
            }
            (false, true) => {
                let receiver = links.receiver(from.worker, number, bell(at), (edge.codec)());
                (None, Some(Receiver::Remote(receiver)))
            }
            (false, false) => continue,
        };
        if let Some(sender) = sender {
            senders.entry((to.0, to.1, from_task)).or_default().push(sender);
        }
        if let Some(receiver) = receiver {
            receivers.entry((to.0, to_task)).or_default().push((edge.port, receiver));
        }
    }
    (senders, receivers, links.finish())
}
