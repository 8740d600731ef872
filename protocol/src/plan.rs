//! The plan: what of a program travels. Operators, edges and state schemas; never closures.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::OperatorId;

/// What of a program travels between processes. Every worker builds the same one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The operators, upstream before downstream.
    pub operators: Vec<PlanOperator>,
    /// The edges between them.
    pub edges: Vec<PlanEdge>,
}

/// One node of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanOperator {
    /// The id that names its state.
    pub id: OperatorId,
    /// The method that made it, as a reader of the program knows it: `map`, `aggregate`.
    pub method: String,
    /// What part it plays.
    pub role: Role,
    /// The parallelism it runs with, resolved for the threads at hand.
    pub parallelism: u32,
    /// Whether it partitions its state by key group. Others keep list state only.
    pub keyed: bool,
    /// The states it declares, in the order of declaration. Empty for a stateless operator.
    pub states: Vec<StateSchema>,
    /// What else its states can be made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<StateMigration>,
}

/// A state can be made of what an earlier version of the program stored under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateMigration {
    /// The state's name within the operator.
    pub state: String,
    /// The schema of what it is made of.
    pub from: String,
}

/// What part an operator plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Reads from outside.
    Source,
    /// Neither end.
    Operator,
    /// Writes outside, with the guarantee it gives.
    Sink(Guarantee),
}

/// What a sink promises when a job is restored and replays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Guarantee {
    /// Output appears when its snapshot is committed, once.
    ExactlyOnce,
    /// Output may appear again after a restore.
    AtLeastOnce,
}

/// One edge of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanEdge {
    /// The operator that sends.
    pub from: OperatorId,
    /// The operator that receives.
    pub to: OperatorId,
    /// How records find the receiving task.
    pub kind: EdgeKind,
}

/// How records find the receiving task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EdgeKind {
    /// Task i sends to task i.
    Forward,
    /// By key group.
    Hash,
    /// Round robin.
    Rebalance,
    /// To every task.
    Broadcast,
    /// To task 0.
    Global,
}

/// A declared state: its name within the operator, what kind of state it is, and the shape of what
/// it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSchema {
    /// The name within the operator.
    pub name: String,
    /// `value`, `list`, `map`, `window`, `timers`, `positions`, `pending`.
    pub kind: String,
    /// The shape of the stored types, as text; two schemas are equal exactly when their texts are.
    pub schema: String,
}

impl Plan {
    /// Names the program's shape: operators, edges and schemas. Resolved parallelism, args and
    /// migrations do not count.
    pub fn fingerprint(&self) -> String {
        let mut shape = self.clone();
        for operator in &mut shape.operators {
            operator.parallelism = 0;
            operator.migrations.clear();
        }
        let bytes = serde_json::to_vec(&shape).expect("a plan has string keys only");
        format!("{:016x}", xxh3_64(&bytes))
    }

    /// The states of an older plan that an operator of this one neither reads nor can make another
    /// of: whoever goes on from them loses them. Each operator with the names of its states.
    pub fn dropped<'a>(&self, old: &'a Plan) -> Vec<(&'a OperatorId, Vec<&'a str>)> {
        let of = |old: &'a PlanOperator| {
            let new = self.operator(&old.id).filter(|new| new.keyed == old.keyed);
            let lost = old.states.iter().filter(|state| !new.is_some_and(|new| new.reads(state)));
            (&old.id, lost.map(|state| &*state.name).collect())
        };
        old.operators.iter().map(of).filter(|(_, lost): &(_, Vec<_>)| !lost.is_empty()).collect()
    }

    /// The operator with this id.
    pub fn operator(&self, id: &OperatorId) -> Option<&PlanOperator> {
        self.operators.iter().find(|operator| operator.id == *id)
    }
}

impl PlanOperator {
    /// The state of this name.
    pub fn state(&self, name: &str) -> Option<&StateSchema> {
        self.states.iter().find(|state| state.name == name)
    }

    /// Whether what was stored as this can be read, as it is or by a migration.
    pub fn reads(&self, old: &StateSchema) -> bool {
        let migrated = || self.migrated_from(&old.name).any(|from| from == old.schema);
        let new = self.state(&old.name).filter(|new| new.kind == old.kind);
        new.is_some_and(|new| new.schema == old.schema || migrated())
    }

    /// The schemas that a state of this name can be made of, beside its own.
    pub fn migrated_from<'a>(&'a self, state: &'a str) -> impl Iterator<Item = &'a str> {
        let own = self.migrations.iter().filter(move |migration| migration.state == state);
        own.map(|migration| migration.from.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(id: &str, keyed: bool, states: &[(&str, &str, &str)]) -> PlanOperator {
        let state = |(name, kind, schema): &(&str, &str, &str)| StateSchema {
            name: (*name).into(),
            kind: (*kind).into(),
            schema: (*schema).into(),
        };
        PlanOperator {
            id: id.into(),
            method: "process".into(),
            role: Role::Operator,
            parallelism: 1,
            keyed,
            states: states.iter().map(state).collect(),
            migrations: vec![],
        }
    }

    #[test]
    fn dropped_is_what_no_operator_can_read() {
        let value = |name| (name, "value", "u32");
        let plan = |operators| Plan { operators, edges: vec![] };
        let old = plan(vec![
            operator("gone", true, &[value("a"), value("b")]),
            operator("here", true, &[value("same"), value("wide"), value("kind"), value("not")]),
            operator("moved", false, &[value("list")]),
            operator("plain", false, &[]),
        ]);
        let states = [value("same"), ("wide", "value", "u64"), ("kind", "list", "u32")];
        let here = operator("here", true, &states);
        let moved = operator("moved", true, &[value("list")]);
        let mut new = plan(vec![here, moved]);
        let (gone, moved) = ("gone".into(), "moved".into());
        let mut expected = vec![
            (&gone, vec!["a", "b"]),
            (&old.operators[1].id, vec!["wide", "kind", "not"]),
            (&moved, vec!["list"]),
        ];
        assert_eq!(new.dropped(&old), expected);
        let migration = StateMigration { state: "wide".into(), from: "u32".into() };
        new.operators[0].migrations.push(migration);
        expected[1].1.remove(0);
        assert_eq!(new.dropped(&old), expected);
        assert_eq!(old.dropped(&old), []);
    }

    #[test]
    fn migrations_are_no_part_of_the_shape() {
        let operator = PlanOperator {
            id: "count".into(),
            method: "scan".into(),
            role: Role::Operator,
            parallelism: 1,
            keyed: true,
            states: vec![],
            migrations: vec![],
        };
        let plain = Plan { operators: vec![operator], edges: vec![] };
        let mut migrating = plain.clone();
        let migration = StateMigration { state: "state".into(), from: "u32".into() };
        migrating.operators[0].migrations.push(migration);
        assert_eq!(plain.fingerprint(), migrating.fingerprint());
        // A plan in a log from before there were any reads back.
        let text = serde_json::to_string(&plain).unwrap();
        assert!(!text.contains("migrations"), "{text}");
        assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plain);
    }
}
