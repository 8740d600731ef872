//! What this process has written as the status of a job, while the job's watch does not show it.
//!
//! Filled and asked by: [`super::step`]. A look takes a job from the watch, which is behind what
//! was written a moment ago. Part of a status goes on from the one before it: going on from an old
//! one would take back what was written since. Invariant: nobody else writes a status.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt;

use crate::crd::{StreamJob, StreamJobStatus};

/// The statuses that no watch has shown yet, by the UID of the job.
#[derive(Debug, Default)]
pub(crate) struct Written(Mutex<HashMap<String, StreamJobStatus>>);

impl Written {
    /// The job with the status that it has by now.
    pub(super) fn newest(&self, job: &StreamJob) -> StreamJob {
        let mut job = job.clone();
        let Some(uid) = job.uid() else { return job };
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = written.get(&uid) {
            if job.status.as_ref() == Some(status) {
                written.remove(&uid);
            } else {
                job.status = Some(status.clone());
            }
        }
        job
    }

    /// Takes note of what was written.
    pub(super) fn wrote(&self, job: &StreamJob, status: &StreamJobStatus) {
        let Some(uid) = job.uid() else { return };
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(uid, status.clone());
    }

    /// Forgets jobs that are not there any more.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.retain(|uid, _| is_there(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    fn job(status: Option<i64>) -> StreamJob {
        let mut job: StreamJob = yaml(
            "{apiVersion: millstream.dev/v1alpha1, kind: StreamJob, metadata: {name: averages, \
             uid: u}, spec: {snapshots: {store: 's3://bucket/prefix'}}}",
        );
        job.status = status.map(shows);
        job
    }

    fn shows(run: i64) -> StreamJobStatus {
        StreamJobStatus { run: Some(run), ..StreamJobStatus::default() }
    }

    #[test]
    fn a_watch_that_is_behind_takes_nothing_back() {
        let written = Written::default();
        let run = |job: &StreamJob| written.newest(job).status.and_then(|it| it.run);
        assert_eq!(run(&job(None)), None);
        written.wrote(&job(None), &shows(1));
        written.wrote(&job(None), &shows(2));
        assert_eq!(run(&job(None)), Some(2));
        assert_eq!(run(&job(Some(1))), Some(2), "the first one is shown now");
        assert_eq!(run(&job(Some(2))), Some(2));
        assert_eq!(run(&job(Some(3))), Some(3), "what is shown is known no more");
        written.wrote(&job(None), &shows(4));
        written.keep(|uid| uid != "u");
        assert_eq!(run(&job(Some(3))), Some(3));
    }
}
