//! From the shares that tasks report to the parts that a manifest lists.
//!
//! Received from: workers, a [`TaskShare`] for each task that keeps state. Handed to: the manifest,
//! as [`OperatorState`]. Invariant: for every key group, the listed parts, applied in order, give
//! the state at the barrier; parts name no parts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, OperatorId, TaskIndex};
use crate::key_group::{KeyGroupRange, KeyGroups};
use crate::log::{OperatorState, PartRef, TaskMark};
use crate::plan::{Plan, PlanOperator, Role};

/// What one task of one operator contributes to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskShare {
    /// The operator.
    pub operator: OperatorId,
    /// The task.
    pub task: TaskIndex,
    /// The key groups it owns; none for an unkeyed operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<KeyGroupRange>,
    /// What the data covers.
    pub extent: Extent,
    /// Where the data lies; none where there is nothing to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<ShareData>,
    /// The task's watermark, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    /// Whether the data holds output that is made visible by a commit.
    pub pending_commit: bool,
    /// Whether all inputs of the task had ended.
    pub ended: bool,
}

/// What a share covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Extent {
    /// All state of the task. The only extent of an unkeyed operator, of state that was dropped and
    /// not restored, and of a first snapshot.
    Full,
    /// What changed since the published manifest of this epoch.
    Since(Epoch),
}

/// Where the bytes of a share lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShareData {
    /// The object, named relative to the job's prefix.
    pub object: String,
    /// Where the share starts in it, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// CRC32C of these bytes.
    pub crc32c: u32,
    /// How many entries it holds.
    pub entries: u64,
}

/// The snapshot that the new one extends.
#[derive(Clone, Copy, Debug)]
pub struct Previous<'a> {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its operators.
    pub operators: &'a [OperatorState],
}

/// The snapshot that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a> {
    /// Its epoch.
    pub epoch: Epoch,
    /// The plan that runs, with its parallelism resolved.
    pub plan: &'a Plan,
    /// How many key groups the job has.
    pub key_groups: KeyGroups,
}

/// Why shares do not make a snapshot. Each is an invariant of the engine that broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A task that keeps state reported none.
    #[error("epoch {epoch}: no share of task {task} of operator {operator}")]
    Missing {
        /// The epoch.
        epoch: Epoch,
        /// The operator.
        operator: OperatorId,
        /// The task.
        task: TaskIndex,
    },
    /// A task reported twice, or does not exist.
    #[error(
        "epoch {epoch}: the plan has no place for a share of task {task} of operator {operator}"
    )]
    Unexpected {
        /// The epoch.
        epoch: Epoch,
        /// The operator.
        operator: OperatorId,
        /// The task.
        task: TaskIndex,
    },
    /// The share's key groups are not those that the task owns.
    #[error("epoch {epoch}: task {task} of operator {operator} reports key groups it does not own")]
    Groups {
        /// The epoch.
        epoch: Epoch,
        /// The operator.
        operator: OperatorId,
        /// The task.
        task: TaskIndex,
    },
    /// A share of an unkeyed operator holds changes only.
    #[error(
        "epoch {epoch}: task {task} of unkeyed operator {operator} reports less than all its state"
    )]
    NotFull {
        /// The epoch.
        epoch: Epoch,
        /// The operator.
        operator: OperatorId,
        /// The task.
        task: TaskIndex,
    },
    /// A share holds changes since a snapshot that is not the one before.
    #[error(
        "epoch {epoch}: task {task} of operator {operator} reports changes since epoch {since}, \
         but the snapshot before it is {previous:?}"
    )]
    Since {
        /// The epoch.
        epoch: Epoch,
        /// The operator.
        operator: OperatorId,
        /// The task.
        task: TaskIndex,
        /// What the changes build on.
        since: Epoch,
        /// What they must build on.
        previous: Option<Epoch>,
    },
}

