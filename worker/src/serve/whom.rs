//! [`Whom`]: whether a coordinator that calls means this process.
//!
//! Part of [`crate::serve`], asked before a session begins. Invariant: who is refused has touched
//! nothing, neither tasks nor the session that is served.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::grpc::{JOB, POD};
use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::exchange::text;

/// So many refusals are remembered, so that each is said once.
const TOLD_MAX: usize = 64;

/// Who this process is, and what was said of those who meant somebody else.
#[derive(Clone, Default)]
pub(super) struct Whom {
    /// The UID of its pod; none outside of pods.
    pod: Option<String>,
    told: Arc<Mutex<BTreeSet<String>>>,
}

impl Whom {
    pub(super) fn of(pod: Option<String>) -> Self {
        Self { pod, told: Arc::default() }
    }

    /// The job that a call is for, `namespace/name`, where it means this process, which works for
    /// `occupant`.
    pub(super) fn meant(
        &self,
        metadata: &MetadataMap,
        occupant: Option<&str>,
    ) -> Result<Arc<str>, Status> {
        let job = text(metadata, JOB)?;
        let pod = metadata.contains_key(POD).then(|| text(metadata, POD)).transpose()?;
        let reason = match (pod, &self.pod, occupant) {
            (Some(pod), Some(own), _) if pod != own => {
                format!("pod {pod} is called, and this is pod {own}")
            }
            (Some(pod), None, _) => format!("pod {pod} is called, and this process is in no pod"),
            (_, _, Some(occupant)) if occupant != job => format!("it works for job {occupant}"),
            _ => return Ok(job.into()),
        };
        self.tell(format!("refuses a coordinator of job {job}, which means another one: {reason}"));
        Err(Status::failed_precondition(reason))
    }

    /// It calls again and again: that is said once.
    fn tell(&self, refusal: String) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        if !told.contains(&refusal) {
            tracing::warn!("{refusal}");
            told.insert(refusal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(job: &str, pod: Option<&str>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert(JOB, job.parse().unwrap());
        if let Some(pod) = pod {
            metadata.insert(POD, pod.parse().unwrap());
        }
        metadata
    }

    fn refusal(whom: &Whom, metadata: &MetadataMap, occupant: Option<&str>) -> String {
        let status = whom.meant(metadata, occupant).unwrap_err();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        status.message().to_owned()
    }

    #[test]
    fn who_means_another_pod_or_comes_for_another_job_is_refused() {
        let (here, nowhere) = (Whom::of(Some("u1".to_owned())), Whom::default());
        for job in [None, Some("default/a")] {
            for pod in [None, Some("u1")] {
                assert_eq!(&*here.meant(&call("default/a", pod), job).unwrap(), "default/a");
            }
        }
        let other = call("default/a", Some("u2"));
        assert_eq!(refusal(&here, &other, None), "pod u2 is called, and this is pod u1");
        let reason = refusal(&nowhere, &other, None);
        assert_eq!(reason, "pod u2 is called, and this process is in no pod");
        for (whom, pod) in [(&here, Some("u1")), (&here, None), (&nowhere, None)] {
            let reason = refusal(whom, &call("default/a", pod), Some("default/b"));
            assert_eq!(reason, "it works for job default/b");
        }
    }

    #[test]
    fn a_call_that_does_not_say_for_which_job_is_refused() {
        let status = Whom::default().meant(&MetadataMap::new(), None).unwrap_err();
        assert_eq!(status.message(), "metadata millstream-job: is missing");
    }

    #[test]
    fn what_was_said_once_is_not_said_again() {
        let whom = Whom::default();
        for number in 0..10 * TOLD_MAX {
            for _ in 0..3 {
                refusal(&whom, &call("default/a", None), Some(&format!("default/{number}")));
            }
            assert!(whom.told.lock().unwrap().len() <= TOLD_MAX);
        }
        assert!(!whom.told.lock().unwrap().is_empty());
    }
}
