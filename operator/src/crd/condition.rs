//! The conditions of a job, their reasons, and when they change.
//!
//! Received by: whoever writes a status, and the page of its reference. Invariant: types and
//! reasons are API: scripts and alerts match on them, so that none is renamed once it is
//! released. All conditions are there from the first reconcile on, `Unknown` where nothing is
//! known yet.

use std::time::Duration;

use millstream_protocol::flow::Permille;

/// How long something about the flow of records must hold before its condition changes: long enough
/// for a restart and for a burst to pass.
pub const FLOW_SETTLES: Duration = Duration::from_mins(1);
/// A source is blocked when it waits for room in more than so many thousandths of its time.
pub const BLOCKED_PERMILLE: Permille = 500;
/// Snapshots are healthy while the last one is younger than so many intervals.
pub const HEALTHY_INTERVALS: u32 = 3;

/// A condition of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub name: &'static str,
    /// Whether `True` is what one wants to see.
    pub good_when_true: bool,
    /// What it says while it is `True`.
    pub says: &'static str,
    /// What its reasons may be.
    pub reasons: &'static [&'static str],
}

/// The reason of a condition of which nothing is known yet.
pub const NOT_KNOWN: &str = "NotKnownYet";
/// The reason of a condition that is as it should be, where there is nothing else to say.
pub const AS_EXPECTED: &str = "AsExpected";

/// Pods are not admitted: Pod Security, or a quota.
pub const PODS_FORBIDDEN: &str = "PodsForbidden";
/// No node takes a pod.
pub const UNSCHEDULABLE: &str = "Unschedulable";
/// A volume is not there yet.
pub const VOLUME_PENDING: &str = "VolumePending";
/// The image cannot be pulled.
pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
/// A container cannot be made: a missing Secret, a bad mount.
pub const CONFIG_ERROR: &str = "ConfigError";
/// A worker was killed for its memory.
pub const OOM_KILLED: &str = "OOMKilled";
/// A worker ends again and again.
pub const CRASH_LOOPING: &str = "CrashLooping";
/// A function of the program failed.
pub const USER_CODE_FAILED: &str = "UserCodeFailed";
/// A worker, or the network to it, is gone.
pub const WORKER_LOST: &str = "WorkerLost";
/// Tasks are being made.
pub const STARTING: &str = "Starting";
/// The user wants it stopped.
pub const SUSPENDED: &str = "Suspended";
/// It has failed for good.
pub const FAILED: &str = "Failed";
/// A field is wrong; the message has its path.
pub const INVALID: &str = "Invalid";
/// A snapshot could not be taken.
pub const SNAPSHOT_FAILED: &str = "SnapshotFailed";
/// The last snapshot is too old.
pub const SNAPSHOT_OLD: &str = "SnapshotOld";
/// The run began empty.
pub const FRESH: &str = "Fresh";
/// The run began with a snapshot.
pub const FROM_SNAPSHOT: &str = "FromSnapshot";
/// A source is behind.
pub const BEHIND: &str = "Behind";
/// A split holds the watermark.
pub const HELD_BY_SPLIT: &str = "HeldBySplit";
/// All inputs are idle.
pub const IDLE: &str = "Idle";
/// All sources have ended.
pub const FINISHED: &str = "Finished";
/// The job has no end.
pub const UNBOUNDED: &str = "Unbounded";
/// Objects are being made.
pub const DEPLOYING: &str = "Deploying";
/// The number of tasks changes.
pub const RESCALING: &str = "Rescaling";
/// Pods are being replaced.
pub const UPGRADING: &str = "Upgrading";
/// The last snapshot before a stop is being taken.
pub const SUSPENDING: &str = "Suspending";
/// It is being deleted.
pub const DELETING: &str = "Deleting";
/// A failure is being mended.
pub const RESTARTING: &str = "Restarting";
/// The new version does not go on from the state, or does not come up.
pub const UPGRADE_BLOCKED: &str = "UpgradeBlocked";
/// The newest snapshot is older than `restore.maxAge`.
pub const STATE_TOO_OLD: &str = "StateTooOld";
/// The image's worker speaks no protocol that this operator knows.
pub const WORKER_TOO_OLD: &str = "WorkerTooOld";
/// What `restore` names cannot be restored.
pub const RESTORE_REFUSED: &str = "RestoreRefused";
/// Tasks wait for room downstream.
pub const BLOCKED: &str = "Blocked";
/// An annotation says so.
pub const PAUSED: &str = "Paused";

