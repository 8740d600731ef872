//! From the log, the wish and the program to what a start begins with.
//!
//! Received from: [`History`] and the workers' plan. Handed to: the claim and the deployment.
//! Invariant: never silently older than the log says, never silently empty; whatever does not fit
//! is refused before anything is touched.

mod differs;
mod finished;

use std::fmt::Write;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::Seq;
use millstream_protocol::job::ProgramSpec;
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::log::{Lineage, Manifest};
use millstream_protocol::path::JobPrefix;
use millstream_protocol::plan::{Plan, PlanOperator, Role, StateSchema};
use millstream_protocol::wish::Wish;

use crate::history::History;

/// What a start is judged by, beside the log.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What is asked for.
    pub wish: Wish,
    /// The program's plan.
    pub plan: &'a Plan,
    /// Which program that is, and its arguments.
    pub program: &'a ProgramSpec,
    /// The job's key groups.
    pub key_groups: KeyGroups,
    /// How many of the newest snapshots a claim keeps that does not say.
    pub retain: u32,
    /// Whether state that does not fit may be lost.
    pub allow_dropped_state: bool,
    /// Where the job's objects lie, for messages.
    pub prefix: &'a JobPrefix,
}

/// What a start begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// From nothing.
    Fresh {
        /// The history it continues: none starts a new one.
        lineage: Option<Lineage>,
    },
    /// From a manifest.
    From {
        /// Its slot.
        seq: Seq,
        /// Whether all its output is visible; where not, its sinks are recovered.
        committed: bool,
        /// Whether nothing is left to run but that recovery.
        is_final: bool,
        /// The history it continues.
        lineage: Lineage,
    },
    /// The job has finished, and all its output is visible.
    Finished {
        /// The final manifest.
        seq: Seq,
        /// What is other than it was when it finished, and changes no state, in words.
        differs: Vec<String>,
    },
    /// Not at all.
    Refuse(Failure),
}

/// What a start begins with.
pub fn resolve(history: &History, facts: Facts<'_>) -> Decision {
    let decision = match facts.wish {
        Wish::Empty { .. } => return Decision::Fresh { lineage: None },
        Wish::Latest => latest(history, facts),
        Wish::Snapshot { seq, .. } => named(history, seq, facts),
        // Where the log begins with a copy of it, this wish was acted upon by that.
        Wish::Other { .. } => refuse(
            ErrorKind::Invalid,
            format!(
                "restore.uri: it names a snapshot of another job, which only a job that has no \
                 history can begin from, and {} has one: name the job otherwise, or delete what it \
                 has there (snapshots delete {} --yes)",
                facts.prefix, facts.prefix
            ),
        ),
    };
    let Decision::From { seq, committed, .. } = decision else {
        return decision;
    };
    let Some(manifest) = history.manifest(seq) else {
        let uri = facts.prefix.snapshot_uri(seq);
        return refuse(
            ErrorKind::Corrupt,
            format!("the job must start from {uri}, which is no longer a snapshot"),
        );
    };
    match check(manifest, committed, seq, facts) {
        Ok(()) => decision,
        Err(message) => refuse(ErrorKind::Invalid, message),
    }
}

fn refuse(kind: ErrorKind, message: String) -> Decision {
    Decision::Refuse(Failure::new(kind, message))
}

fn latest(history: &History, facts: Facts<'_>) -> Decision {
    let Some(seq) = history.restorable() else {
        let last = history.in_force().next_back();
        return Decision::Fresh { lineage: last.map(|(_, claim)| claim.lineage.clone()) };
    };
    let committed = history.is_committed(seq);
    match history.manifest(seq) {
        Some(manifest) if manifest.is_final && committed => {
            match finished::check(history, manifest, seq, facts) {
                Ok(differs) => Decision::Finished { seq, differs },
                Err(message) => refuse(ErrorKind::Invalid, message),
            }
        }
        manifest => from(seq, committed, manifest),
    }
}

fn from(seq: Seq, committed: bool, manifest: Option<&Manifest>) -> Decision {
    Decision::From {
        seq,
        committed,
        is_final: manifest.is_some_and(|manifest| manifest.is_final),
        lineage: manifest.map_or_else(Lineage::default, |manifest| manifest.lineage.clone()),
    }
}

fn named(history: &History, seq: Seq, facts: Facts<'_>) -> Decision {
    let uri = facts.prefix.snapshot_uri(seq);
    let Some(manifest) = history.manifest(seq) else {
        return refuse(
            ErrorKind::Invalid,
            format!("restore.uri: {uri} is not a snapshot, or was deleted: name one that is there"),
        );
    };
    if !history.is_committed(seq) {
        return refuse(
            ErrorKind::Invalid,
            format!(
                "restore.uri: not all output of {uri} was made visible, so it cannot be gone back \
                 to: name an older one, or use from: Latest"
            ),
        );
    }
    if let Some((run, keeps)) = history.retired_by(seq, facts.retain) {
        return refuse(
            ErrorKind::Invalid,
            format!(
                "restore.uri: {uri} may be deleted at any time: run {run} keeps the newest {keeps} \
                 snapshots and may not have done with the others: name a newer one"
            ),
        );
    }
    from(seq, true, Some(manifest))
}

