//! Reconcile: one look at a job, step by step.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use millstream_coordinator::driver::{Clock, WallClock};
use millstream_coordinator::machine::Outcome;
use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::time::Timestamp;

use super::acceptable::{config, valid};
use super::accepted::{self, Refused};
use super::build::{Wanted, build};
use super::check::{self, Fit};
use super::decide::{Decision, Facts, Live, Order, Seen, back, blocks, decide, is_as_it_is};
use super::lost::Leaving;
use super::operator::Operator;
use super::status::{self, Sight, status};
use super::still::Still;
use super::validate::{self, Owner};
use super::written::Written;
use super::{apply, deletion, fetch};
use crate::coordinators::Coordinators;
use crate::crd::{StreamJob, StreamJobStatus, StreamSnapshot};
use crate::finalizer;
use crate::metrics::Metrics;
use crate::names;
use crate::teller::Teller;
use crate::templates::Templates;

/// A job is looked at so often, whatever happens: what a coordinator counts is written then.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Before a look at a job that failed is repeated.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// What all looks at jobs need.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) operator: Operator,
    pub(crate) coordinators: Coordinators,
    pub(crate) clock: WallClock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) teller: Teller,
    pub(crate) written: Written,
    pub(crate) still: Still,
    pub(crate) templates: Arc<Templates>,
}

/// Why a look at a job came to nothing. It is repeated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server.
    #[error("the API server: {0}")]
    Api(#[from] kube::Error),
    /// The accepted spec.
    #[error(transparent)]
    Accepted(#[from] accepted::Error),
    /// The job.
    #[error(transparent)]
    Job(#[from] validate::Error),
    /// Something is to be done, which takes more than what was known of the job.
    #[error("what was known of the job does not do any more: it is asked for again")]
    Known,
    /// A version that the API server has something against.
    #[error("{}", .0.message)]
    Refused(Refused),
    /// An object of the job's name is there, and is not the job's.
    #[error(
        "there is a {kind} {name} that is not this job's: delete it, or name the job otherwise"
    )]
    Taken {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl Error {
    /// What is to be done about it.
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Api(_) | Self::Known => ErrorKind::Unavailable,
            Self::Accepted(error) => error.kind(),
            Self::Job(error) => error.kind(),
            Self::Taken { .. } | Self::Refused(_) => ErrorKind::Invalid,
        }
    }
}

/// After a failure: the one place that says when a look at a job is repeated.
pub(crate) fn on_error(
    job: Arc<DeserializeGuard<StreamJob>>,
    error: &Error,
    _: Arc<Context>,
) -> Action {
    let named = job.0.as_ref().ok().and_then(|job| validate::owner(job).ok());
    let (namespace, name) = named.map(|it| (it.namespace, it.name)).unwrap_or_default();
    tracing::warn!(namespace, job = name, kind = %error.kind(), "cannot look after a job: {error}");
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Bug | ErrorKind::User => Action::requeue(RETRY_PAUSE),
        // Somebody must change something, and not all of that is watched.
        ErrorKind::Invalid | ErrorKind::Corrupt | ErrorKind::Fenced => Action::requeue(LOOK_EVERY),
    }
}

/// One look at a job, which is counted.
pub(crate) async fn reconcile(
    job: Arc<DeserializeGuard<StreamJob>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let begun = context.clock.now();
    let mut looked = Box::pin(look(&job, &context)).await;
    if let Err(Error::Known) = looked {
        looked = Box::pin(look(&job, &context)).await;
    }
    let failure = looked.as_ref().err().map(Error::kind);
    context.metrics.looked(context.clock.now().since(begun), failure);
    looked
}