const fn good(
    name: &'static str,
    says: &'static str,
    reasons: &'static [&'static str],
) -> Condition {
    Condition { name, good_when_true: true, says, reasons }
}

const fn bad(
    name: &'static str,
    says: &'static str,
    reasons: &'static [&'static str],
) -> Condition {
    Condition { name, good_when_true: false, says, reasons }
}

/// Whether the tasks run.
pub const READY: Condition = good(
    "Ready",
    "all tasks run. Its `observedGeneration` is that of the spec in force",
    &[
        AS_EXPECTED,
        STARTING,
        PODS_FORBIDDEN,
        UNSCHEDULABLE,
        VOLUME_PENDING,
        IMAGE_PULL_FAILED,
        CONFIG_ERROR,
        OOM_KILLED,
        CRASH_LOOPING,
        USER_CODE_FAILED,
        WORKER_LOST,
        SUSPENDED,
        FINISHED,
        FAILED,
        INVALID,
        DELETING,
    ],
);
/// Whether the spec can be accepted.
pub const SPEC_VALID: Condition = good(
    "SpecValid",
    "the spec has no mistake. Else the accepted one stays in force",
    &[AS_EXPECTED, INVALID],
);
/// Whether snapshots are taken as they should be.
pub const SNAPSHOTS_HEALTHY: Condition = good(
    "SnapshotsHealthy",
    "the last attempt was published, and is younger than 3 intervals",
    &[AS_EXPECTED, SNAPSHOT_FAILED, SNAPSHOT_OLD],
);
/// What the run began with.
pub const STATE_RESTORED: Condition = good(
    "StateRestored",
    "all tasks have the state that the run began with; the message has its address and age",
    &[FRESH, FROM_SNAPSHOT, RESTORE_REFUSED],
);
/// Whether the sources are caught up.
pub const SOURCE_CAUGHT_UP: Condition = good(
    "SourceCaughtUp",
    "every split is behind by less than 5 s, or by 1000 records at most",
    &[AS_EXPECTED, BEHIND],
);
/// Whether event time moves on.
pub const WATERMARK_ADVANCING: Condition = good(
    "WatermarkAdvancing",
    "the watermark moved within 60 s, or all inputs are idle",
    &[AS_EXPECTED, IDLE, HELD_BY_SPLIT],
);
/// Whether a bounded job is done.
pub const COMPLETE: Condition = good(
    "Complete",
    "all sources have ended, and all output is visible",
    &[FINISHED, UNBOUNDED, FAILED],
);
/// Whether the job is on its way to what the spec says.
pub const RECONCILING: Condition = bad(
    "Reconciling",
    "the job is on its way to what the spec says",
    &[AS_EXPECTED, DEPLOYING, RESCALING, UPGRADING, SUSPENDING, RESTARTING, DELETING],
);
/// Whether somebody must do something.
pub const STALLED: Condition = bad(
    "Stalled",
    "nothing goes on until somebody changes something",
    &[
        AS_EXPECTED,
        UPGRADE_BLOCKED,
        STATE_TOO_OLD,
        WORKER_TOO_OLD,
        RESTORE_REFUSED,
        FAILED,
        INVALID,
    ],
);
/// Whether what is downstream is too slow.
pub const BACKPRESSURED: Condition =
    bad("Backpressured", "a source waits for room over half of the time", &[AS_EXPECTED, BLOCKED]);
/// Whether the operator keeps its hands off.
pub const RECONCILIATION_PAUSED: Condition = bad(
    "ReconciliationPaused",
    "the annotation `millstream.dev/pause: \"true\"` is set",
    &[AS_EXPECTED, PAUSED],
);

/// All conditions of a job, in the order in which they are written.
pub const ALL: [Condition; 11] = [
    READY,
    SPEC_VALID,
    SNAPSHOTS_HEALTHY,
    STATE_RESTORED,
    SOURCE_CAUGHT_UP,
    WATERMARK_ADVANCING,
    COMPLETE,
    RECONCILING,
    STALLED,
    BACKPRESSURED,
    RECONCILIATION_PAUSED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_reasons_are_words_that_the_api_takes() {
        for condition in ALL {
            for word in condition.reasons.iter().chain([&condition.name]) {
                assert!(word.chars().all(|c| c.is_ascii_alphanumeric()), "{word}");
                assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{word}");
            }
        }
        let mut names: Vec<_> = ALL.iter().map(|condition| condition.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
