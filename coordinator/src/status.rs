//! What a coordinator shows of its job.
//!
//! Received from: the machine, whole, whenever it changed. Handed to: the command line's progress
//! lines and, in a cluster, the resource's status. Nothing is decided on it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use millstream_protocol::error_kind::Failure;
use millstream_protocol::flow::{Clock, Lag, Permille};
use millstream_protocol::id::{Epoch, OperatorId, Run, Seq};
use millstream_protocol::log::Manifest;
use millstream_protocol::path::JobPrefix;
use millstream_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What a coordinator shows of its job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What the job is doing.
    pub phase: Phase,
    /// The number of the spec in force.
    pub generation: u64,
    /// How many workers that has.
    pub workers: u32,
    /// Why an edit of the spec is not taken up; none once one is.
    pub refused: Option<Refusal>,
    /// Why an edit waits that is taken up as soon as that is over; none where none waits for more
    /// than its workers.
    pub held: Option<Refusal>,
    /// The run, once one is claimed.
    pub run: Option<Run>,
    /// The last snapshot whose output is all visible.
    pub last_snapshot: Option<SnapshotStatus>,
    /// The last savepoint that was asked for, once it is there or given up.
    pub last_savepoint: Option<Savepoint>,
    /// Savepoints that were to be deleted, those asked for last.
    #[serde(default)]
    pub let_go: Vec<LetGo>,
    /// How long the job stood still for the last edit: from the barrier behind which it stopped to
    /// the start of its new tasks.
    pub stood: Option<Duration>,
    /// Why the last attempt at a snapshot came to nothing; none where it succeeded.
    pub snapshot_failure: Option<String>,
    /// What cannot be written to the log, while it is tried again; at the end, what could not be.
    pub log_failure: Option<LogFailure>,
    /// Whether this run was there before its coordinator, which has taken it over.
    pub taken_over: bool,
    /// What this run started from; none: from nothing.
    pub restored: Option<Restored>,
    /// A request to begin from something else that this start repeats, and the run that had acted
    /// upon it.
    pub acted: Option<(u64, Run)>,
    /// How often the job has restarted after a failure.
    pub restarts: u64,
    /// How long it waits before it starts again; none while it does not wait.
    pub restarts_in: Option<Duration>,
    /// Why it last restarted or failed.
    pub last_failure: Option<FailureStatus>,
    /// Whether that was that it cannot begin with what its spec, or its log, says.
    #[serde(default)]
    pub restore_refused: bool,
    /// How the job that finished before this start differs from this one, in words; its output is
    /// complete all the same. Empty where it does not.
    pub finished_with: Vec<String>,
    /// Whether there is a snapshot that the next start goes on from; said at the end, where the log
    /// was read.
    pub has_snapshot: Option<bool>,
    /// That snapshot's epoch; said at the end, where there is one.
    pub resumes_from: Option<Epoch>,
    /// Whether a job that was stopped has left a snapshot of its end.
    #[serde(default)]
    pub has_last_snapshot: Option<bool>,
    /// How much moved since the run started, over all workers.
    pub totals: Totals,
}

/// What a job is doing. The names are those of the resource's `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Waiting for workers.
    #[default]
    Pending,
    /// Claiming and deploying a run that starts from nothing.
    Starting,
    /// Claiming and deploying a run that starts from a snapshot.
    Restoring,
    /// Processing.
    Running,
    /// Moving to another number of workers or threads.
    Rescaling,
    /// Moving to another program or other settings of its tasks.
    Upgrading,
    /// Taking the last snapshot before a stop.
    Suspending,
    /// Stopped on request; goes on when started again.
    Suspended,
    /// Waiting to start again after a failure.
    Restarting,
    /// All input is processed and all output visible.
    Finished,
    /// Stopped by a failure that a restart cannot mend.
    Failed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A snapshot as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its place in the log.
    pub seq: Seq,
    /// Its address.
    pub uri: String,
    /// When it was published.
    pub completed_at: Timestamp,
    /// From its barrier to its publication.
    pub duration: Duration,
    /// Bytes that a restore reads.
    pub bytes: u64,
    /// Bytes that were uploaded for it.
    pub new_bytes: u64,
}

