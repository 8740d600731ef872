//! Whether another version of a job that runs can go on from its state: an [`errand`] with the new
//! version's pod asks, before the old one is stopped for it.
//!
//! Received from: [`super::step`]. Handed to: [`super::decide`], as [`Fit`]. Invariants: a version
//! that does not fit, or whose pod does not come up, is refused while the old one runs on; one of
//! which that cannot be said, since the store does not answer, is asked again; what was found holds
//! for one attempt.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use millstream_coordinator::driver::Clock as _;
use millstream_protocol::error_kind::UNANSWERED;
use millstream_protocol::job::{API_VERSION, KIND};
use millstream_protocol::time::Timestamp;

use super::accepted::{Accepted, Refused};
use super::build::errand::{Errand as Wanted, build};
use super::decide::back::{QUIET, TROUBLED};
use super::decide::{Decision, Live, Order, needs_new_pods};
use super::errand::{self, Begun, Errand};
use super::removal::AGAIN_AFTER;
use super::step::{Context, Error};
use super::validate::{Owner, Valid, as_in_a_file};

/// What is known of a version that is to replace another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Nobody has asked.
    Unasked,
    /// It is being asked.
    Asked,
    /// It goes on from the state.
    Yes,
    /// It does not, or nobody will ever know, for this reason.
    No(String),
}

/// The check of a version, as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// What it has found.
    pub(super) fit: Fit,
    /// Why it could not find out, and is to be asked again.
    pub(super) waits: Option<String>,
    /// Which object it is.
    pub(super) uid: Option<String>,
}

/// Looks at the check of the spec that was written last, where there may be one.
pub(super) async fn see(
    context: &Context,
    owner: &Owner,
    valid: Option<&Valid>,
    live: Option<&Live>,
) -> Result<Option<Check>, Error> {
    let Some((next, live)) = valid.map(Accepted::of).zip(live) else { return Ok(None) };
    if next.hash == live.accepted.hash || !needs_new_pods(&live.accepted, &next) {
        return Ok(None);
    }
    let Owner { namespace, uid, .. } = owner;
    let seen = errand::see(&context.client, namespace, &name(owner), uid).await?;
    let fit = fit(&seen, &next.hash, context.clock.now());
    let waits = unknown(&seen.errand).map(|(_, why)| {
        format!("it cannot be said yet whether this version fits, and it is asked again: {why}")
    });
    Ok(Some(Check { fit, waits, uid: seen.uid }))
}

/// When and why it could not find out: the store does not answer, which passes.
fn unknown(errand: &Errand) -> Option<(Timestamp, &str)> {
    match errand {
        Errand::Failed { at, code: Some(code), message } if *code == i32::from(UNANSWERED) => {
            Some((*at, message))
        }
        _ => None,
    }
}

fn fit(seen: &errand::Seen, hash: &str, now: Timestamp) -> Fit {
    if seen.checks.as_deref() != Some(hash) {
        return Fit::Unasked;
    }
    let age = now.since(seen.since);
    if let Some((at, _)) = unknown(&seen.errand) {
        return if now.since(at) < AGAIN_AFTER { Fit::Asked } else { Fit::Unasked };
    }
    match &seen.errand {
        Errand::None => Fit::Unasked,
        Errand::Done => Fit::Yes,
        Errand::Failed { message, .. } => Fit::No(message.clone()),
        Errand::Runs(Some(trouble)) if age > TROUBLED => Fit::No(trouble.clone()),
        Errand::Runs(None) if age > QUIET => {
            Fit::No("a pod of it did not come up in 10 minutes".to_owned())
        }
        Errand::Runs(_) => Fit::Asked,
    }
}

/// What is said of a version that is not taken up.
pub fn refused(next: &Accepted, why: &str) -> Refused {
    let message = format!(
        "generation {} cannot take the job over, which runs on as it was: {why}",
        next.generation
    );
    Refused { hash: next.hash.clone(), message }
}

/// Asks; or makes room for that, where another version was asked about. Returns why it cannot be
/// asked, where the API server knows.
pub(super) async fn ask(
    context: &Context,
    owner: &Owner,
    next: &Accepted,
    there: Option<&Check>,
) -> Result<Option<Refused>, Error> {
    if there.is_some_and(|check| check.uid.is_some()) {
        forget(context, owner, there).await?;
        return Ok(None);
    }
    let made = build(&wanted(owner, next), &context.operator);
    Ok(match errand::begin(&context.client, &made).await? {
        Begun::No(why) => Some(refused(next, &why)),
        Begun::Yes | Begun::NamespaceEnds => None,
    })
}

