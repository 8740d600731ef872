//! [`Restore`]: the parts of a snapshot, as tasks read them back.
//!
//! Filled by whoever runs the engine, from the manifest; read by the stages of [`crate::task`],
//! each its own key groups.

use std::collections::HashMap;

use millstream_protocol::id::Epoch;
use millstream_protocol::key_group::KeyGroupRange;
use millstream_protocol::plan::{Plan, PlanOperator};

use super::body::Body;
use super::fit::Fit;
use super::share::{Index, read_groups, read_index};
use crate::error::Result;
use crate::state::{Entry, State, StateTypes, entries};
use crate::time::Timestamp;

/// A snapshot to go on from.
#[derive(Default)]
pub struct Restore {
    /// Its epoch.
    pub epoch: Epoch,
    /// The parts of each operator, older before newer.
    parts: HashMap<String, Vec<RestoredPart>>,
    /// The plan that wrote it: every part of an operator holds its states in the schemas of it.
    plan: Plan,
    /// Whether state that the program at hand does not have, or cannot be made of, is left behind.
    /// Without this a restore that meets such a state fails.
    pub drop_unfit: bool,
    /// Whether all output of its epoch is known to be visible: sinks then recover nothing from it.
    pub committed: bool,
    /// It belongs to another history: the next snapshot must not build upon its parts.
    pub foreign: bool,
}

/// One share of a snapshot.
pub struct RestoredPart {
    /// What it holds.
    pub index: Index,
    /// The key groups to read from it; `None` for operators without keyed state.
    pub groups: Option<KeyGroupRange>,
    body: Body,
}

impl RestoredPart {
    /// A share as it was read, and the groups that the manifest says to read from it.
    pub fn new(body: impl Into<Body>, groups: Option<KeyGroupRange>) -> Result<Self> {
        let body = body.into();
        Ok(Self { index: read_index(&body)?, groups, body })
    }
}

/// The items of a list state, as one task of an earlier run left them.
#[derive(Clone, Debug)]
pub struct RestoredList {
    /// The state's name.
    pub name: String,
    /// The task that wrote it.
    pub task: u32,
    /// How many tasks the operator had then.
    pub parallelism: u32,
    /// The key groups that this task had, as far as they are this one's now.
    pub groups: Option<KeyGroupRange>,
    /// Its items, in postcard.
    pub items: Vec<Vec<u8>>,
}

impl Restore {
    /// One without parts, of a snapshot of this epoch that this plan wrote.
    pub fn new(epoch: Epoch, plan: Plan) -> Self {
        Self { epoch, plan, ..Self::default() }
    }

    /// Adds a part behind those that are there.
    pub fn add(&mut self, part: RestoredPart) {
        self.parts.entry(part.index.operator.clone()).or_default().push(part);
    }

    /// The parts of an operator, older before newer.
    pub(crate) fn of(&self, operator: &str) -> &[RestoredPart] {
        self.parts.get(operator).map_or(&[], Vec::as_slice)
    }

    /// How many tasks an operator had, if it was there.
    fn parallelism(&self, operator: &str) -> Option<u32> {
        let old = self.plan.operators.iter().find(|old| old.id.as_str() == operator);
        old.map(|old| old.parallelism)
    }

    /// How the states of an operator in the snapshot become those of the program at hand. Fails
    /// where one cannot.
    pub(crate) fn fit<'a>(&self, operator: &str, types: &'a StateTypes) -> Result<Fit<'a>> {
        let old = self.plan.operators.iter().find(|old| old.id.as_str() == operator);
        let old: &[_] = old.map_or(&[], |old: &PlanOperator| &old.states);
        Fit::new(old, types, self.drop_unfit)
    }

    /// The list states of an operator: those of the snapshot's own epoch, from all tasks whose
    /// shares are [needed](super::Needs) here.
    pub(crate) fn lists(
        &self,
        operator: &str,
        own: Option<KeyGroupRange>,
        fit: &Fit<'_>,
    ) -> Vec<RestoredList> {
        let parts = self.of(operator).iter().filter(|part| part.index.epoch == self.epoch);
        let parallelism = self.parallelism(operator).unwrap_or(0);
        let mut lists = Vec::new();
        for part in parts {
            let groups = part.index.groups.zip(own).and_then(|(its, own)| its.intersect(own));
            for (name, items) in part.index.lists.iter().filter(|(name, _)| fit.has_list(name)) {
                let (name, items) = (name.clone(), items.clone());
                let task = part.index.task;
                lists.push(RestoredList { name, task, parallelism, groups, items });
            }
        }
        lists
    }

    /// The watermark that each range of key groups had reached: what was late then is late now.
    pub(crate) fn watermarks(
        &self,
        operator: &str,
        own: KeyGroupRange,
    ) -> Vec<(KeyGroupRange, Timestamp)> {
        let parts = self.of(operator).iter().filter(|part| part.index.epoch == self.epoch);
        let reached = parts.flat_map(|part| {
            let whole = part.index.groups.map(|groups| (groups, part.index.watermark));
            // A task that was itself restored may not have caught up with all its key groups.
            whole.into_iter().chain(part.index.floors.iter().copied())
        });
        reached.filter_map(|(groups, time)| Some((groups.intersect(own)?, time))).collect()
    }

    /// Reads the keyed states of an operator instance; returns how many shares and entries that
    /// took.
    pub(crate) fn keyed(
        &self,
        operator: &str,
        own: KeyGroupRange,
        fit: &Fit<'_>,
        states: &mut [&mut dyn State],
    ) -> Result<(usize, usize)> {
        let (mut shares, mut count) = (0, 0);
        for part in self.of(operator) {
            let Some(range) = part.groups.and_then(|groups| groups.intersect(own)) else {
                continue;
            };
            shares += 1;
            for state_index in &part.index.states {
                let Some((place, migration)) = fit.keyed(&state_index.name) else { continue };
                let state = &mut states[place];
                read_groups(&part.body, state_index, range, |bytes| {
                    entries(bytes).try_for_each(|entry| {
                        count += 1;
                        let entry = entry?;
                        // What was removed is named by its key, which no migration changes.
                        let Some(migration) = migration.filter(|_| !entry.removed) else {
                            return state.restore(entry);
                        };
                        state.restore(Entry { body: &migration.apply(entry.body)?, ..entry })
                    })
                })?;
            }
        }
        for state in states {
            state.restored();
        }
        Ok((shares, count))
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::id::KeyGroup;

    use super::super::share::Writer;
    use super::super::spool::Spool;
    use super::*;

    #[test]
    fn groups_that_were_ahead_stay_ahead_through_a_second_snapshot() {
        let range = |start, end| KeyGroupRange { start: KeyGroup(start), end: KeyGroup(end) };
        let index = Index {
            operator: "sums".into(),
            epoch: Epoch(2),
            groups: Some(range(0, 10)),
            watermark: Timestamp(50),
            floors: vec![(range(4, 6), Timestamp(90))],
            ..Index::default()
        };
        let share = Writer::new(index, Spool::default()).finish().unwrap();
        let mut restore = Restore::new(Epoch(2), Plan::default());
        restore.add(RestoredPart::new(share, Some(range(0, 10))).unwrap());
        let reached = restore.watermarks("sums", range(5, 20));
        assert_eq!(reached, [(range(5, 10), Timestamp(50)), (range(5, 6), Timestamp(90))]);
    }
}