/// The operators of the manifest of `cut`: what `previous` lists, extended by `shares`.
///
/// Of a keyed operator, a full share takes the place of all earlier parts in its key groups
/// (splitting their ranges where it must), and changes are listed behind them. Of an unkeyed
/// operator, only what was reported now is listed. A share without data leaves no part, but its
/// task's mark.
pub fn extend(
    previous: Option<Previous<'_>>,
    shares: &[TaskShare],
    cut: Cut<'_>,
) -> Result<Vec<OperatorState>, Error> {
    let mut seen = BTreeSet::new();
    for share in shares {
        check(share, previous, cut)?;
        if !seen.insert((&share.operator, share.task)) {
            return Err(unexpected(share, cut.epoch));
        }
    }
    let mut operators = Vec::new();
    for operator in &cut.plan.operators {
        let mut own: Vec<_> = shares.iter().filter(|share| share.operator == operator.id).collect();
        if own.is_empty() && operator.states.is_empty() {
            continue;
        }
        own.sort_by_key(|share| share.task);
        if let Some(task) = (0..operator.parallelism)
            .map(TaskIndex)
            .find(|task| !seen.contains(&(&operator.id, *task)))
        {
            return Err(Error::Missing { epoch: cut.epoch, operator: operator.id.clone(), task });
        }
        operators.push(extend_operator(previous, operator, &own, cut.epoch));
    }
    Ok(operators)
}

fn unexpected(share: &TaskShare, epoch: Epoch) -> Error {
    Error::Unexpected { epoch, operator: share.operator.clone(), task: share.task }
}

fn check(share: &TaskShare, previous: Option<Previous<'_>>, cut: Cut<'_>) -> Result<(), Error> {
    let Cut { epoch, plan, key_groups } = cut;
    let operator = plan.operator(&share.operator).ok_or_else(|| unexpected(share, epoch))?;
    if share.task.0 >= operator.parallelism {
        return Err(unexpected(share, epoch));
    }
    let owned = operator.keyed.then(|| key_groups.of_task(share.task, operator.parallelism));
    if share.groups != owned {
        return Err(Error::Groups { epoch, operator: share.operator.clone(), task: share.task });
    }
    let previous = previous.map(|previous| previous.epoch);
    match share.extent {
        Extent::Since(_) if !operator.keyed => {
            Err(Error::NotFull { epoch, operator: share.operator.clone(), task: share.task })
        }
        Extent::Since(since) if previous != Some(since) => Err(Error::Since {
            epoch,
            operator: share.operator.clone(),
            task: share.task,
            since,
            previous,
        }),
        Extent::Since(_) | Extent::Full => Ok(()),
    }
}

fn extend_operator(
    previous: Option<Previous<'_>>,
    operator: &PlanOperator,
    shares: &[&TaskShare],
    epoch: Epoch,
) -> OperatorState {
    let earlier = previous
        .filter(|_| operator.keyed)
        .and_then(|previous| previous.operators.iter().find(|state| state.id == operator.id));
    let mut parts: Vec<PartRef> = earlier.map_or_else(Vec::new, |state| state.parts.clone());
    for share in shares {
        if let (Extent::Full, Some(groups)) = (share.extent, share.groups) {
            parts = parts.into_iter().flat_map(|part| without(part, groups)).collect();
        }
    }
    for share in shares {
        if let Some(ShareData { object, offset, length, crc32c, entries: _ }) = &share.data {
            parts.push(PartRef {
                object: object.clone(),
                offset: *offset,
                length: *length,
                crc32c: *crc32c,
                epoch,
                task: share.task,
                groups: share.groups,
            });
        }
    }
    let tasks = shares.iter().map(|share| TaskMark {
        task: share.task,
        groups: share.groups,
        watermark: share.watermark,
        ended: share.ended,
    });
    OperatorState {
        id: operator.id.clone(),
        parallelism: operator.parallelism,
        parts,
        tasks: tasks.collect(),
        pending_commits: matches!(operator.role, Role::Sink(_))
            .then(|| shares.iter().any(|share| share.pending_commit)),
    }
}

