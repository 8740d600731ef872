//! A job's log: claims, what began of them, manifests and what is left of old manifests.
//!
//! Received from: the coordinator, which decides every entry, and the store, which has kept them.
//! Handed to: the stores as bytes, and to the coordinator and the engine as facts about state.
//! Invariant: an entry's bytes are made once by [`Entry::to_text`], hold a nonce, and are compared
//! as bytes. They say in which slot of which job's log they belong, and carry a checksum.

mod form;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::{Epoch, OperatorId, Run, Seq, TaskIndex, Term};
use crate::job::ProgramSpec;
use crate::key_group::{KeyGroupRange, KeyGroups};
use crate::plan::Plan;
use crate::time::Timestamp;
use crate::wish::Wish;

pub use form::{Error, FORMAT_VERSION};

/// Id of a history: new on a fresh start, kept through restores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(pub String);

/// Tells two entries with the same content apart, and an own entry from a foreign one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub String);

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Entry {
    /// A coordinator takes the job.
    Claim(Claim),
    /// A set of parts is a snapshot.
    Manifest(Manifest),
    /// The run of a claim that a wish had asked for begins.
    Began(Began),
    /// Here was a manifest, which retention has overwritten. The slot stays taken.
    Tombstone(Tombstone),
}

/// A coordinator takes the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// Tells this entry from every other.
    pub nonce: Nonce,
    /// The run that starts with this claim, or goes on.
    pub run: Run,
    /// The coordinator's reign within the run, from 1.
    pub term: Term,
    /// The manifest that the run starts from; none: from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Seq>,
    /// Why this base.
    pub wish: Wish,
    /// The history that the run continues.
    pub lineage: Lineage,
    /// Parallelism of each sink: whose transactional ids a later run must fence.
    pub sink_parallelism: BTreeMap<OperatorId, u32>,
    /// Version of the protocol between coordinator and workers.
    pub protocol: u32,
    /// Which program runs; none in claims from before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ProgramMark>,
    /// So many of the newest snapshots its retention keeps. What it does not keep it may overwrite
    /// at any later time, if it sleeps in between. None in claims from before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<u32>,
    /// When it was made.
    pub at: Timestamp,
}

/// The run of a claim that a wish had asked for begins: all its tasks are there, and none has
/// started. From here on the wish has been acted upon. A claim with a wish and without this entry
/// behind it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Began {
    /// Tells this entry from every other.
    pub nonce: Nonce,
    /// The run of the claim.
    pub run: Run,
    /// When it was made.
    pub at: Timestamp,
}

/// Which program a run was given, as far as two of them need to be told apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgramMark {
    /// Its name; none where the binary has only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its arguments by name, each with a hash of its value: a value may be a secret, and a log is
    /// read by many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
}

impl ProgramMark {
    /// That of a program in a job's spec.
    pub fn of(program: &ProgramSpec) -> Self {
        let hashed = |(name, value): (&String, &String)| {
            (name.clone(), format!("{:016x}", xxh3_64(value.as_bytes())))
        };
        Self { name: program.name.clone(), args: program.args.iter().map(hashed).collect() }
    }
}

/// A set of parts that is a snapshot: the complete, consistent state of all tasks at an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Tells this entry from every other.
    pub nonce: Nonce,
    /// The run that wrote it.
    pub run: Run,
    /// Its epoch: greater than every epoch before it in the log.
    pub epoch: Epoch,
    /// The history that it belongs to.
    pub lineage: Lineage,
    /// The manifest before it in this history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Seq>,
    /// The plan's fingerprint.
    pub fingerprint: String,
    /// The plan that wrote it, with the schema of each state.
    pub plan: Plan,
    /// How many key groups the job has.
    pub key_groups: KeyGroups,
    /// The state of each operator that keeps any.
    pub operators: Vec<OperatorState>,
    /// Whether a sink has output that its commit makes visible.
    pub pending_commits: bool,
    /// Whether all tasks had ended: nothing is left to run.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Whether a user asked for it: then it is kept until a user removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub savepoint: bool,
    /// When it was made.
    pub at: Timestamp,
}

/// What is left of a manifest that retention has overwritten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tombstone {
    /// The run of the manifest that was here.
    pub run: Run,
    /// Its epoch: no later epoch may be as low.
    pub epoch: Epoch,
    /// When it was overwritten.
    pub at: Timestamp,
}

/// The state of one operator in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorState {
    /// The operator.
    pub id: OperatorId,
    /// How many tasks it had.
    pub parallelism: u32,
    /// What to read, in this order: a later part overrides an earlier one. List-like state
    /// (positions, pending output, unkeyed lists) lies in parts of the manifest's own epoch only.
    pub parts: Vec<PartRef>,
    /// Each task at the barrier.
    pub tasks: Vec<TaskMark>,
    /// Of a sink, whether it has output that its commit makes visible; none of other operators, and
    /// in manifests from before this was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_commits: Option<bool>,
}

/// Where a task stood at the barrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskMark {
    /// The task.
    pub task: TaskIndex,
    /// The key groups it owned; none for an unkeyed operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<KeyGroupRange>,
    /// Its watermark, in milliseconds: every timer up to here had fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    /// Whether all its inputs had ended.
    pub ended: bool,
}

