//! What a job goes through from one phase to the next, and how long that takes.
//!
//! Received from: [`super`], each phase that a look at a job has found. Pure. Invariant: nothing is
//! measured whose beginning this process has not seen.

use std::fmt;
use std::time::Duration;

use millstream_protocol::time::Timestamp;

use crate::crd::status::Phase;

/// What leads from one lasting phase to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Transition {
    /// From a job's creation until it runs.
    Start,
    /// From a failure until it runs again, by its coordinator's word.
    Restart,
    /// To other numbers of tasks.
    Rescale,
    /// To another spec of its tasks or pods.
    Upgrade,
    /// Until it is suspended.
    Suspend,
    /// From what it has rested in until it runs.
    Resume,
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Rescale => "rescale",
            Self::Upgrade => "upgrade",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        })
    }
}

/// A job on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) phase: Phase,
    /// When it was looked at last.
    seen_at: Timestamp,
    /// The failure of the restart that was counted last.
    pub(super) failed_at: Option<Timestamp>,
    under_way: Option<(Transition, Timestamp)>,
}

impl Course {
    /// A job that is seen for the first time; it is new where nobody has looked at it before.
    pub(super) fn new(phase: Phase, is_new: bool, now: Timestamp) -> Self {
        let under_way = (is_new && !lasts(phase)).then_some((Transition::Start, now));
        Self { phase, seen_at: now, failed_at: None, under_way }
    }

    /// The phase that it is in now; what is over with it, and how long that took.
    pub(super) fn see(&mut self, phase: Phase, now: Timestamp) -> Option<(Transition, Duration)> {
        let before = std::mem::replace(&mut self.phase, phase);
        let since = std::mem::replace(&mut self.seen_at, now);
        if before == phase {
            return None;
        }
        if (before, phase) == (Phase::Running, Phase::Suspended) {
            // The look before is the one that has wished it.
            return Some((Transition::Suspend, now.since(since)));
        }
        if lasts(before) {
            self.under_way = begun(before, phase).map(|transition| (transition, now));
        }
        if !lasts(phase) {
            return None;
        }
        let (transition, since) = self.under_way.take()?;
        let is_done = match transition {
            Transition::Suspend => phase == Phase::Suspended,
            _ => phase == Phase::Running,
        };
        is_done.then(|| (transition, now.since(since)))
    }
}

/// A job may stay in it.
fn lasts(phase: Phase) -> bool {
    match phase {
        Phase::Running | Phase::Suspended | Phase::Finished | Phase::Failed | Phase::Deleting => {
            true
        }
        Phase::Pending
        | Phase::Starting
        | Phase::Restoring
        | Phase::Rescaling
        | Phase::Upgrading
        | Phase::Suspending
        | Phase::Restarting => false,
    }
}

fn begun(before: Phase, phase: Phase) -> Option<Transition> {
    match (before, phase) {
        (_, Phase::Rescaling) => Some(Transition::Rescale),
        (_, Phase::Upgrading) => Some(Transition::Upgrade),
        (_, Phase::Suspending) => Some(Transition::Suspend),
        (Phase::Suspended | Phase::Finished | Phase::Failed, _) => Some(Transition::Resume),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1000)
    }

    /// A second from phase to phase; what was over, and after how many seconds.
    fn told(first: Course, phases: &[Phase]) -> Vec<(Transition, u64)> {
        let mut course = first;
        let seen = phases.iter().zip(1..).filter_map(|(phase, now)| course.see(*phase, at(now)));
        seen.map(|(transition, took)| (transition, took.as_secs())).collect()
    }

    #[test]
    fn what_a_job_goes_through_is_named_by_what_began_it() {
        use Phase::{
            Pending, Restarting, Restoring, Running, Starting, Suspended, Suspending, Upgrading,
        };
        let new = Course::new(Pending, true, at(0));
        let phases = [Starting, Running, Restarting, Pending, Restoring, Restoring, Running];
        assert_eq!(told(new, &phases), [(Transition::Start, 2)], "a restart is told of otherwise");
        let runs = Course::new(Running, false, at(0));
        let phases = [Phase::Rescaling, Running, Upgrading, Restarting, Pending, Running];
        assert_eq!(told(runs, &phases), [(Transition::Rescale, 1), (Transition::Upgrade, 3)]);
        let phases = [Suspending, Suspended, Pending, Restoring, Running];
        assert_eq!(told(runs, &phases), [(Transition::Suspend, 1), (Transition::Resume, 2)]);
        assert_eq!(told(runs, &[Running, Running, Suspended]), [(Transition::Suspend, 1)], "fast");
    }

    #[test]
    fn what_was_not_seen_to_begin_or_did_not_come_about_is_not_measured() {
        use Phase::{Failed, Finished, Pending, Restarting, Running, Suspended, Suspending};
        assert_eq!(told(Course::new(Pending, false, at(0)), &[Running]), [], "it was taken over");
        assert_eq!(told(Course::new(Suspended, true, at(0)), &[]), []);
        let runs = Course::new(Running, false, at(0));
        assert_eq!(told(runs, &[Restarting, Failed]), []);
        assert_eq!(told(runs, &[Suspending, Running]), []);
        assert_eq!(told(runs, &[Finished, Phase::Deleting]), []);
    }
}
