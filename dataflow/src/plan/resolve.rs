//! Resolves parallelism and chains, and makes the plan that travels. Pure.

use millstream_protocol::id::OperatorId;
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::plan::{EdgeKind, Plan, PlanEdge, PlanOperator, Role};

use super::graph::{Graph, Node, NodeIndex};
use crate::error::{Error, Result};

/// A graph with its parallelism resolved.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    /// By node.
    pub(crate) parallelism: Vec<u32>,
    /// By node: it runs in the task of the node before it.
    pub(crate) chained: Vec<bool>,
    pub(crate) plan: Plan,
}

/// Resolves the parallelism of each operator: its own, else that of the operator it is joined to by
/// a forward edge, else all threads.
pub(crate) fn resolve(graph: &Graph, threads: u32, key_groups: KeyGroups) -> Result<Resolved> {
    let mut errors = graph.errors.clone();
    errors.extend(super::drift::mistake(graph));
    let mut parallelism: Vec<u32> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let forward = node.inputs.iter().filter(|edge| edge.kind == EdgeKind::Forward);
        let forward = forward.map(|edge| (parallelism[edge.from.0], &*graph.node(edge.from).id));
        let forward: Vec<_> = forward.collect();
        let most = node.parallelism_max.unwrap_or(u32::MAX);
        let default = forward.first().map_or(threads, |(upstream, _)| *upstream).min(most);
        let own = node.parallelism.unwrap_or(default);
        check(node, own, &forward, key_groups, &mut errors);
        parallelism.push(own);
    }
    if graph.nodes.is_empty() {
        return Err(Error::invalid("the program builds no operators: start with job.source(..)"));
    }
    if !errors.is_empty() {
        let lines = errors.iter().map(|(message, at)| format!("{message} (at {at})"));
        return Err(Error::invalid(lines.collect::<Vec<_>>().join("\n")));
    }
    let chained = (0..graph.nodes.len()).map(|index| is_chained(graph, index)).collect();
    let plan = plan(graph, &parallelism);
    Ok(Resolved { parallelism, chained, plan })
}

fn check(
    node: &Node,
    own: u32,
    forward: &[(u32, &str)],
    key_groups: KeyGroups,
    errors: &mut Vec<(String, &'static std::panic::Location<'static>)>,
) {
    let mut refuse = |message: String| errors.push((message, node.location));
    let id = &node.id;
    if own == 0 {
        refuse(format!("operator {id}: a parallelism of 0; write 1 or more"));
    }
    if let Some(most) = node.parallelism_max.filter(|most| own > *most) {
        refuse(format!("operator {id}: a parallelism of {own}, and at most {most} makes sense"));
    }
    if let Some((upstream, from)) = forward.iter().find(|(upstream, _)| *upstream != own) {
        refuse(format!(
            "operator {id}: a parallelism of {own} behind {from} with {upstream}: \
             put .rebalance() or .global() between them"
        ));
    }
    if node.keyed && own > key_groups.count() {
        refuse(format!(
            "operator {id}: a parallelism of {own} is more than the {} key groups of the job \
             (spec.keyGroups): use fewer threads or workers, or .parallelism(n)",
            key_groups.count()
        ));
    }
}

/// An operator runs in the task of the one before it when a forward edge is its only input.
fn is_chained(graph: &Graph, index: usize) -> bool {
    matches!(&graph.nodes[index].inputs[..], [edge] if edge.kind == EdgeKind::Forward)
}

fn plan(graph: &Graph, parallelism: &[u32]) -> Plan {
    let mut plan = Plan::default();
    for (node, &parallelism) in graph.nodes.iter().zip(parallelism) {
        plan.operators.push(PlanOperator {
            id: OperatorId(node.id.clone()),
            method: node.method.to_owned(),
            role: node.role,
            parallelism,
            keyed: node.keyed,
            states: node.states.schemas.clone(),
            migrations: node.states.migrations(),
        });
        plan.edges.extend(node.inputs.iter().map(|edge| PlanEdge {
            from: OperatorId(graph.node(edge.from).id.clone()),
            to: OperatorId(node.id.clone()),
            kind: edge.kind,
        }));
    }
    plan
}

impl Resolved {
    /// Whether an operator instance sends a share for each snapshot.
    pub(crate) fn keeps(graph: &Graph, index: NodeIndex) -> bool {
        let node = graph.node(index);
        node.keeps || !node.states.schemas.is_empty() || !matches!(node.role, Role::Operator)
    }
}
