//! The way of an object whose snapshots go with it.
//!
//! Received from: [`super::deletion`] and [`crate::savepoints`], as what is in the way and how far
//! the errand is that deletes them. Handed to: them. Pure. Invariants: an object never waits for
//! longer than [`GIVEN_UP_AFTER`]; what is left behind then is told.

use std::time::Duration;

use millstream_protocol::time::Timestamp;

use super::errand::Errand;

/// An object is let go after so long, whatever lies in the store: what keeps its snapshots from
/// being deleted for so long needs somebody to look, and the object would keep a namespace.
pub const GIVEN_UP_AFTER: Duration = Duration::from_mins(10);
/// Before an errand that failed is sent again: each one is a pod.
pub const AGAIN_AFTER: Duration = Duration::from_secs(15);

/// What there is.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// When the object was deleted.
    pub since: Timestamp,
    /// The time.
    pub now: Timestamp,
    /// What must come about first, if something must.
    pub waits: Option<&'a str>,
    /// The errand that deletes the snapshots.
    pub errand: &'a Errand,
    /// Whether nothing can begin in the namespace any more.
    pub namespace_ends: bool,
    /// What was said last.
    pub said: Option<&'a str>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: this is what it waits for.
    Wait(String),
    /// The errand is sent.
    Begin,
    /// The errand has failed for this reason, and is removed, to be sent again.
    Again(String),
    /// The snapshots are gone, and so may the object.
    Over,
    /// The object may go, and its snapshots stay, for this reason.
    GiveUp(String),
}

/// What is to be done.
pub fn decide(facts: &Facts) -> Step {
    if *facts.errand == Errand::Done {
        return Step::Over;
    }
    if facts.namespace_ends {
        let why = "the namespace is being deleted, so that nothing can be started in it";
        return Step::GiveUp(why.to_owned());
    }
    let waits = facts.waits.map(str::to_owned).or_else(|| match facts.errand {
        Errand::Runs(trouble) => trouble.clone(),
        Errand::Failed { message, .. } => Some(message.clone()),
        Errand::None | Errand::Done => None,
    });
    if facts.now.since(facts.since) >= GIVEN_UP_AFTER {
        let said = || facts.said.filter(|said| !said.is_empty()).map(str::to_owned);
        let why = waits.or_else(said).unwrap_or_else(|| "it takes too long".to_owned());
        return Step::GiveUp(format!("not in {} minutes: {why}", GIVEN_UP_AFTER.as_secs() / 60));
    }
    if let Some(waits) = facts.waits {
        return Step::Wait(waits.to_owned());
    }
    match facts.errand {
        Errand::None => Step::Begin,
        Errand::Failed { at, message, .. } if facts.now.since(*at) >= AGAIN_AFTER => {
            Step::Again(message.clone())
        }
        Errand::Failed { .. } | Errand::Runs(_) | Errand::Done => {
            Step::Wait(waits.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELETED: Timestamp = Timestamp(1_000_000);

    fn after(secs: u64) -> Timestamp {
        DELETED.after(Duration::from_secs(secs))
    }

    fn step(secs: u64, waits: Option<&str>, errand: &Errand) -> Step {
        let (since, now, namespace_ends, said) = (DELETED, after(secs), false, None);
        decide(&Facts { since, now, waits, errand, namespace_ends, said })
    }

    fn failed(secs: u64) -> Errand {
        let message = "the key is wrong".to_owned();
        Errand::Failed { at: after(secs), code: Some(1), message }
    }

    /// Each row: the seconds, what is in the way, the errand, and what is done.
    #[test]
    fn pods_go_first_then_the_snapshots_then_the_object() {
        let wrong = || "the key is wrong".to_owned();
        for (secs, waits, errand, done) in [
            (1, Some("2 pods"), Errand::None, Step::Wait("2 pods".to_owned())),
            (9, None, Errand::None, Step::Begin),
            (10, None, Errand::Runs(None), Step::Wait(String::new())),
            (11, None, Errand::Runs(Some(wrong())), Step::Wait(wrong())),
            (12, None, failed(11), Step::Wait(wrong())),
            (26, None, failed(11), Step::Again(wrong())),
            (27, None, Errand::Done, Step::Over),
            (601, None, Errand::Done, Step::Over),
            (600, None, failed(599), Step::GiveUp("not in 10 minutes: the key is wrong".into())),
            (
                600,
                None,
                Errand::Runs(None),
                Step::GiveUp("not in 10 minutes: it takes too long".into()),
            ),
            (600, Some("2 pods"), Errand::None, Step::GiveUp("not in 10 minutes: 2 pods".into())),
        ] {
            assert_eq!(step(secs, waits, &errand), done, "{secs}");
        }
    }

    #[test]
    fn what_the_api_server_said_last_is_not_lost() {
        let (errand, since, now) = (&Errand::None, DELETED, after(600));
        let (waits, said) = (None, Some("exceeded quota"));
        let done = decide(&Facts { since, now, waits, errand, namespace_ends: false, said });
        assert_eq!(done, Step::GiveUp("not in 10 minutes: exceeded quota".to_owned()));
    }

    #[test]
    fn in_a_namespace_that_goes_nothing_is_waited_for() {
        let (since, now, waits, said) = (DELETED, after(1), Some("2 pods"), None);
        let facts = Facts { since, now, waits, errand: &Errand::None, namespace_ends: true, said };
        assert!(matches!(decide(&facts), Step::GiveUp(_)));
        assert_eq!(decide(&Facts { errand: &Errand::Done, ..facts }), Step::Over);
    }
}
