//! Log entries and plans with everything that a test does not care about filled in.

use std::collections::BTreeMap;

use millstream_protocol::id::{Epoch, Run, Seq, TaskIndex, Term};
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::log::{
    Began, Claim, Entry, Lineage, Manifest, Nonce, OperatorState, PartRef, Tombstone,
};
use millstream_protocol::plan::{Guarantee, Plan, PlanOperator, Role, StateSchema};
use millstream_protocol::session::{Facts, PROTOCOL_VERSION};
use millstream_protocol::time::Timestamp;
use millstream_protocol::wish::Wish;

use super::worker::{KEYED, SINK, SOURCE};

/// A claim of a run.
pub(crate) fn claim(run: u64, base: Option<u64>) -> Entry {
    Entry::Claim(Claim {
        nonce: Nonce(format!("claim-{run}")),
        run: Run(run),
        term: Term(1),
        base: base.map(Seq),
        wish: Wish::Latest,
        lineage: Lineage("l".into()),
        sink_parallelism: BTreeMap::new(),
        protocol: PROTOCOL_VERSION,
        program: None,
        retain: Some(3),
        at: Timestamp(0),
    })
}

/// A claim of a run that is to begin anew.
pub(crate) fn wished(run: u64) -> Entry {
    let mut entry = claim(run, None);
    if let Entry::Claim(claim) = &mut entry {
        claim.wish = Wish::Empty { request: None };
        claim.lineage = Lineage(format!("l{run}"));
    }
    entry
}

/// A run that a wish had asked for begins.
pub(crate) fn began(run: u64) -> Entry {
    let nonce = Nonce(format!("began-{run}"));
    Entry::Began(Began { nonce, run: Run(run), at: Timestamp(0) })
}

/// A manifest without state.
pub(crate) fn manifest(run: u64, epoch: u64) -> Entry {
    manifest_of(run, epoch, Plan::default())
}

/// A manifest of this plan, without parts.
pub(crate) fn manifest_of(run: u64, epoch: u64, plan: Plan) -> Entry {
    Entry::Manifest(Manifest {
        nonce: Nonce(format!("manifest-{epoch}")),
        run: Run(run),
        epoch: Epoch(epoch),
        lineage: Lineage("l".into()),
        parent: None,
        fingerprint: plan.fingerprint(),
        plan,
        key_groups: KeyGroups::default(),
        operators: vec![],
        pending_commits: false,
        is_final: false,
        savepoint: false,
        at: Timestamp(0),
    })
}

/// A manifest that names these objects.
pub(crate) fn manifest_with(run: u64, epoch: u64, objects: &[&str]) -> Entry {
    let part = |object: &&str| PartRef {
        object: (*object).to_owned(),
        offset: 0,
        length: 1,
        crc32c: 0,
        epoch: Epoch(epoch),
        task: TaskIndex(0),
        groups: None,
    };
    let mut entry = manifest(run, epoch);
    if let Entry::Manifest(manifest) = &mut entry {
        manifest.operators.push(OperatorState {
            id: "op".into(),
            parallelism: 1,
            parts: objects.iter().map(part).collect(),
            tasks: vec![],
            pending_commits: None,
        });
    }
    entry
}

/// What is left of a manifest.
pub(crate) fn tombstone(run: u64, epoch: u64) -> Entry {
    let (run, epoch) = (Run(run), Epoch(epoch));
    Entry::Tombstone(Tombstone { run, epoch, at: Timestamp(0) })
}

/// A plan of operators with one state each: id, kind, schema.
pub(crate) fn plan_of(operators: &[(&str, &str, &str)]) -> Plan {
    let operator = |(id, kind, schema): &(&str, &str, &str)| PlanOperator {
        id: (*id).into(),
        method: "process".into(),
        role: Role::Operator,
        parallelism: 1,
        keyed: false,
        states: vec![StateSchema {
            name: "state".into(),
            kind: (*kind).into(),
            schema: (*schema).into(),
        }],
        migrations: vec![],
    };
    Plan { operators: operators.iter().map(operator).collect(), edges: vec![] }
}

/// What a model worker says of the model's program.
pub(crate) fn facts(generation: u64, workers: u32) -> Facts {
    let mut plan: Plan =
        plan_of(&[(SOURCE, "positions", "u64"), (KEYED, "value", "u64"), (SINK, "pending", "b")]);
    for operator in &mut plan.operators {
        operator.parallelism = workers;
    }
    plan.operators[0].role = Role::Source;
    plan.operators[1].keyed = true;
    plan.operators[2].role = Role::Sink(Guarantee::ExactlyOnce);
    Facts {
        protocol: PROTOCOL_VERSION,
        generation,
        executable: "same".into(),
        fingerprint: plan.fingerprint(),
        plan,
        threads: 1,
        address: None,
        going: None,
    }
}