/// What there is, what is to be, what is done about it, what is said of it.
async fn look(job: &DeserializeGuard<StreamJob>, context: &Context) -> Result<Action, Error> {
    let Some(job) = readable(job) else { return Ok(Action::await_change()) };
    let owner = validate::owner(job)?;
    let job = &context.written.newest(job);
    if job.metadata.deletion_timestamp.is_some() {
        return deletion::look(context, job, &owner).await;
    }
    let mut there = fetch::find(context, &owner).await?;
    context.coordinators.locate(&owner, &there.workers);
    let (seen, restarts_before) = context.coordinators.seen(&owner).unzip();
    let restarts_before = restarts_before.unwrap_or_else(|| restarts(job));
    let mut sight = Sight {
        job,
        mistakes: None,
        blocked: None,
        unchecked: None,
        deleting: None,
        decision: None,
        coordinator: seen.as_ref(),
        restarts_before,
        workers: &there.workers,
        refusal: there.refusal.as_ref(),
        now: context.clock.now(),
    };
    if is_paused(job) {
        say(context, job, &owner, &status::paused(&sight)).await?;
        return Ok(Action::requeue(LOOK_EVERY));
    }
    if finalizer::follow(&context.client, job, job.spec.job.snapshots.on_delete).await? {
        return Ok(Action::requeue(RETRY_PAUSE));
    }
    let patience = give_up(context, &owner, &there.leaving).await?;
    let named = named(context, job, &owner, there.live.as_ref()).await?;
    let valid = valid(job, &context.operator, there.live.as_ref(), named.as_ref())?;
    there.check = check::see(context, &owner, valid.as_ref().ok(), there.live.as_ref()).await?;
    let trouble = there.workers.iter().find_map(|worker| worker.trouble.as_ref());
    let facts = Facts {
        valid: valid.as_ref().ok(),
        live: there.live.as_ref(),
        coordinator: seen.as_ref(),
        is_outdated: there.live.is_some() && there.is_outdated(),
        trouble: trouble.or(there.refusal.as_ref()).map(|it| it.message.as_str()),
        candidate_at: candidate_at(job, seen.as_ref()),
        has_snapshot: job.status.as_ref().is_some_and(|it| it.last_snapshot.is_some()),
        fit: there.check.as_ref().map_or(&Fit::Unasked, |check| &check.fit),
        now: sight.now,
    };
    let restarts = restarts_before + seen.as_ref().map_or(0, |it| it.status.restarts as i64);
    let (decision, refusal) = carry_out(context, &owner, &facts, &there, restarts).await?;
    sight.mistakes = valid.as_ref().err().map(String::as_str);
    let blocked = blocks(&facts);
    sight.blocked = blocked.as_ref();
    sight.decision = decision.as_ref();
    sight.unchecked = there.check.as_ref().and_then(|check| check.waits.as_deref());
    if refusal.is_some() {
        sight.mistakes = refusal.as_deref();
        // No spec is in force yet.
        sight.decision = decision.as_ref().filter(|_| there.live.is_some());
    }
    say(context, job, &owner, &status(&sight)).await?;
    count_restart(context, &owner, seen.as_ref());
    // That pods are refused is told in events, which are not watched; nor are errands.
    let is_unwatched = there.lacks_pods || check::is_open(there.check.as_ref(), sight.decision);
    let next = next_look(&sight, is_unwatched).min(patience);
    let decided = there.live.as_ref().zip(decision.as_ref());
    if there.is_still() && decided.is_some_and(|(live, it)| is_as_it_is(it, live)) {
        context.still.keep(&owner, there);
    }
    Ok(Action::requeue(next))
}

/// The `StreamSnapshot` that the job is to begin from. A spec in force has its address.
async fn named(
    context: &Context,
    job: &StreamJob,
    owner: &Owner,
    live: Option<&Live>,
) -> Result<Option<StreamSnapshot>, Error> {
    let spec = &job.spec.job;
    let is_in_force = live.is_some_and(|live| live.accepted.hash == accepted::hash(spec));
    match &spec.restore.snapshot_name {
        Some(name) if !is_in_force => Ok(fetch::snapshot(&context.client, owner, name).await?),
        _ => Ok(None),
    }
}

/// Counts the last restart, once it is over.
fn count_restart(context: &Context, owner: &Owner, seen: Option<&Seen>) {
    let last = seen.and_then(|seen| seen.status.last_failure.as_ref());
    if let Some((last, running_at)) = last.and_then(|last| Some((last, last.running_at?))) {
        context.metrics.restarted(owner, last.at, running_at.since(last.at));
    }
}

/// When the snapshot was taken that a start would go on from. The coordinator's is newer than what
/// was written of it.
fn candidate_at(job: &StreamJob, seen: Option<&Seen>) -> Option<Timestamp> {
    let written = job.status.as_ref().and_then(|it| it.restore_candidate.as_ref());
    let written = written.map(|it| Timestamp(it.completed_at.0.as_millisecond()));
    let last = seen.and_then(|seen| seen.status.last_snapshot.as_ref());
    written.max(last.map(|last| last.completed_at))
}

/// When a job is looked at again, where nothing happens that calls for it.
fn next_look(sight: &Sight, is_unwatched: bool) -> Duration {
    let outcome = sight.coordinator.and_then(|seen| seen.outcome.as_ref());
    if is_unwatched || matches!(outcome, Some(Outcome::Fenced(_))) {
        return RETRY_PAUSE;
    }
    let previous = sight.decision.and_then(|it| it.previous.as_ref());
    previous.map_or(LOOK_EVERY, |it| back::look_again(it, sight.now).min(LOOK_EVERY))
}

/// Deletes pods that do not end. Returns in how long the next one is to be looked at.
pub(super) async fn give_up(
    context: &Context,
    owner: &Owner,
    leaving: &[Leaving],
) -> Result<Duration, Error> {
    let now = context.clock.now();
    let (lost, others): (Vec<_>, Vec<_>) = leaving.iter().partition(|it| it.until <= now);
    for lost in lost {
        apply::give_up(&context.client, owner, lost).await?;
    }
    Ok(others.iter().map(|it| it.until.since(now)).min().unwrap_or(LOOK_EVERY))
}

