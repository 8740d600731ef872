//! What a coordinator and its workers say to each other.
//!
//! Received from: the coordinator, which sends a [`Command`], and a worker, which answers with a
//! [`Report`]. Handed to: the worker's session and the coordinator's state machine, over channels
//! in one process and over the network elsewhere. Invariant: every command may arrive twice and
//! every report late; both carry the run, epoch, slot or nonce by which the receiver can tell.

mod hello;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::drift::Marks;
use crate::error_kind::Failure;
use crate::flow::Flow;
use crate::id::{Epoch, OperatorId, Run, Seq, Term, WorkerIndex};
use crate::job::JobSpec;
use crate::log::{Lineage, Manifest, Nonce};
use crate::share::TaskShare;

pub use hello::{Facts, Going, Hello};

/// Version of this protocol.
pub const PROTOCOL_VERSION: u32 = 1;

/// What a coordinator tells a worker. A worker obeys only the highest (run, term) it has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// Build the program and say what came of it: [`Report::Facts`] or [`Report::Unfit`].
    Hello(Box<Hello>),
    /// Probe the store, then read the whole log: [`Report::Log`] or [`Report::LogUnread`].
    ReadLog {
        /// Comes back in the answer.
        request: u64,
    },
    /// Read one slot: [`Report::Slot`].
    ReadEntry {
        /// The slot.
        seq: Seq,
    },
    /// Create the entry unless the slot is taken: [`Report::Appended`].
    Append {
        /// The slot.
        seq: Seq,
        /// Names this entry in the answer.
        nonce: Nonce,
        /// The entry's bytes.
        text: String,
    },
    /// Build the tasks of a run, restore their state and recover the sinks: [`Report::Deployed`] or
    /// [`Report::TaskFailed`].
    Deploy(Box<Deploy>),
    /// Go on with the tasks of this run, for another coordinator: [`Report::Adopted`], or
    /// [`Report::TaskFailed`] where they are gone.
    Adopt {
        /// The run.
        run: Run,
        /// The coordinator's reign within it.
        term: Term,
    },
    /// Let the deployed tasks run.
    Start {
        /// The run.
        run: Run,
    },
    /// Cut the stream at an epoch: [`Report::PartUploaded`] or [`Report::Declined`].
    Barrier {
        /// The run.
        run: Run,
        /// The epoch.
        epoch: Epoch,
        /// Whether sources emit nothing more behind it.
        stopping: bool,
    },
    /// Let sources emit again behind a stopping barrier. The next barrier that stops nothing does
    /// so, too.
    GoOn {
        /// The run.
        run: Run,
    },
    /// Give the epoch up: it will never be published. Changes since the last published one are
    /// kept.
    Abort {
        /// The run.
        run: Run,
        /// The epoch.
        epoch: Epoch,
    },
    /// The epoch is published: later shares may hold what changed since.
    Published {
        /// The run.
        run: Run,
        /// The epoch.
        epoch: Epoch,
        /// The objects that its manifest names: copies of others are of no use any more.
        objects: BTreeSet<String>,
    },
    /// Make the output up to the epoch visible: [`Report::Committed`] or [`Report::TaskFailed`].
    Commit {
        /// The run.
        run: Run,
        /// The epoch.
        epoch: Epoch,
        /// The manifest's slot.
        seq: Seq,
    },
    /// Note that all output of a manifest is visible: [`Report::CommittedWritten`].
    WriteCommitted {
        /// The manifest's slot.
        seq: Seq,
    },
    /// Overwrite old manifests, then delete objects: [`Report::Retained`].
    Retain(Retain),
    /// List the parts of all runs: [`Report::Parts`].
    ListParts,
    /// Drop the tasks of this run and of every lower one: [`Report::Dropped`].
    Drop {
        /// The run.
        run: Run,
    },
    /// How far the sources of all other workers have come: the answer to [`Report::Drift`].
    Drift {
        /// The run.
        run: Run,
        /// Theirs, added up.
        others: Marks,
    },
    /// Drop everything, touch nothing outside, and end the session.
    Stop,
}

/// What a run is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deploy {
    /// The run.
    pub run: Run,
    /// The coordinator's reign within it.
    pub term: Term,
    /// The history that the run continues.
    pub lineage: Lineage,
    /// What the job is in this run.
    pub spec: JobSpec,
    /// Engine threads of each worker, in the order of their ordinals: placement follows from it.
    pub threads: Vec<u32>,
    /// Where each worker takes the records of others, in the same order; empty where none is named.
    pub peers: Vec<String>,
    /// What to restore; none: start from nothing.
    pub restore: Option<Restore>,
    /// The highest parallelism of each sink in any claim of the log: every transactional id up to
    /// it is fenced before the run starts.
    pub sinks_ever: BTreeMap<OperatorId, u32>,
}

/// The snapshot to restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// The manifest's slot.
    pub seq: Seq,
    /// The manifest.
    pub manifest: Manifest,
    /// Whether `committed/<seq>` exists: its output is visible, and no sink need look.
    pub committed: bool,
}

/// What retention overwrites and deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retain {
    /// A slot that must still be free. Is it taken, another coordinator is at work: touch nothing.
    pub guard: Seq,
    /// Slots to overwrite, each with the tombstone's bytes. First of all.
    pub tombstones: Vec<(Seq, String)>,
    /// Objects to delete then, named relative to the job's prefix.
    pub delete: Vec<String>,
}