/// One task's share of a part object, or what of it is still to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartRef {
    /// The object, named relative to the job's prefix.
    pub object: String,
    /// Where the share starts in the object, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// CRC32C of these bytes.
    pub crc32c: u32,
    /// The epoch it was written for.
    pub epoch: Epoch,
    /// The task that wrote it.
    pub task: TaskIndex,
    /// The key groups to read from it; none for an unkeyed operator. A share may hold more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<KeyGroupRange>,
}

impl Entry {
    /// The run whose coordinator wrote it; of a tombstone, that of the manifest that was there.
    pub fn run(&self) -> Run {
        match self {
            Self::Claim(claim) => claim.run,
            Self::Manifest(manifest) => manifest.run,
            Self::Began(began) => began.run,
            Self::Tombstone(tombstone) => tombstone.run,
        }
    }

    /// The epoch of a manifest, also of one that was overwritten.
    pub fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Claim(_) | Self::Began(_) => None,
            Self::Manifest(manifest) => Some(manifest.epoch),
            Self::Tombstone(tombstone) => Some(tombstone.epoch),
        }
    }

    /// The manifest, where it is one.
    pub fn as_manifest(&self) -> Option<&Manifest> {
        match self {
            Self::Manifest(manifest) => Some(manifest),
            Self::Claim(_) | Self::Began(_) | Self::Tombstone(_) => None,
        }
    }

    /// The claim, where it is one.
    pub fn as_claim(&self) -> Option<&Claim> {
        match self {
            Self::Claim(claim) => Some(claim),
            Self::Manifest(_) | Self::Began(_) | Self::Tombstone(_) => None,
        }
    }
}

impl Manifest {
    /// The state of an operator, where it kept any.
    pub fn operator(&self, id: &OperatorId) -> Option<&OperatorState> {
        self.operators.iter().find(|operator| operator.id == *id)
    }

    /// Every object that the snapshot needs; one that several shares lie in comes several times.
    pub fn objects(&self) -> impl Iterator<Item = &str> {
        self.operators.iter().flat_map(|operator| &operator.parts).map(|part| part.object.as_str())
    }

    /// The bytes of all shares that a restore reads.
    pub fn bytes(&self) -> u64 {
        self.operators.iter().flat_map(|operator| &operator.parts).map(|part| part.length).sum()
    }
}

impl OperatorState {
    /// The parts that hold state of these key groups, each with the groups to read from it, in the
    /// order in which they are to be applied.
    pub fn parts_of(
        &self,
        groups: KeyGroupRange,
    ) -> impl Iterator<Item = (&PartRef, KeyGroupRange)> {
        self.parts.iter().filter_map(move |part| Some((part, part.groups?.intersect(groups)?)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::path::JobPrefix;

    pub(crate) fn prefix(job: &str) -> JobPrefix {
        JobPrefix::new("file:///s".parse().unwrap(), "default", job).unwrap()
    }

    pub(crate) fn manifest() -> Manifest {
        Manifest {
            nonce: Nonce("n1".into()),
            run: Run(2),
            epoch: Epoch(7),
            lineage: Lineage("l".into()),
            parent: None,
            fingerprint: Plan::default().fingerprint(),
            plan: Plan::default(),
            key_groups: KeyGroups::default(),
            operators: vec![],
            pending_commits: false,
            is_final: true,
            savepoint: false,
            at: Timestamp(0),
        }
    }

    #[test]
    fn entries_read_back() {
        let claim = Claim {
            nonce: Nonce("n0".into()),
            run: Run(1),
            term: Term(1),
            base: Some(Seq(4)),
            wish: Wish::Snapshot { seq: Seq(4), request: Some(1) },
            lineage: Lineage("l".into()),
            sink_parallelism: BTreeMap::from([("out".into(), 2)]),
            protocol: 1,
            program: Some(ProgramMark::default()),
            retain: Some(3),
            at: Timestamp(3),
        };
        let tombstone = Tombstone { run: Run(1), epoch: Epoch(3), at: Timestamp(9) };
        let began = Began { nonce: Nonce("n2".into()), run: Run(1), at: Timestamp(4) };
        let entries = [
            Entry::Claim(claim),
            Entry::Began(began),
            Entry::Manifest(manifest()),
            Entry::Tombstone(tombstone),
        ];
        for entry in entries {
            let text = entry.to_text(&prefix("counts"), Seq(7));
            assert_eq!(Entry::parse(&text, &prefix("counts"), Seq(7)).unwrap(), entry);
        }
    }

    #[test]
    fn a_programs_arguments_are_told_apart_and_not_told() {
        let mark = |value: &str| {
            let args = BTreeMap::from([("password".into(), value.into())]);
            ProgramMark::of(&ProgramSpec { name: None, args })
        };
        assert_eq!(mark("secret"), mark("secret"));
        assert_ne!(mark("secret"), mark("other"));
        assert!(!format!("{:?}", mark("secret")).contains("secret"));
    }
}