/// What the API server has against the objects that were made of a spec, if that is why they were
/// not applied: it knows the rules of pods, which the spec has passed on.
fn refused(acted: Result<(), Error>) -> Result<Option<String>, Error> {
    match acted {
        Err(Error::Api(kube::Error::Api(answer))) if answer.code == 422 => {
            Ok(Some(format!("spec.podTemplate: {}", answer.message)))
        }
        acted => acted.map(|()| None),
    }
}

fn readable(job: &DeserializeGuard<StreamJob>) -> Option<&StreamJob> {
    let read = job.0.as_ref().inspect_err(|unreadable| {
        let name = unreadable.metadata.name.as_deref().unwrap_or_default();
        tracing::warn!(job = name, "a job cannot be read: {unreadable}");
    });
    read.ok()
}

/// Writes a status, and counts and tells what it says.
pub(super) async fn say(
    context: &Context,
    job: &StreamJob,
    owner: &Owner,
    status: &StreamJobStatus,
) -> Result<(), Error> {
    if job.status.as_ref() != Some(status) {
        apply::write(&context.client, owner, status).await?;
        context.written.wrote(job, status);
    }
    if let Some(phase) = status.phase {
        context.metrics.saw(owner, phase, job.status.is_none(), context.clock.now());
    }
    context.teller.tell(job, owner, status).await;
    Ok(())
}

/// How often a job has restarted, by its status.
pub(super) fn restarts(job: &StreamJob) -> i64 {
    job.status.as_ref().and_then(|it| it.restarts).unwrap_or(0)
}

fn is_paused(job: &StreamJob) -> bool {
    let annotations = job.metadata.annotations.as_ref();
    annotations.and_then(|it| it.get(names::PAUSE)).is_some_and(|it| it == "true")
}

/// Decides, and does it. Where the API server refuses the objects of another version, the job goes
/// on by the one in force; returns why it refuses those of one in force.
async fn carry_out(
    context: &Context,
    owner: &Owner,
    facts: &Facts<'_>,
    there: &fetch::Fetched,
    restarts: i64,
) -> Result<(Option<Decision>, Option<String>), Error> {
    let Some(decision) = decide(facts) else { return Ok((None, None)) };
    let why = match act(context, owner, &decision, there, restarts).await {
        // It was not even asked.
        Err(Error::Refused(refused)) => Ok(refused),
        acted => match refused(acted)? {
            None => return Ok((Some(decision), None)),
            Some(message) => Err(message),
        },
    };
    let hash = decision.accepted.hash.clone();
    let refused = match (why, facts.live) {
        (Ok(refused), _) => refused,
        (Err(message), Some(live)) if live.accepted.hash != hash => Refused { hash, message },
        (Err(message), _) => return Ok((Some(decision), Some(message))),
    };
    let Some(live) = facts.live else { return Ok((Some(decision), None)) };
    let live = Live { refused: Some(refused), ..live.clone() };
    let back = decide(&Facts { live: Some(&live), ..*facts });
    if let Some(back) = &back {
        act(context, owner, back, there, restarts).await?;
    }
    Ok((back, None))
}

/// Does what was decided.
async fn act(
    context: &Context,
    owner: &Owner,
    decision: &Decision,
    there: &fetch::Fetched,
    restarts: i64,
) -> Result<(), Error> {
    let Context { client, operator, coordinators, .. } = context;
    let Some(objects) = &there.objects else {
        // It was decided before, and done.
        if there.live.as_ref().is_some_and(|live| is_as_it_is(decision, live)) {
            return Ok(());
        }
        context.still.has_changed(&owner.namespace, &owner.name);
        return Err(Error::Known);
    };
    let resources = build(&Wanted {
        owner,
        accepted: &decision.accepted,
        refused: decision.refused.as_ref(),
        previous: decision.previous.as_ref(),
        replicas: decision.replicas,
        is_finished: decision.is_finished,
        operator,
    });
    apply::apply(client, owner, resources, objects, decision.has_new_template).await?;
    if decision.replaces_pods {
        apply::delete(client, owner, there.outdated()).await?;
    }
    check::forget_refused(context, owner, there.check.as_ref()).await?;
    match &decision.order {
        Order::Keep => {}
        Order::Rest => coordinators.remove(owner),
        Order::Check(next) => {
            if let Some(refused) = check::ask(context, owner, next, there.check.as_ref()).await? {
                return Err(Error::Refused(refused));
            }
        }
        Order::Stop => {
            coordinators.stop(owner);
            check::forget(context, owner, there.check.as_ref()).await?;
        }
        Order::Edit(next) => {
            if let Some(config) = config(owner, next) {
                coordinators.edit(owner, next, config);
            }
        }
        Order::Start => {
            if let Some(config) = config(owner, &decision.accepted) {
                coordinators.start(owner, &decision.accepted, config, restarts);
                coordinators.locate(owner, &there.workers);
            }
        }
    }
    Ok(())
}