/// Whether the program can go on from the manifest; why not, naming both sides and what to do.
fn check(manifest: &Manifest, committed: bool, seq: Seq, facts: Facts<'_>) -> Result<(), String> {
    check_key_groups(manifest, seq, facts)?;
    let uri = facts.prefix.snapshot_uri(seq);
    let stateful = || manifest.plan.operators.iter().filter(|operator| !operator.states.is_empty());
    let lost: Vec<_> = stateful().filter(|old| facts.plan.operator(&old.id).is_none()).collect();
    if manifest.pending_commits && !committed {
        check_pending(manifest, facts.plan, &uri)?;
    }
    if facts.allow_dropped_state {
        return Ok(());
    }
    if !lost.is_empty() && lost.len() == stateful().count() {
        return Err(format!(
            "no operator of snapshot {uri} is in this program: the snapshot has {}, the program \
             has {}. For another program use another name; to begin again from nothing write \
             restore.from: Empty (--fresh)",
            ids(&manifest.plan),
            ids(facts.plan)
        ));
    }
    if let Some(old) = lost.first() {
        return Err(format!(
            "snapshot {uri} holds state of operator {} ({}), which the program does not have; it \
             has {}: give an operator this id, or write restore.allowDroppedState: true to lose \
             the state",
            old.id,
            old.method,
            ids(facts.plan)
        ));
    }
    for old in stateful() {
        if let Some(new) = facts.plan.operator(&old.id) {
            check_states(old, new, &uri)?;
        }
    }
    Ok(())
}

fn check_key_groups(manifest: &Manifest, seq: Seq, facts: Facts<'_>) -> Result<(), String> {
    if manifest.key_groups == facts.key_groups {
        return Ok(());
    }
    Err(format!(
        "spec.keyGroups is {}, but snapshot {} has {}: a job's key groups cannot change, write \
         the old number",
        facts.key_groups.count(),
        facts.prefix.snapshot_uri(seq),
        manifest.key_groups.count()
    ))
}

/// Output that is not yet visible is never let go, whatever the job allows.
fn check_pending(manifest: &Manifest, plan: &Plan, uri: &str) -> Result<(), String> {
    let sinks = manifest.plan.operators.iter().filter(|old| matches!(old.role, Role::Sink(_)));
    // One that does not say is from before that was noted, and may have some.
    let may_have = |sink: &PlanOperator| {
        let noted = manifest.operator(&sink.id).and_then(|state| state.pending_commits);
        !sink.states.is_empty() && noted != Some(false)
    };
    for sink in sinks.filter(|old| may_have(old)) {
        let why = match plan.operator(&sink.id) {
            None => "the program does not have it",
            Some(new) if new.states != sink.states => "the program keeps it in another form",
            Some(_) => continue,
        };
        return Err(format!(
            "sink {} has output in snapshot {uri} that is not yet visible, and {why}: run the \
             program that wrote it until its next snapshot, then change it",
            sink.id
        ));
    }
    Ok(())
}

fn check_states(old: &PlanOperator, new: &PlanOperator, uri: &str) -> Result<(), String> {
    let way_out = "or write restore.allowDroppedState: true to lose the state";
    if old.keyed != new.keyed {
        let name = |keyed| if keyed { "keyed" } else { "not keyed" };
        return Err(format!(
            "operator {} is {} in snapshot {uri} and {} in the program: give it another id, \
             {way_out}",
            old.id,
            name(old.keyed),
            name(new.keyed)
        ));
    }
    for state in &old.states {
        match new.state(&state.name) {
            Some(other) if fits(state, other, new) => {}
            Some(other) => {
                let name = format!("state {} of operator {}", state.name, old.id);
                let wrong = match differs::between(state, other) {
                    Some(parts) => format!(
                        "{name} differs in the program from what snapshot {uri} holds: {parts}"
                    ),
                    None => format!(
                        "{name} is {} in snapshot {uri} and {} in the program{}",
                        shape(state),
                        shape(other),
                        migrations(new, other)
                    ),
                };
                return Err(format!(
                    "{wrong}: keep the old type, write a .migrate from it, {way_out}"
                ));
            }
            None => {
                return Err(format!(
                    "snapshot {uri} holds state {} of operator {}, which the program does not \
                     declare: declare it, {way_out}",
                    state.name, old.id
                ));
            }
        }
    }
    Ok(())
}

/// Whether what was stored as `old` can be read as `new`, as it is or by a migration.
fn fits(old: &StateSchema, new: &StateSchema, operator: &PlanOperator) -> bool {
    let migrated = || operator.migrated_from(&new.name).any(|from| from == old.schema);
    old.kind == new.kind && (old.schema == new.schema || migrated())
}

/// The migrations of a state, for a message that says why none of them serves.
fn migrations(operator: &PlanOperator, state: &StateSchema) -> String {
    let from: Vec<_> = operator.migrated_from(&state.name).collect();
    if from.is_empty() {
        return String::new();
    }
    format!(", which has a .migrate from {}", from.join(" and from "))
}

fn shape(state: &StateSchema) -> String {
    format!("{} of {}", state.kind, state.schema)
}

/// The ids of a plan's stateful operators; all ids where none has state.
fn ids(plan: &Plan) -> String {
    let stateful = plan.operators.iter().filter(|operator| !operator.states.is_empty());
    let mut text = String::new();
    for operator in stateful {
        let comma = if text.is_empty() { "" } else { ", " };
        write!(text, "{comma}{}", operator.id).expect("writing to a string cannot fail");
    }
    if text.is_empty() { "no state".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
