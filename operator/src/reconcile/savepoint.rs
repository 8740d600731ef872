//! From a `StreamSnapshot` to its status, and whether a savepoint is to be asked for.
//!
//! Received from: the API server, and the coordinator of the job that it names. Handed to:
//! `savepoints`, which says and does it. Pure. Invariants: one that is Completed or Failed stays
//! so; a savepoint is asked for only where the job runs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp as Instant;
use millstream_coordinator::status::SnapshotStatus;
use millstream_protocol::error_kind::Failure;

use crate::crd::snapshot::{SnapshotPhase, StoreCopy, StreamSnapshotStatus};
use crate::crd::status::Phase;
use crate::crd::{StreamJob, StreamSnapshot};

/// How far a savepoint is that a coordinator may have been asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// There is no coordinator that could be asked, or the job does not run.
    Away,
    /// The job runs, and nobody has asked.
    Ready,
    /// It has been asked for.
    Asked,
    /// It is there, or will never be.
    Done(Result<SnapshotStatus, Failure>),
}

/// How far the coordinator of a job is with the deletion of one of its savepoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parting {
    /// It has been asked for.
    Asked,
    /// It is gone.
    Gone,
    /// It stays for now, for this reason.
    Stays(String),
}

/// What is said of a `StreamSnapshot`, and done.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Its status.
    pub status: StreamSnapshotStatus,
    /// Whether the job's coordinator is asked for a savepoint.
    pub asks: bool,
}

/// What is to be said and done.
pub fn decide(snapshot: &StreamSnapshot, job: Option<&StreamJob>, progress: &Progress) -> Decision {
    let mut status = snapshot.status.clone().unwrap_or_default();
    status.observed_generation = snapshot.metadata.generation;
    if matches!(status.phase, Some(SnapshotPhase::Completed | SnapshotPhase::Failed)) {
        return Decision { status, asks: false };
    }
    let was_there = status.store.is_some();
    if let Some(job) = job {
        let spec = &job.spec.job.snapshots;
        status.store = Some(StoreCopy::of(spec));
        status.image.clone_from(&job.spec.job.image);
        status.pod_template.clone_from(&job.spec.job.pod_template);
    }
    let (phase, message) = said(snapshot, job, progress, was_there);
    (status.phase, status.message) = (Some(phase), message);
    if let Progress::Done(Ok(there)) = progress
        && phase == SnapshotPhase::Completed
    {
        status.uri = Some(there.uri.clone());
        status.epoch = Some(there.epoch.0 as i64);
        status.bytes = Some(there.bytes as i64);
        let at = there.completed_at.0.div_euclid(1000);
        status.completed_at = Some(Time(Instant::from_second(at).unwrap_or_default()));
    }
    let asks = phase == SnapshotPhase::Running && *progress == Progress::Ready;
    Decision { status, asks }
}

