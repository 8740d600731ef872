//! What workers must have in common before they can run a job together.
//!
//! Received from: the context, the facts of all workers of one spec. Handed to: the states that
//! wait for them. Invariant: one run has one executable, one plan, one version of the protocol.

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::key_group::KeyGroups;
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
        if other.executable != facts[0].executable {
            return invalid(format!("workers 0 and {index} run different executables"));
        }
        if other.plan != facts[0].plan {
            return invalid(format!(
                "workers 0 and {index} built different plans from the same program: a program \
                 must depend on nothing but its args"
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
