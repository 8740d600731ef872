//! The step from what there is to what is to be done.
//!
//! Received from: [`super::validate`], the job's `StatefulSet` and pods, and its coordinator.
//! Handed to: [`super::build`], and to whoever keeps coordinators. Pure. Invariants: a job that
//! runs keeps its accepted spec until its coordinator says that another one is in force; the
//! template of the pods changes only while no task runs; pods go last.

pub(crate) mod back;

use millstream_coordinator::machine::Outcome;
use millstream_coordinator::status::{Phase, Status};
use millstream_protocol::job::RestoreFrom;
use millstream_protocol::time::Timestamp;

use super::accepted::{Accepted, Previous, Refused};
use super::check::{self, Fit};
use super::flow::Flow;
use super::validate::Valid;
use crate::crd::condition;

/// What there is of a job.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The spec as it was written last; none where it has mistakes.
    pub valid: Option<&'a Valid>,
    /// Its `StatefulSet`.
    pub live: Option<&'a Live>,
    /// Its coordinator in this process.
    pub coordinator: Option<&'a Seen>,
    /// Whether pods run by another template than the one in force.
    pub is_outdated: bool,
    /// What keeps a pod from running, if something does.
    pub trouble: Option<&'a str>,
    /// Whether the job has a snapshot.
    pub has_snapshot: bool,
    /// When the snapshot was taken that a start would go on from, where that is known.
    pub candidate_at: Option<Timestamp>,
    /// Whether the spec as it was written goes on from the state, where it needs new pods.
    pub fit: &'a Fit,
    /// The time.
    pub now: Timestamp,
}

/// Why a spec is not taken up, though it has no mistake.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    /// The reason of the condition `Stalled`.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

/// What the `StatefulSet` of a job says.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// The spec in force.
    pub accepted: Accepted,
    /// The spec that was refused last.
    pub refused: Option<Refused>,
    /// What the job goes back to where the one in force does not come up.
    pub previous: Option<Previous>,
    /// How many pods there are to be.
    pub replicas: u32,
    /// Whether the job has come to its end.
    pub is_finished: bool,
}

/// What is seen of a coordinator.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// What it shows.
    pub status: Status,
    /// How it ended; none while it is at work.
    pub outcome: Option<Outcome>,
    /// Whether it has been told to stop.
    pub is_stopping: bool,
    /// What it was told to put in force, the last one last; the first is what it started with.
    pub told: Vec<Accepted>,
    /// Whether one that was fenced has waited long enough to try again.
    pub is_rested: bool,
    /// What passes through the job.
    pub flow: Flow,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The spec in force.
    pub accepted: Accepted,
    /// The spec that was refused last.
    pub refused: Option<Refused>,
    /// What the job goes back to where the one in force does not come up.
    pub previous: Option<Previous>,
    /// How many pods there are to be.
    pub replicas: u32,
    /// Whether the job has come to its end.
    pub is_finished: bool,
    /// Whether pods are to be made by a template made anew; else by the one that there is.
    pub has_new_template: bool,
    /// Whether pods with another template are to go.
    pub replaces_pods: bool,
    /// What is asked of the coordinator.
    pub order: Order,
}

/// What is asked of a job's coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// There is to be none.
    Rest,
    /// It is to be as it is.
    Keep,
    /// A new one starts with the accepted spec, in place of one that has ended.
    Start,
    /// It is to be as it is, while the program of this spec is asked whether it fits.
    Check(Box<Accepted>),
    /// It stops the job after a snapshot.
    Stop,
    /// It puts this spec in force.
    Edit(Box<Accepted>),
}

/// What is to be done; nothing for a job that never had a valid spec.
pub fn decide(facts: &Facts) -> Option<Decision> {
    let Some(live) = facts.live else { return facts.valid.map(|valid| first(valid, facts)) };
    let mut decision = match facts.coordinator {
        Some(seen) if seen.outcome.is_none() => at_work(live, seen, facts),
        Some(seen) => after(live, seen, facts),
        None if live.accepted.spec.suspend || live.is_finished => {
            let next = wanted(live, facts);
            let is_finished = live.is_finished && next.is_none();
            begin(live, next, is_finished, facts)
        }
        // The job may run, on the pods that there are: its coordinator takes it over as it is.
        None => begin(live, None, false, facts),
    };
    if let Some(valid) = facts.valid {
        // Another one is written now.
        decision.refused = decision.refused.filter(|refused| refused.hash == valid.hash);
    }
    Some(decision)
}

