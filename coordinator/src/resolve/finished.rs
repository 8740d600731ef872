//! Whether a job that has finished is the one that is asked for.
//!
//! Received from: [`super::resolve`], the final manifest and the program at hand. Handed back: what
//! differs. Invariant: that its output is complete is said of the program that made it alone.

use std::collections::BTreeMap;

use millstream_protocol::id::Seq;
use millstream_protocol::log::{Manifest, ProgramMark};
use millstream_protocol::plan::{Plan, PlanOperator};

use super::{Facts, check_key_groups};
use crate::history::History;

/// Refuses another program, and key groups that changed. Arguments may change while a job goes on,
/// so other ones are no other job: they are returned, in words.
pub(super) fn check(
    history: &History,
    manifest: &Manifest,
    seq: Seq,
    facts: Facts<'_>,
) -> Result<Vec<String>, String> {
    check_key_groups(manifest, seq, facts)?;
    let mut claims = history.claims().rev().map(|(_, claim)| claim);
    let then = claims.find(|claim| claim.run == manifest.run);
    let then = then.and_then(|claim| claim.program.as_ref());
    let now = ProgramMark::of(facts.program);
    if let Some(differs) = other_name(then, &now).or_else(|| other_plan(&manifest.plan, facts.plan))
    {
        return Err(format!(
            "the job has finished, in snapshot {}, with another program: {differs}. For another \
             program use another name; to begin again from nothing write restore.from: Empty \
             (--fresh)",
            facts.prefix.snapshot_uri(seq)
        ));
    }
    Ok(then.map_or_else(Vec::new, |then| other_args(&then.args, &now.args)))
}

fn other_name(then: Option<&ProgramMark>, now: &ProgramMark) -> Option<String> {
    let (then, now) = (then?.name.as_ref()?, now.name.as_ref()?);
    (then != now).then(|| format!("it was {then}, this one is {now}"))
}

/// What differs between two plans, as far as a fingerprint counts it. It is made anew of the old
/// plan: an older version may have made another of the same plan.
fn other_plan(then: &Plan, now: &Plan) -> Option<String> {
    if then.fingerprint() == now.fingerprint() {
        return None;
    }
    let gone = missing(then, now);
    let new = missing(now, then);
    let same_shape = |old: &PlanOperator, new: &PlanOperator| {
        old.method == new.method
            && old.role == new.role
            && old.keyed == new.keyed
            && old.states == new.states
    };
    let changed = then.operators.iter().find(|old| {
        let new = now.operator(&old.id);
        new.is_some_and(|new| !same_shape(old, new))
    });
    Some(match (gone.is_empty(), new.is_empty(), changed) {
        (false, false, _) => format!("it had {gone}, this one has {new}"),
        (false, true, _) => format!("it had {gone}, which this one has not"),
        (true, false, _) => format!("this one has {new}, which it had not"),
        (true, true, Some(operator)) => format!("operator {} is another one", operator.id),
        (true, true, None) => "its operators stand in another order, or their edges differ".into(),
    })
}

/// The ids of one plan's operators that another has not.
fn missing(from: &Plan, other: &Plan) -> String {
    let missing = from.operators.iter().filter(|operator| other.operator(&operator.id).is_none());
    missing.map(|operator| operator.id.as_str()).collect::<Vec<_>>().join(", ")
}

fn other_args(then: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let mut differs = BTreeMap::new();
    for (name, value) in now {
        match then.get(name) {
            None => differs.insert(name, "new"),
            Some(old) if old != value => differs.insert(name, "another"),
            Some(_) => None,
        };
    }
    differs.extend(then.keys().filter(|name| !now.contains_key(*name)).map(|name| (name, "gone")));
    differs.into_iter().map(|(name, how)| format!("argument {name} is {how}")).collect()
}