/// What a worker tells its coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Report {
    /// The program is built.
    Facts(Box<Facts>),
    /// The worker cannot serve this job.
    Unfit {
        /// The number of the spec, from Hello.
        generation: u64,
        /// Why.
        failure: Failure,
    },
    /// The whole log, by slot, from one reading.
    Log {
        /// That of the command.
        request: u64,
        /// The bytes of each entry.
        entries: Vec<(Seq, String)>,
        /// The manifests whose output is all visible.
        committed: Vec<Seq>,
    },
    /// The log cannot be read.
    LogUnread {
        /// That of the command.
        request: u64,
        /// Why. `Invalid` where the store does not honour If-None-Match.
        failure: Failure,
    },
    /// What a slot holds.
    Slot {
        /// The slot.
        seq: Seq,
        /// The entry's bytes; none where the slot is free.
        content: Result<Option<String>, Failure>,
    },
    /// What became of an append.
    Appended {
        /// The slot.
        seq: Seq,
        /// That of the command.
        nonce: Nonce,
        /// What became of it.
        outcome: AppendOutcome,
    },
    /// The worker's tasks stand ready, their state is restored, their sinks are recovered.
    Deployed {
        /// The run.
        run: Run,
        /// How long the restore took.
        restore_took: Duration,
    },
    /// The tasks of a run go on, for the coordinator of this term.
    Adopted {
        /// The run.
        run: Run,
        /// The term.
        term: Term,
        /// The highest epoch whose barrier has come.
        epoch: Epoch,
        /// Whether all the worker's tasks have ended.
        ended: bool,
    },
    /// The worker's share of an epoch is in the store.
    PartUploaded {
        /// The run.
        run: Run,
        /// The epoch.
        epoch: Epoch,
        /// The share of each task that keeps state.
        shares: Vec<TaskShare>,
    },
    /// The worker cannot take part in this epoch; the job goes on.
    Declined {
        /// The run.
        run: Run,
        /// The epoch.
        epoch: Epoch,
        /// Why.
        reason: String,
    },
    /// The worker's output up to the epoch is visible.
    Committed {
        /// The run.
        run: Run,
        /// The epoch.
        epoch: Epoch,
    },
    /// Whether `committed/<seq>` is written.
    CommittedWritten {
        /// The manifest's slot.
        seq: Seq,
        /// Why not.
        result: Result<(), Failure>,
    },
    /// What became of [`Command::Retain`].
    Retained {
        /// That of the command.
        guard: Seq,
        /// `Fenced` where the guard slot is taken.
        result: Result<(), Failure>,
    },
    /// The parts of all runs, named relative to the job's prefix.
    Parts(Result<Vec<String>, Failure>),
    /// A sink of the worker is running out of room: a snapshot before the next is due would make
    /// some.
    SnapshotWanted {
        /// The run.
        run: Run,
    },
    /// A task failed. The worker's other tasks of the run stop too.
    TaskFailed {
        /// The run.
        run: Run,
        /// The operator, where one is at fault.
        operator: Option<OperatorId>,
        /// What happened.
        failure: Failure,
    },
    /// The stream of records between this worker and another one is broken.
    PeerLost {
        /// The run.
        run: Run,
        /// The other one.
        peer: WorkerIndex,
        /// How that was noticed.
        reason: String,
    },
    /// The worker is told to end. It goes when its tasks are dropped, or its time is over.
    Leaving,
    /// All the worker's tasks have ended: only a last snapshot is missing.
    Finished {
        /// The run.
        run: Run,
    },
    /// No thread of the run, or of a lower one, can reach a sink or the store.
    Dropped {
        /// The run.
        run: Run,
    },
    /// How much moved since the run started.
    Rates(Box<Rates>),
    /// How far the worker's sources have come, where they are held together with those of others:
    /// answered by [`Command::Drift`].
    Drift {
        /// The run.
        run: Run,
        /// The worker's own.
        own: Marks,
    },
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AppendOutcome {
    /// The entry is in the log.
    Created,
    /// The slot holds these bytes, which may be those of an earlier attempt.
    Exists(String),
    /// Nobody can say: the request timed out or was interrupted.
    Unknown(String),
    /// The entry is certainly not there by this attempt.
    Failed(Failure),
}

/// Counters of one worker since its run started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// The run.
    pub run: Run,
    /// Records that sources have read.
    pub records_in: u64,
    /// Records that sinks have taken.
    pub records_out: u64,
    /// The same for each sink.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<OperatorId, u64>,
    /// Records that came too late for their window, for each operator that had some. One record may
    /// be late for several.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub late: BTreeMap<OperatorId, u64>,
    /// Records that were malformed, or for which a function failed, and that were left out or put
    /// out at a side output.
    pub records_failed: u64,
    /// How far the worker's tasks are behind, and what holds them.
    #[serde(default)]
    pub flow: Flow,
    /// What came of a request to the store that is being tried again; none where none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_trouble: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_kind::ErrorKind;

    #[test]
    fn messages_cross_a_process_boundary_as_json() {
        let append =
            Command::Append { seq: Seq(3), nonce: Nonce("n".into()), text: "{\"a\":1}".into() };
        let text = serde_json::to_string(&append).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&text).unwrap(), append);
        let failure = Failure::new(ErrorKind::Unavailable, "no answer");
        let slot = Report::Slot { seq: Seq(3), content: Err(failure) };
        let text = serde_json::to_string(&slot).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), slot);
    }
}