/// Whether nothing is asked of the API server by a decision about a job whose `StatefulSet` says
/// this, where the one before it was the same.
pub fn is_as_it_is(decision: &Decision, live: &Live) -> bool {
    let Decision { order, .. } = decision;
    let asks_nothing = matches!(order, Order::Keep | Order::Rest);
    let as_is = Decision { order: order.clone(), ..unchanged(live) };
    asks_nothing && *decision == as_is
}

/// A spec may ask for pods by another template.
pub fn needs_new_pods(old: &Accepted, new: &Accepted) -> bool {
    old.spec.image != new.spec.image
        || old.spec.pod_template != new.spec.pod_template
        || old.spec.state.local_volume != new.spec.state.local_volume
}

/// Why the spec as it was written last is not taken up, if it is not.
pub fn blocks(facts: &Facts) -> Option<Blocked> {
    blocked(facts.live?, &Accepted::of(facts.valid?), facts)
}

fn blocked(live: &Live, next: &Accepted, facts: &Facts) -> Option<Blocked> {
    let old = &live.accepted;
    if is_same(old, next) {
        return None;
    }
    if old.spec.state.local_volume != next.spec.state.local_volume {
        let message = "spec.state.localVolume: cannot change yet: put it back, or delete the job \
                       and create it again, which goes on from its last snapshot";
        let message = message.to_owned();
        return Some(Blocked { reason: condition::UPGRADE_BLOCKED, message });
    }
    let runs = facts.coordinator.is_some_and(|seen| seen.outcome.is_none());
    // What needs no new pods stops behind a snapshot, or does not stop.
    let begins = !next.spec.suspend && (!runs || needs_new_pods(old, next));
    let message = too_old(next, facts).filter(|_| begins)?;
    Some(Blocked { reason: condition::STATE_TOO_OLD, message })
}

/// What is wrong with the snapshot that a spec would go on from, if it is older than it allows.
fn too_old(next: &Accepted, facts: &Facts) -> Option<String> {
    let restore = &next.spec.restore;
    let max_age = restore.max_age.filter(|_| restore.from == RestoreFrom::Latest)?;
    let age = facts.now.since(facts.candidate_at?);
    (age > max_age.0).then(|| {
        format!(
            "spec.restore.maxAge is {max_age}, and the newest snapshot is older: the change waits \
             for a newer one. Without one, raise maxAge or leave it out, which goes on from that \
             snapshot (status.restoreCandidate)"
        )
    })
}

fn is_same(old: &Accepted, new: &Accepted) -> bool {
    old.hash == new.hash || old.spec == new.spec
}

fn first(valid: &Valid, facts: &Facts) -> Decision {
    let accepted = Accepted::of(valid);
    let order = match facts.coordinator {
        // Somebody has deleted the StatefulSet below it.
        Some(seen) if seen.outcome.is_none() => Order::Keep,
        Some(_) | None if valid.spec.suspend => Order::Rest,
        Some(_) | None => Order::Start,
    };
    Decision {
        replicas: pods(&accepted),
        accepted,
        refused: None,
        previous: None,
        is_finished: false,
        has_new_template: true,
        replaces_pods: false,
        order,
    }
}

fn pods(accepted: &Accepted) -> u32 {
    if accepted.spec.suspend { 0 } else { accepted.spec.workers }
}

fn unchanged(live: &Live) -> Decision {
    let Live { accepted, refused, previous, replicas, is_finished } = live.clone();
    Decision {
        accepted,
        refused,
        previous,
        replicas,
        is_finished,
        has_new_template: false,
        replaces_pods: false,
        order: Order::Keep,
    }
}

/// The spec as it was written last, where it is another one than that in force and may be taken up.
fn wanted(live: &Live, facts: &Facts) -> Option<Accepted> {
    let next = Accepted::of(facts.valid?);
    let is_refused = live.refused.as_ref().is_some_and(|it| it.hash == next.hash);
    // A watch may be behind what was accepted.
    let is_old = next.generation < live.accepted.generation;
    let is_other = !is_same(&live.accepted, &next) && !is_refused && !is_old;
    (is_other && blocked(live, &next, facts).is_none()).then_some(next)
}