/// Removes a check that has done its work.
pub(super) async fn forget(
    context: &Context,
    owner: &Owner,
    there: Option<&Check>,
) -> Result<(), Error> {
    if let Some(uid) = there.and_then(|check| check.uid.clone()) {
        errand::remove(&context.client, &owner.namespace, &name(owner), uid).await?;
    }
    Ok(())
}

/// Removes one that has found that the version does not fit, once that is noted.
pub(super) async fn forget_refused(
    context: &Context,
    owner: &Owner,
    there: Option<&Check>,
) -> Result<(), Error> {
    forget(context, owner, there.filter(|check| matches!(check.fit, Fit::No(_)))).await
}

/// Whether something is to come of it that nobody rings for.
pub(super) fn is_open(there: Option<&Check>, decision: Option<&Decision>) -> bool {
    there.is_some_and(|check| check.fit == Fit::Asked)
        || decision.is_some_and(|it| matches!(it.order, Order::Check(_)))
}

fn name(owner: &Owner) -> String {
    format!("{}-check", owner.name)
}

fn wanted<'a>(owner: &'a Owner, next: &'a Accepted) -> Wanted<'a> {
    let mut asked = next.spec.clone();
    // What only pods are made of may be large, and does not matter to the program.
    (asked.pod_template, asked.image) = (None, None);
    let job = serde_json::to_string(&as_in_a_file(owner, &asked));
    let job = job.expect("a spec that was read from JSON is JSON");
    let of = OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        name: owner.name.clone(),
        uid: owner.uid.clone(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    Wanted {
        name: name(owner),
        owner: of,
        job: (owner.namespace.as_str(), owner.name.as_str()),
        spec: &next.spec,
        // A variable's name in it is not to be replaced.
        args: vec!["check".to_owned(), format!("--job-json={}", job.replace('$', "$$"))],
        checks: Some(&next.hash),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reconcile::validate::validate;
    use crate::testing;

    #[test]
    fn what_is_known_of_a_version_is_of_that_version_and_not_awaited_for_ever() {
        let at = |secs| Timestamp(1_000_000).after(Duration::from_secs(secs));
        let found = |errand, hash: &str, secs| {
            let (since, checks) = (at(0), Some(hash.to_owned()));
            fit(&errand::Seen { errand, uid: None, since, checks }, "aa", at(secs))
        };
        let pull = || Errand::Runs(Some("no such image".to_owned()));
        let no = |why: &str| Fit::No(why.to_owned());
        let failed = |code| {
            let message = "state counts".to_owned();
            Errand::Failed { at: at(1), code: Some(code), message }
        };
        assert_eq!(found(Errand::Done, "bb", 1), Fit::Unasked);
        assert_eq!(found(Errand::Done, "aa", 1), Fit::Yes);
        assert_eq!(found(failed(2), "aa", 1), no("state counts"));
        assert_eq!(found(failed(137), "aa", 1), no("state counts"));
        assert_eq!(found(failed(5), "aa", 15), Fit::Asked, "the store does not answer");
        assert_eq!(found(failed(5), "aa", 16), Fit::Unasked, "and is asked again");
        assert_eq!(found(pull(), "aa", 60), Fit::Asked);
        assert_eq!(found(pull(), "aa", 61), no("no such image"));
        assert_eq!(found(Errand::Runs(None), "aa", 599), Fit::Asked);
        assert!(matches!(found(Errand::Runs(None), "aa", 601), Fit::No(_)));
    }

    #[test]
    fn the_program_is_asked_with_the_job_as_it_is_written() {
        let spec = "image: i:2\nprogram: {args: {a: $(HOME)}}\nsnapshots: {store: 's3://b/p'}";
        let job = testing::job("averages", &format!("{spec}\npodTemplate: {{metadata: {{}}}}"));
        let valid = validate(&job, &testing::operator()).unwrap();
        let next = Accepted::of(&valid);
        let wanted = wanted(&valid.owner, &next);
        let json = wanted.args[1].strip_prefix("--job-json=").unwrap().replace("$$", "$");
        let read: millstream_protocol::job::StreamJob = serde_json::from_str(&json).unwrap();
        assert_eq!(read.spec.program, next.spec.program);
        assert_eq!((&*read.metadata.name, read.spec.pod_template), ("averages", None));
        assert!(wanted.args[1].contains("$$(HOME)"));
    }
}
