//! [`Obeyed`]: whose commands a process has carried out last.
//!
//! Kept by [`super`], looked at by [`crate::serve`] when the next coordinator comes.

use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::id::{Run, Term};
use millstream_protocol::path::JobPrefix;

/// The reign that this process has obeyed last, and of which job: whoever had an earlier one is not
/// listened to.
#[derive(Clone, Default)]
pub(crate) struct Obeyed(Arc<Mutex<Option<(JobPrefix, Reign)>>>);

type Reign = (Run, Term);

impl Obeyed {
    pub(super) fn set(&self, job: &JobPrefix, reign: Reign) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((job.clone(), reign));
    }

    /// That of this job.
    pub(crate) fn of(&self, job: &JobPrefix) -> Option<Reign> {
        let obeyed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        obeyed.as_ref().filter(|(of, _)| of == job).map(|(_, reign)| *reign)
    }
}