impl SnapshotStatus {
    /// One that somebody else has published, whose time and new bytes are not known.
    pub(crate) fn of(prefix: &JobPrefix, seq: Seq, manifest: &Manifest) -> Self {
        Self {
            epoch: manifest.epoch,
            seq,
            uri: prefix.snapshot_uri(seq),
            completed_at: manifest.at,
            duration: Duration::ZERO,
            bytes: manifest.bytes(),
            new_bytes: 0,
        }
    }
}

/// What became of a savepoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Savepoint {
    /// The number of the request.
    pub request: u64,
    /// The snapshot, which retention leaves alone; or why there is none.
    pub result: Result<SnapshotStatus, Failure>,
}

/// What becomes of a savepoint that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LetGo {
    /// Its place in the log.
    pub seq: Seq,
    /// That it is gone, or why it stays; none until that is known.
    pub result: Option<Result<(), String>>,
}

/// What a run started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The snapshot's address.
    pub from: String,
    /// Its epoch.
    pub epoch: Epoch,
    /// When the restored tasks were started.
    pub at: Timestamp,
}

/// An entry that does not get into the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogFailure {
    /// What that means for the job, in words.
    pub what: String,
    /// The snapshot that the entry is, if it is one.
    pub epoch: Option<Epoch>,
    /// Why the last attempt failed.
    pub reason: String,
    /// When the first attempt was made.
    pub since: Timestamp,
    /// Whether it may be in the log all the same: nobody could look since the last attempt.
    pub may_be_there: bool,
}

impl fmt::Display for LogFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

/// Why an edit is not taken up, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The number of the spec.
    pub generation: u64,
    /// What speaks against it.
    pub failure: Failure,
}

/// A failure and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureStatus {
    /// What happened.
    pub failure: Failure,
    /// When it was noticed.
    pub at: Timestamp,
    /// When all workers were there again; none until then, and so below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers_ready_at: Option<Timestamp>,
    /// When all tasks had their state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
    /// When all tasks were started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_at: Option<Timestamp>,
}

impl FailureStatus {
    /// One of which nothing is mended yet.
    pub fn new(failure: Failure, at: Timestamp) -> Self {
        Self { failure, at, workers_ready_at: None, restored_at: None, running_at: None }
    }
}

/// Sums over all workers since the run started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Whether all workers have told of theirs: until then a sum is of some of them, or of none.
    #[serde(default)]
    pub is_whole: bool,
    /// Records that sources have read.
    pub records_in: u64,
    /// Records that sinks have taken.
    pub records_out: u64,
    /// The same for each sink.
    pub sinks: BTreeMap<OperatorId, u64>,
    /// Records that came too late for their window, for each operator that had some. One record may
    /// be late for several.
    pub late: BTreeMap<OperatorId, u64>,
    /// Records that were malformed, or for which a function failed, and that were left out or put
    /// out at a side output.
    pub records_failed: u64,
    /// The watermark of the whole job, in milliseconds; it never falls within a run. None until all
    /// workers have told of theirs, and before the first.
    pub watermark: Option<i64>,
    /// How far the splits of all sources are behind; of none, until all workers have told.
    #[serde(default)]
    pub lag: Lag,
    /// How far the event time of all sources has come; the same goes for it.
    #[serde(default)]
    pub clock: Clock,
    /// The source whose tasks wait the most for room downstream, if any waits.
    #[serde(default)]
    pub pressure: Option<Pressure>,
    /// What keeps the store from answering a worker, which asks it again and again.
    #[serde(default)]
    pub store_trouble: Option<String>,
}

/// A source that waits for room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pressure {
    /// The source.
    pub source: OperatorId,
    /// In how much of the last few seconds it waited: of its tasks, the one that waited the most.
    pub blocked: Permille,
    /// Who takes so long: the first operator downstream that is busy and does not wait itself. None
    /// where that cannot be told.
    pub by: Option<OperatorId>,
}
