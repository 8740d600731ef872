//! What workers must have in common before they can run a job together.
//!
//! Received from: the context, the facts of all workers of one spec. Handed to: the states that
//! wait for them. Invariant: one run has one executable, one plan, one version of the protocol.

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::plan::Plan;
use millstream_protocol::session::{Facts, PROTOCOL_VERSION};

/// Whether workers with these facts, in the order of their ordinals, can run a job together.
pub(crate) fn check(facts: &[&Facts], key_groups: KeyGroups) -> Result<(), Failure> {
    let invalid = |message: String| Err(Failure::new(ErrorKind::Invalid, message));
    for (index, other) in facts.iter().enumerate() {
        if other.protocol != PROTOCOL_VERSION {
            return invalid(format!(
                "worker {index} speaks protocol {}, the coordinator {PROTOCOL_VERSION}: run both \
                 from the same version",
                other.protocol
            ));
        }
        let (first, both) = (facts[0], both(facts, index));
        if other.executable != first.executable {
            return invalid(format!(
                "{both} run different executables ({} and {}): start all workers of a job from the \
                 same build",
                first.executable, other.executable
            ));
        }
        if other.plan != first.plan && other.threads != first.threads {
            return invalid(format!(
                "{both} built different plans, for they have {} and {} engine threads: give each \
                 the same --threads, or none and write spec.threadsPerWorker",
                first.threads, other.threads
            ));
        }
        if other.plan != first.plan {
            return invalid(format!(
                "{both} built different plans from the same program, of fingerprints {} and {}: \
                 {}: a program must depend on nothing but its args",
                first.fingerprint,
                other.fingerprint,
                difference(&first.plan, &other.plan)
            ));
        }
    }
    let threads: u32 = facts.iter().map(|facts| facts.threads).sum();
    let groups = key_groups.count();
    if threads > groups {
        return invalid(format!(
            "spec.workers x spec.threadsPerWorker is {threads}, more than spec.keyGroups \
             ({groups}): use fewer threads"
        ));
    }
    Ok(())
}

/// Names worker 0 and another one, with where they are.
fn both(facts: &[&Facts], index: usize) -> String {
    let at = |index: usize| {
        let address = facts[index].address.as_ref();
        address.map_or_else(String::new, |address| format!(" (at {address})"))
    };
    format!("workers 0{} and {index}{}", at(0), at(index))
}

/// The first thing that two plans differ in.
fn difference(one: &Plan, other: &Plan) -> String {
    for (a, b) in one.operators.iter().zip(&other.operators) {
        let id = &a.id;
        if a.id != b.id {
            return format!("the one has operator {id} where the other has operator {}", b.id);
        }
        if a.parallelism != b.parallelism {
            let (one, other) = (a.parallelism, b.parallelism);
            return format!("operator {id} has parallelism {one} in the one, {other} in the other");
        }
        if a != b {
            return format!("operator {id} is {}, and not the same in both", a.method);
        }
    }
    match (one.operators.len(), other.operators.len()) {
        (one, other) if one != other => format!("the one has {one} operators, the other {other}"),
        _ => "operators are connected in another way".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use millstream_protocol::plan::{EdgeKind, PlanEdge};

    use super::*;
    use crate::testing::entries::facts;

    fn refusal(change: impl FnOnce(&mut Facts)) -> String {
        let first = facts(1, 1);
        let mut other = first.clone();
        other.address = Some("10.0.0.2:7070".to_owned());
        change(&mut other);
        let checked = check(&[&first, &other], KeyGroups::default());
        checked.unwrap_err().message
    }

    #[test]
    fn what_differs_is_named() {
        let reason = refusal(|other| "other".clone_into(&mut other.executable));
        assert!(reason.starts_with("workers 0 and 1 (at 10.0.0.2:7070) run different"), "{reason}");
        let reason = refusal(|other| {
            other.threads += 1;
            other.plan.operators[0].parallelism += 1;
        });
        assert!(reason.contains("they have 1 and 2 engine threads: give each the"), "{reason}");
        let reason = refusal(|other| other.plan.operators[0].parallelism += 1);
        assert!(reason.contains("has parallelism 1 in the one, 2 in the other: a"), "{reason}");
        let reason = refusal(|other| {
            other.plan.operators.pop();
        });
        assert!(reason.contains(" operators, the other "), "{reason}");
        let reason = refusal(|other| "else".clone_into(&mut other.plan.operators[0].method));
        assert!(reason.contains(", and not the same in both: a program must"), "{reason}");
        let reason = refusal(|other| {
            let (from, to, kind) = ("a".into(), "b".into(), EdgeKind::Hash);
            other.plan.edges.push(PlanEdge { from, to, kind });
        });
        assert!(reason.contains("operators are connected in another way"), "{reason}");
    }
}