/// What is still to be read of a part once `groups` come from elsewhere. A part without key groups
/// was written by an unkeyed operator of this name; nothing of it is left.
fn without(part: PartRef, groups: KeyGroupRange) -> Vec<PartRef> {
    let left = part.groups.map_or_else(Vec::new, |own| own.subtract(groups));
    left.into_iter().map(|groups| PartRef { groups: Some(groups), ..part.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::num::NonZeroU16;

    use proptest::prelude::*;

    use super::*;
    use crate::id::KeyGroup;
    use crate::plan::{Role, StateSchema};

    const GROUPS: u16 = 12;

    fn key_groups() -> KeyGroups {
        KeyGroups(NonZeroU16::new(GROUPS).unwrap())
    }

    fn plan(parallelism: u32, keyed: bool) -> Plan {
        let state = StateSchema { name: "s".into(), kind: "value".into(), schema: "u64".into() };
        let operator = PlanOperator {
            id: "op".into(),
            method: "scan".into(),
            role: Role::Operator,
            parallelism,
            keyed,
            states: vec![state],
            migrations: vec![],
        };
        Plan { operators: vec![operator], edges: vec![] }
    }

    fn share(plan: &Plan, task: u32, epoch: u64, extent: Extent) -> TaskShare {
        let operator = &plan.operators[0];
        let task = TaskIndex(task);
        TaskShare {
            operator: operator.id.clone(),
            task,
            groups: operator.keyed.then(|| key_groups().of_task(task, operator.parallelism)),
            extent,
            data: Some(ShareData {
                object: format!("parts/1/{epoch}/0-{task}"),
                offset: 0,
                length: 1,
                crc32c: 0,
                entries: 1,
            }),
            watermark: Some(epoch as i64),
            pending_commit: false,
            ended: false,
        }
    }

    fn cut(plan: &Plan, epoch: u64) -> Cut<'_> {
        Cut { epoch: Epoch(epoch), plan, key_groups: key_groups() }
    }

    fn previous(epoch: u64, operators: &[OperatorState]) -> Previous<'_> {
        Previous { epoch: Epoch(epoch), operators }
    }

    #[test]
    fn changes_are_listed_behind_what_they_change() {
        let plan = plan(1, true);
        let one = extend(None, &[share(&plan, 0, 1, Extent::Full)], cut(&plan, 1)).unwrap();
        let changes = [share(&plan, 0, 2, Extent::Since(Epoch(1)))];
        let two = extend(Some(previous(1, &one)), &changes, cut(&plan, 2)).unwrap();
        let epochs: Vec<_> = two[0].parts.iter().map(|part| part.epoch.0).collect();
        assert_eq!(epochs, [1, 2]);
        assert_eq!(two[0].tasks[0].watermark, Some(2), "the mark is the newest one only");
        let three =
            extend(Some(previous(2, &two)), &[share(&plan, 0, 3, Extent::Full)], cut(&plan, 3));
        assert_eq!(three.unwrap()[0].parts.len(), 1, "a full share replaces the chain");
    }

    #[test]
    fn a_full_share_splits_what_it_covers_in_part() {
        let (wide, narrow) = (plan(1, true), plan(3, true));
        let one = extend(None, &[share(&wide, 0, 1, Extent::Full)], cut(&wide, 1)).unwrap();
        let shares = [
            share(&narrow, 0, 2, Extent::Since(Epoch(1))),
            share(&narrow, 1, 2, Extent::Full),
            share(&narrow, 2, 2, Extent::Since(Epoch(1))),
        ];
        let two = extend(Some(previous(1, &one)), &shares, cut(&narrow, 2)).unwrap();
        let old: Vec<_> = two[0].parts.iter().filter(|part| part.epoch == Epoch(1)).collect();
        let ranges: Vec<_> =
            old.iter().map(|p| p.groups.unwrap()).map(|r| (r.start.0, r.end.0)).collect();
        assert_eq!(ranges, [(0, 4), (8, 12)]);
    }

    #[test]
    fn an_unkeyed_operator_lists_its_own_epoch_only() {
        let plan = plan(2, false);
        let shares =
            |epoch| [share(&plan, 0, epoch, Extent::Full), share(&plan, 1, epoch, Extent::Full)];
        let one = extend(None, &shares(1), cut(&plan, 1)).unwrap();
        let two = extend(Some(previous(1, &one)), &shares(2), cut(&plan, 2)).unwrap();
        assert!(two[0].parts.iter().all(|part| part.epoch == Epoch(2)));
        assert_eq!(two[0].parts.len(), 2);
        let changes = [share(&plan, 0, 3, Extent::Since(Epoch(2)))];
        let result = extend(Some(previous(2, &two)), &changes, cut(&plan, 3));
        assert!(matches!(result, Err(Error::NotFull { .. })));
    }

    #[test]
    fn a_share_without_data_leaves_its_mark() {
        let plan = plan(1, true);
        let one = extend(None, &[share(&plan, 0, 1, Extent::Full)], cut(&plan, 1)).unwrap();
        let nothing =
            TaskShare { data: None, ended: true, ..share(&plan, 0, 2, Extent::Since(Epoch(1))) };
        let two = extend(Some(previous(1, &one)), &[nothing], cut(&plan, 2)).unwrap();
        assert_eq!(two[0].parts, one[0].parts);
        assert!(two[0].tasks[0].ended);
    }

    #[test]
    fn shares_that_do_not_fit_are_refused() {
        let plan = plan(2, true);
        let full = |task| share(&plan, task, 2, Extent::Full);
        let fails = |shares: &[TaskShare]| extend(None, shares, cut(&plan, 2)).unwrap_err();
        assert!(matches!(fails(&[full(0)]), Error::Missing { task: TaskIndex(1), .. }));
        assert!(matches!(fails(&[full(0), full(0)]), Error::Unexpected { .. }));
        let stranger = TaskShare { operator: "other".into(), ..full(0) };
        assert!(matches!(fails(&[stranger]), Error::Unexpected { .. }));
        let foreign = TaskShare { groups: full(1).groups, ..full(0) };
        assert!(matches!(fails(&[foreign]), Error::Groups { .. }));
        let since = share(&plan, 0, 2, Extent::Since(Epoch(1)));
        assert!(matches!(fails(&[since]), Error::Since { previous: None, .. }));
    }

    #[test]
    fn changes_must_build_on_the_snapshot_before() {
        let plan = plan(1, true);
        let one = extend(None, &[share(&plan, 0, 1, Extent::Full)], cut(&plan, 1)).unwrap();
        let stale = [share(&plan, 0, 9, Extent::Since(Epoch(1)))];
        let result = extend(Some(previous(5, &one)), &stale, cut(&plan, 9));
        assert!(matches!(result, Err(Error::Since { since: Epoch(1), .. })));
    }

    proptest! {
        /// Against a naive model: for each group, the list of epochs whose data must be applied.
        #[test]
        fn every_group_reads_what_the_model_reads(
            steps in proptest::collection::vec(
                (1u32..6, proptest::collection::vec((any::<bool>(), any::<bool>()), 6)), 1..8)
        ) {
            let mut model: BTreeMap<u16, Vec<(u64, u32)>> = BTreeMap::new();
            let mut operators: Vec<OperatorState> = vec![];
            for (epoch, (parallelism, tasks)) in (1u64..).zip(steps) {
                let plan = plan(parallelism, true);
                let mut shares = vec![];
                for task in 0..parallelism {
                    let (full, data) = tasks[task as usize];
                    let full = full || epoch == 1;
                    let extent = if full { Extent::Full } else { Extent::Since(Epoch(epoch - 1)) };
                    let mut one = share(&plan, task, epoch, extent);
                    let groups = one.groups.unwrap();
                    if !data { one.data = None; }
                    for group in groups.start.0..groups.end.0 {
                        let list = model.entry(group).or_default();
                        if full { list.clear(); }
                        if data { list.push((epoch, task)); }
                    }
                    shares.push(one);
                }
                let base = Previous { epoch: Epoch(epoch - 1), operators: &operators };
                let before = (epoch > 1).then_some(base);
                operators = extend(before, &shares, cut(&plan, epoch)).unwrap();
            }
            for (group, want) in model {
                let one = KeyGroupRange { start: KeyGroup(group), end: KeyGroup(group + 1) };
                let parts = operators[0].parts_of(one);
                let got: Vec<_> = parts.map(|(part, _)| (part.epoch.0, part.task.0)).collect();
                prop_assert_eq!(got, want);
            }
        }
    }
}