/// Tasks may run.
fn at_work(live: &Live, seen: &Seen, facts: &Facts) -> Decision {
    let mut now = unchanged(live);
    let in_force = seen.told.iter().find(|it| it.generation as u64 == seen.status.generation);
    if let Some(in_force) = in_force.filter(|it| it.generation > live.accepted.generation) {
        now.previous = back::previous(live, in_force, facts);
        now.accepted = in_force.clone();
        now.refused = None;
    }
    now.previous = now.previous.filter(|previous| !back::has_come_up(previous, &seen.status));
    let refused = seen.status.refused.as_ref();
    let told = |generation| seen.told.iter().find(|it| it.generation as u64 == generation);
    if let Some((hash, refused)) =
        refused.and_then(|refused| Some((told(refused.generation)?.hash.clone(), refused)))
    {
        now.refused = Some(Refused { hash, message: refused.failure.message.clone() });
    }
    let last = seen.told.last().unwrap_or(&now.accepted);
    let is_refused = now.refused.as_ref().is_some_and(|it| it.hash == last.hash);
    let is_pending = last.generation > now.accepted.generation && !is_refused;
    let pending = if is_pending { last.spec.workers } else { 0 };
    now.replicas = now.accepted.spec.workers.max(pending);
    let base =
        Live { accepted: now.accepted.clone(), refused: now.refused.clone(), ..live.clone() };
    let given_up = now.previous.as_ref().and_then(|previous| {
        let why = back::is_given_up(previous, seen, facts)?;
        Some(back::refused(&now.accepted, previous, &why))
    });
    match wanted(&base, facts) {
        _ if seen.is_stopping => now.replicas = live.replicas,
        None if given_up.is_some() => {
            now.refused = given_up;
            now.order = Order::Stop;
        }
        Some(next) if next.spec.suspend || needs_new_pods(&now.accepted, &next) => {
            now.replicas = live.replicas;
            // What does not run has nothing to lose.
            let asks = !next.spec.suspend && seen.status.phase == Phase::Running;
            match facts.fit {
                Fit::No(why) if asks => now.refused = Some(check::refused(&next, why)),
                Fit::Unasked if asks => now.order = Order::Check(Box::new(next)),
                Fit::Asked if asks => {}
                _ => now.order = Order::Stop,
            }
        }
        next => {
            // What was written and taken back is told, too: it ends what was being prepared.
            let back = || facts.valid.map(Accepted::of).filter(|it| it.hash == base.accepted.hash);
            let newest = last.generation.max(now.accepted.generation);
            let next = next.or_else(back).filter(|next| next.generation > newest);
            if let Some(next) = next {
                now.replicas = now.replicas.max(next.spec.workers);
                now.order = Order::Edit(Box::new(next));
            }
        }
    }
    now
}

/// The coordinator has ended: no task runs.
fn after(live: &Live, seen: &Seen, facts: &Facts) -> Decision {
    let next = wanted(live, facts);
    // One with another template has been taken up, and waits for its pods.
    let is_told = seen.told.iter().any(|it| it.generation == live.accepted.generation);
    let given_up = live.previous.as_ref().filter(|_| next.is_none()).and_then(|previous| {
        Some((previous.accepted.clone(), back::has_failed(previous, seen, live, is_told)?))
    });
    if let Some((previous, refused)) = given_up {
        let decision = begin(live, Some(previous), false, facts);
        return Decision { refused: Some(refused), previous: None, ..decision };
    }
    match &seen.outcome {
        Some(Outcome::Finished { .. }) if next.is_none() && is_told => {
            begin(live, None, true, facts)
        }
        Some(Outcome::Failed(_)) if next.is_none() && is_told => unchanged(live),
        Some(Outcome::Fenced(_)) if !seen.is_rested => unchanged(live),
        _ => begin(live, next, false, facts),
    }
}

/// The job begins anew, or rests.
fn begin(live: &Live, next: Option<Accepted>, is_finished: bool, facts: &Facts) -> Decision {
    let has_new_template = next.as_ref().is_some_and(|next| needs_new_pods(&live.accepted, next));
    let previous = match &next {
        Some(next) => back::previous(live, next, facts),
        None => live.previous.clone(),
    };
    let accepted = next.unwrap_or_else(|| live.accepted.clone());
    let rests = accepted.spec.suspend || is_finished;
    // Those of the old template are gone before anything starts.
    let waits = has_new_template || facts.is_outdated;
    Decision {
        replicas: if rests { 0 } else { pods(&accepted) },
        accepted,
        refused: live.refused.clone(),
        previous,
        is_finished,
        has_new_template,
        replaces_pods: facts.is_outdated && !rests,
        order: match (rests, waits) {
            (true, _) => Order::Rest,
            (false, true) => Order::Keep,
            (false, false) => Order::Start,
        },
    }
}

#[cfg(test)]
mod tests;
