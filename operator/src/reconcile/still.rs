//! What the last look at a job has found, for as long as nothing of it has changed.
//!
//! Filled and asked by: [`super::step`]; told by: [`crate::serve()`], of each change of a job's
//! `StatefulSet` and pods that the watches show. A thousand jobs that run as they should would ask
//! the API server for ten thousand objects a minute, to find each time what was there before.
//! Invariants: what is kept was found by a look that had nothing to do; a change that comes while
//! that look asks makes it worth nothing; it is asked for again from time to time, since not all
//! objects of a job are watched.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millstream_protocol::time::Timestamp;

use super::fetch::Fetched;
use super::validate::Owner;

/// How long the objects that are not watched may be other than they are thought to be: a Service
/// that somebody has deleted is made again by then.
const ASK_EVERY: Duration = Duration::from_mins(5);

/// A job is named by its namespace and its name.
type Key = (String, String);

/// What was found of jobs.
#[derive(Debug, Default)]
pub(crate) struct Still(Mutex<HashMap<Key, Kept>>);

#[derive(Debug)]
struct Kept {
    /// The job's UID.
    uid: String,
    /// When it was begun to ask.
    at: Timestamp,
    /// None while it is being asked for, and where something has changed since.
    found: Option<Fetched>,
    has_changed: bool,
}

impl Still {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Key, Kept>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was found of a job, if that is how it is.
    pub(super) fn found(&self, owner: &Owner, now: Timestamp) -> Option<Fetched> {
        self.with(|all| {
            let kept = all.get(&key(owner)).filter(|kept| kept.uid == owner.uid)?;
            kept.found.clone().filter(|_| now.since(kept.at) < ASK_EVERY)
        })
    }

    /// A look begins to ask: what changes from now on, it may not have seen.
    pub(super) fn ask(&self, owner: &Owner, now: Timestamp) {
        let kept = Kept { uid: owner.uid.clone(), at: now, found: None, has_changed: false };
        self.with(|all| all.insert(key(owner), kept));
    }

    /// Keeps what the look has found that asked last, where nothing has changed since.
    pub(super) fn keep(&self, owner: &Owner, found: Fetched) {
        // They are large, and asked for when something is to be done.
        let found = Fetched { objects: None, ..found };
        self.with(|all| {
            if let Some(kept) = all.get_mut(&key(owner)).filter(|kept| !kept.has_changed) {
                kept.found = Some(found);
            }
        });
    }

    /// Something of a job has changed.
    pub(crate) fn has_changed(&self, namespace: &str, name: &str) {
        self.with(|all| {
            if let Some(kept) = all.get_mut(&(namespace.to_owned(), name.to_owned())) {
                (kept.found, kept.has_changed) = (None, true);
            }
        });
    }

    /// Something may have changed that no watch shows: one begins anew.
    pub(crate) fn may_have_changed(&self) {
        self.with(|all| {
            for kept in all.values_mut() {
                (kept.found, kept.has_changed) = (None, true);
            }
        });
    }

    /// Forgets jobs that are not there any more.
    pub(crate) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        self.with(|all| all.retain(|_, kept| is_there(&kept.uid)));
    }
}

fn key(owner: &Owner) -> Key {
    (owner.namespace.clone(), owner.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str) -> Owner {
        Owner { namespace: "plants".into(), name: "averages".into(), uid: uid.into() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_000_000 + seconds * 1000)
    }

    fn is_known(still: &Still, uid: &str, seconds: i64) -> bool {
        still.found(&owner(uid), at(seconds)).is_some()
    }

    #[test]
    fn what_was_found_is_known_until_something_changes_or_time_goes_by() {
        let still = Still::default();
        assert!(!is_known(&still, "u", 0));
        still.ask(&owner("u"), at(0));
        assert!(!is_known(&still, "u", 0), "it is being asked for");
        still.keep(&owner("u"), Fetched::default());
        assert!(is_known(&still, "u", 299));
        assert!(!is_known(&still, "u", 300));
        assert!(!is_known(&still, "v", 0), "another job of that name");
        still.has_changed("plants", "others");
        assert!(is_known(&still, "u", 0));
        still.has_changed("plants", "averages");
        assert!(!is_known(&still, "u", 0));
        still.ask(&owner("u"), at(0));
        still.keep(&owner("u"), Fetched::default());
        still.may_have_changed();
        assert!(!is_known(&still, "u", 0));
    }

    #[test]
    fn what_changes_while_it_is_asked_for_is_not_known() {
        let still = Still::default();
        still.ask(&owner("u"), at(0));
        still.has_changed("plants", "averages");
        still.keep(&owner("u"), Fetched::default());
        assert!(!is_known(&still, "u", 0));
        still.ask(&owner("u"), at(1));
        still.keep(&owner("u"), Fetched::default());
        assert!(is_known(&still, "u", 1));
        still.retain(|uid| uid != "u");
        still.keep(&owner("u"), Fetched::default());
        assert!(!is_known(&still, "u", 1), "it is gone");
    }
}