fn said(
    snapshot: &StreamSnapshot,
    job: Option<&StreamJob>,
    progress: &Progress,
    was_there: bool,
) -> (SnapshotPhase, Option<String>) {
    use SnapshotPhase::{Completed, Failed, Pending, Running};
    let name = &snapshot.spec.job_ref.name;
    let Some(job) = job else {
        return if was_there {
            (Failed, Some(format!("the StreamJob {name} was deleted before it was taken")))
        } else {
            (Pending, Some(format!("there is no StreamJob {name} in this namespace")))
        };
    };
    match progress {
        Progress::Done(Ok(_)) => (Completed, None),
        Progress::Done(Err(failure)) => (Failed, Some(failure.message.clone())),
        Progress::Asked => (Running, None),
        _ if snapshot.metadata.deletion_timestamp.is_some() => {
            (Failed, Some("it was deleted before it was taken".to_owned()))
        }
        Progress::Ready => (Running, None),
        Progress::Away => match job.status.as_ref().and_then(|status| status.phase) {
            Some(Phase::Finished) => {
                (Failed, Some(format!("the StreamJob {name} has finished: nothing runs on")))
            }
            Some(Phase::Suspended) => {
                let message = "the job is suspended: it is taken when the job runs again";
                (Pending, Some(message.to_owned()))
            }
            Some(phase) => (Pending, Some(format!("waits until the job runs: it is {phase:?}"))),
            None => (Pending, Some("waits until the job runs".to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::error_kind::ErrorKind;
    use millstream_protocol::id::{Epoch, Seq};
    use millstream_protocol::time::Timestamp;

    use super::*;
    use crate::testing::{self, yaml};

    fn snapshot(spec: &str) -> StreamSnapshot {
        yaml(&format!(
            "apiVersion: millstream.dev/v1alpha1\nkind: StreamSnapshot\nmetadata: {{name: before, \
             namespace: plants, uid: u, generation: 2}}\nspec: {{jobRef: {{name: \
             averages}}{spec}}}"
        ))
    }

    fn job(phase: &str) -> StreamJob {
        let spec =
            "snapshots: {store: 's3://b/p', endpoint: 'http://s3:9000'}\npodTemplate: {a: b}";
        let mut job = testing::job("averages", spec);
        job.status = Some(yaml(&format!("{{phase: {phase}}}")));
        job
    }

    fn there() -> Progress {
        Progress::Done(Ok(SnapshotStatus {
            epoch: Epoch(7),
            seq: Seq(9),
            uri: "s3://b/p/plants/averages/log/9".into(),
            completed_at: Timestamp(1_700_000_100_900),
            duration: std::time::Duration::ZERO,
            bytes: 20,
            new_bytes: 2,
        }))
    }

    /// Each row: what there is, and what is said of it, and whether it is asked for.
    #[test]
    fn a_savepoint_is_asked_for_once_where_the_job_runs() {
        use SnapshotPhase::{Completed, Failed, Pending, Running};
        let lost = Progress::Done(Err(Failure::new(ErrorKind::Unavailable, "no bucket")));
        let run = job("Running");
        for (job, progress, phase, says, asks) in [
            (None, Progress::Away, Pending, "there is no StreamJob averages", false),
            (Some(&run), Progress::Ready, Running, "", true),
            (Some(&run), Progress::Asked, Running, "", false),
            (Some(&run), there(), Completed, "", false),
            (Some(&run), lost, Failed, "no bucket", false),
            (Some(&job("Suspended")), Progress::Away, Pending, "suspended", false),
            (Some(&job("Restarting")), Progress::Away, Pending, "it is Restarting", false),
            (Some(&job("Finished")), Progress::Away, Failed, "has finished", false),
        ] {
            let decision = decide(&snapshot(""), job, &progress);
            let status = decision.status;
            assert_eq!((status.phase, decision.asks), (Some(phase), asks), "{progress:?}");
            assert!(status.message.unwrap_or_default().contains(says), "{says}");
            assert_eq!(status.observed_generation, Some(2));
            assert_eq!(status.uri.is_some(), phase == Completed);
            assert_eq!(status.store.is_some(), job.is_some(), "what is copied from the job");
        }
        let done = decide(&snapshot(""), Some(&run), &there()).status;
        assert_eq!((done.epoch, done.bytes), (Some(7), Some(20)));
        assert_eq!(done.store.unwrap().endpoint.as_deref(), Some("http://s3:9000"));
        assert!(done.pod_template.is_some());
    }

    #[test]
    fn one_whose_job_goes_before_it_was_taken_has_failed_and_stays_so() {
        let mut of = snapshot("");
        of.status = Some(decide(&of, Some(&job("Running")), &Progress::Ready).status);
        let gone = decide(&of, None, &Progress::Away);
        assert_eq!(gone.status.phase, Some(SnapshotPhase::Failed));
        of.status = Some(gone.status.clone());
        let again = decide(&of, Some(&job("Running")), &Progress::Ready);
        assert_eq!((again.status, again.asks), (gone.status, false));
        of.status = Some(decide(&snapshot(""), Some(&job("Running")), &there()).status);
        let kept = decide(&of, None, &Progress::Away).status;
        assert_eq!(Some(kept), of.status, "it is in the store");
    }

    #[test]
    fn one_that_is_deleted_is_not_taken_any_more() {
        let mut of = snapshot(", onDelete: Delete");
        assert!(decide(&of, Some(&job("Running")), &Progress::Ready).asks);
        of.metadata.deletion_timestamp = Some(Time(Instant::UNIX_EPOCH));
        let decision = decide(&of, Some(&job("Running")), &Progress::Ready);
        assert_eq!((decision.status.phase, decision.asks), (Some(SnapshotPhase::Failed), false));
        let phase = |progress| decide(&of, Some(&job("Running")), &progress).status.phase;
        assert_eq!(phase(Progress::Asked), Some(SnapshotPhase::Running), "what comes is awaited");
        assert_eq!(phase(there()), Some(SnapshotPhase::Completed));
    }
}
