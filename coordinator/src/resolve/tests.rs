//! The decision, case by case.

use millstream_protocol::log::{Entry, OperatorState, ProgramMark};
use millstream_protocol::plan::{EdgeKind, Guarantee, PlanEdge, StateMigration};

use super::*;
use crate::testing::entries::{claim, manifest_of, plan_of};

const PREFIX: &str = "file:///s";

struct Case {
    history: History,
    wish: Wish,
    plan: Plan,
    program: ProgramSpec,
    key_groups: KeyGroups,
    allow_dropped_state: bool,
}

impl Case {
    /// A log with one run and two committed manifests of `plan`, and the same program again.
    fn new(plan: Plan) -> Self {
        let mut history = History::default();
        history.insert(Seq(1), claim(1, None));
        history.insert(Seq(2), manifest_of(1, 1, plan.clone()));
        history.insert(Seq(3), manifest_of(1, 2, plan.clone()));
        history.commit(Seq(2));
        history.commit(Seq(3));
        let key_groups = KeyGroups::default();
        let (wish, program) = (Wish::Latest, ProgramSpec::default());
        Self { history, wish, plan, program, key_groups, allow_dropped_state: false }
    }

    fn resolve(&self) -> Decision {
        let prefix = JobPrefix::new(PREFIX.parse().unwrap(), "default", "job").unwrap();
        let facts = Facts {
            wish: self.wish,
            plan: &self.plan,
            program: &self.program,
            key_groups: self.key_groups,
            retain: 3,
            allow_dropped_state: self.allow_dropped_state,
            prefix: &prefix,
        };
        resolve(&self.history, facts)
    }

    fn refused(&self) -> String {
        match self.resolve() {
            Decision::Refuse(failure) => failure.to_string(),
            other => panic!("should be refused, is {other:?}"),
        }
    }

    fn seq(&self) -> Seq {
        match self.resolve() {
            Decision::From { seq, .. } => seq,
            other => panic!("should start from a snapshot, is {other:?}"),
        }
    }

    fn change_last(&mut self, change: impl FnOnce(&mut Manifest)) {
        let mut manifest = self.history.manifest(Seq(3)).unwrap().clone();
        change(&mut manifest);
        self.history.insert(Seq(3), Entry::Manifest(manifest));
    }
}

fn plan() -> Plan {
    plan_of(&[("in", "positions", "u64"), ("averages", "value", "f64")])
}

#[test]
fn an_empty_log_starts_fresh() {
    let case = Case { history: History::default(), ..Case::new(plan()) };
    assert_eq!(case.resolve(), Decision::Fresh { lineage: None });
}

#[test]
fn a_run_without_a_snapshot_starts_from_nothing_in_the_same_history() {
    let mut case = Case { history: History::default(), ..Case::new(plan()) };
    case.history.insert(Seq(1), claim(1, None));
    assert!(matches!(case.resolve(), Decision::Fresh { lineage: Some(_) }));
}

#[test]
fn the_newest_manifest_is_the_start() {
    let mut case = Case::new(plan());
    assert_eq!(case.seq(), Seq(3));
    case.history.insert(Seq(4), claim(2, Some(2)));
    assert_eq!(case.seq(), Seq(2), "an earlier wish holds until there is a new snapshot");
}

#[test]
fn what_is_not_committed_is_recovered() {
    let mut case = Case::new(plan());
    case.history.insert(Seq(4), manifest_of(1, 3, plan()));
    let decision = case.resolve();
    assert!(matches!(decision, Decision::From { seq: Seq(4), committed: false, .. }));
}

#[test]
fn a_final_snapshot_is_the_end_once_its_output_is_visible() {
    let mut case = Case::new(plan());
    case.change_last(|manifest| manifest.is_final = true);
    assert_eq!(case.resolve(), Decision::Finished { seq: Seq(3), differs: vec![] });
    case.wish = Wish::Empty { request: None };
    assert_eq!(case.resolve(), Decision::Fresh { lineage: None }, "a wish runs it again");
    let mut case = Case::new(plan());
    let mut manifest = case.history.manifest(Seq(3)).unwrap().clone();
    manifest.is_final = true;
    case.history.insert(Seq(4), Entry::Manifest(manifest));
    let decision = case.resolve();
    assert!(matches!(decision, Decision::From { committed: false, is_final: true, .. }));
}

#[test]
fn a_wish_names_a_committed_manifest() {
    let mut case = Case::new(plan());
    case.wish = Wish::Snapshot { seq: Seq(2), request: None };
    assert_eq!(case.seq(), Seq(2));
    case.wish = Wish::Snapshot { seq: Seq(1), request: None };
    assert!(case.refused().contains("is not a snapshot"));
    case.history.insert(Seq(4), manifest_of(1, 3, plan()));
    case.wish = Wish::Snapshot { seq: Seq(4), request: None };
    assert!(case.refused().contains("not all output"));
}

#[test]
fn a_wish_for_what_retention_may_be_deleting_is_refused() {
    let mut case = Case::new(plan());
    for (seq, epoch) in [(4, 3), (5, 4)] {
        case.history.insert(Seq(seq), manifest_of(1, epoch, plan()));
    }
    case.wish = Wish::Snapshot { seq: Seq(2), request: None };
    assert!(case.refused().contains("run 1 keeps the newest 3 snapshots"));
    case.history.insert(Seq(6), claim(2, Some(5)));
    assert!(case.refused().contains("may be deleted at any time"), "it may sleep for long");
}

#[test]
fn a_base_that_is_gone_is_corrupt() {
    let mut case = Case::new(plan());
    case.history.insert(Seq(4), claim(2, Some(1)));
    assert!(case.refused().starts_with("corrupt: "));
}

#[test]
fn key_groups_do_not_change() {
    let mut case = Case::new(plan());
    case.key_groups = KeyGroups(16.try_into().unwrap());
    let message = case.refused();
    assert!(message.contains("spec.keyGroups is 16") && message.contains("720"), "{message}");
}

#[test]
fn state_that_no_operator_claims_is_not_lost_unasked() {
    let mut case = Case::new(plan());
    case.plan = plan_of(&[("in", "positions", "u64"), ("means", "value", "f64")]);
    let message = case.refused();
    for word in ["averages", "means", "allowDroppedState"] {
        assert!(message.contains(word), "{word} in: {message}");
    }
    case.allow_dropped_state = true;
    assert_eq!(case.seq(), Seq(3));
}

#[test]
fn a_changed_schema_names_both_sides() {
    let mut case = Case::new(plan());
    case.plan = plan_of(&[("in", "positions", "u64"), ("averages", "value", "i32")]);
    let message = case.refused();
    for word in ["value of f64", "value of i32", "allowDroppedState"] {
        assert!(message.contains(word), "{word} in: {message}");
    }
    case.plan.operators[1].states.clear();
    assert!(case.refused().contains("does not declare"));
    case.plan = plan();
    case.plan.operators[1].keyed = !case.plan.operators[1].keyed;
    assert!(case.refused().contains("not keyed"));
}

#[test]
fn a_migration_from_the_old_schema_fits_and_another_is_named() {
    let migrating = |from: &[&str]| {
        let mut plan = plan_of(&[("in", "positions", "u64"), ("averages", "value", "i32")]);
        plan.operators[1].migrations = from
            .iter()
            .map(|from| StateMigration { state: "state".into(), from: (*from).into() })
            .collect();
        plan
    };
    let mut case = Case { plan: migrating(&["i16", "f64"]), ..Case::new(plan()) };
    assert_eq!(case.seq(), Seq(3));
    case.plan = migrating(&["i16", "i8"]);
    let message = case.refused();
    for word in ["value of f64", "value of i32", "a .migrate from i16 and from i8"] {
        assert!(message.contains(word), "{word} in: {message}");
    }
    case.plan = migrating(&["f64"]);
    case.plan.operators[1].migrations[0].state = "other".into();
    assert!(case.refused().contains("keep the old type"));
    case.plan = migrating(&["f64"]);
    case.plan.operators[1].states[0].kind = "list".into();
    assert!(case.refused().contains("list of i32"), "another kind is stored otherwise");
}

#[test]
fn a_new_operator_starts_empty() {
    let mut case = Case::new(plan());
    case.plan = plan_of(&[
        ("in", "positions", "u64"),
        ("averages", "value", "f64"),
        ("new", "value", "f64"),
    ]);
    assert_eq!(case.seq(), Seq(3));
}

#[test]
fn another_program_under_the_same_name_is_told_so() {
    let mut case = Case::new(plan());
    case.plan = plan_of(&[("orders", "positions", "u64")]);
    let message = case.refused();
    for word in ["in, averages", "orders", "another name", "--fresh"] {
        assert!(message.contains(word), "{word} in: {message}");
    }
}

#[test]
fn a_sink_with_pending_output_is_never_dropped() {
    let mut old = plan_of(&[("in", "positions", "u64"), ("out", "pending", "bytes")]);
    old.operators[1].role = Role::Sink(Guarantee::ExactlyOnce);
    let mut case = Case::new(old.clone());
    let mut manifest = case.history.manifest(Seq(3)).unwrap().clone();
    manifest.pending_commits = true;
    case.history.insert(Seq(4), Entry::Manifest(manifest));
    case.plan = plan_of(&[("in", "positions", "u64")]);
    case.allow_dropped_state = true;
    assert!(case.refused().contains("sink out"));
    case.plan = old.clone();
    case.plan.operators[1].states[0].schema = "text".into();
    assert!(case.refused().contains("in another form"));
    case.history.commit(Seq(4));
    assert_eq!(case.seq(), Seq(4), "once it is visible, the state may go");
}

#[test]
fn a_sink_without_pending_output_may_go() {
    let sinks = [("in", "positions", "u64"), ("screen", "pending", "()"), ("out", "pending", "b")];
    let mut old = plan_of(&sinks);
    for sink in &mut old.operators[1..] {
        sink.role = Role::Sink(Guarantee::AtLeastOnce);
    }
    let mut case = Case::new(old.clone());
    let mut manifest = case.history.manifest(Seq(3)).unwrap().clone();
    manifest.pending_commits = true;
    let state = |id: &str, pending| OperatorState {
        id: id.into(),
        parallelism: 1,
        parts: vec![],
        tasks: vec![],
        pending_commits: Some(pending),
    };
    manifest.operators = vec![state("screen", false), state("out", true)];
    case.history.insert(Seq(4), Entry::Manifest(manifest));
    case.plan = plan_of(&sinks[..1]);
    case.allow_dropped_state = true;
    let message = case.refused();
    assert!(message.contains("sink out") && !message.contains("screen"), "{message}");
    case.plan = plan_of(&[sinks[0], sinks[2]]);
    assert_eq!(case.seq(), Seq(4));
}

/// A job that has finished, with a claim that says by which program.
fn finished(program: &ProgramSpec) -> Case {
    let mut case = Case { program: program.clone(), ..Case::new(plan()) };
    let Entry::Claim(mut claim) = claim(1, None) else { unreachable!() };
    claim.program = Some(ProgramMark::of(program));
    case.history.insert(Seq(1), Entry::Claim(claim));
    case.change_last(|manifest| manifest.is_final = true);
    case
}

fn differs(case: &Case) -> Vec<String> {
    match case.resolve() {
        Decision::Finished { seq: Seq(3), differs } => differs,
        other => panic!("should be finished, is {other:?}"),
    }
}

#[test]
fn a_job_that_another_program_finished_is_not_this_one() {
    let mut case = finished(&ProgramSpec::default());
    case.plan.operators[1].migrations =
        vec![StateMigration { state: "state".into(), from: "f32".into() }];
    case.plan.operators[0].parallelism = 7;
    assert_eq!(differs(&case), [""; 0]);
    for (change, words) in [
        (plan_of(&[("orders", "positions", "u64")]), "it had in, averages, this one has orders"),
        (plan_of(&[("in", "positions", "u64")]), "it had averages, which this one has not"),
        (
            plan_of(&[("in", "positions", "u64"), ("averages", "value", "i32")]),
            "operator averages is another one",
        ),
    ] {
        case.plan = change;
        let message = case.refused();
        for word in [words, "another program", "log/00000000000000000003.json", "--fresh"] {
            assert!(message.contains(word), "{word} in: {message}");
        }
    }
    case.plan = plan();
    case.plan.edges.push(PlanEdge {
        from: "in".into(),
        to: "averages".into(),
        kind: EdgeKind::Forward,
    });
    assert!(case.refused().contains("edges"));
    case.plan = plan();
    case.key_groups = KeyGroups(16.try_into().unwrap());
    assert!(case.refused().contains("spec.keyGroups is 16"));
}

#[test]
fn a_finished_job_is_told_by_its_programs_name_too() {
    let named = |name: &str| ProgramSpec { name: Some(name.into()), ..ProgramSpec::default() };
    let mut case = finished(&named("sums"));
    assert_eq!(differs(&case), [""; 0]);
    case.program.name = None;
    assert_eq!(differs(&case), [""; 0], "a binary of one program need not name it");
    case.program = named("means");
    let message = case.refused();
    assert!(message.contains("it was sums, this one is means"), "{message}");
    case.history.insert(Seq(1), claim(1, None));
    assert_eq!(differs(&case), [""; 0], "an older log does not say");
}

#[test]
fn other_arguments_of_a_finished_job_are_named() {
    let program = |args: &[(&str, &str)]| {
        let args = args.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        ProgramSpec { name: None, args: args.collect() }
    };
    let mut case = finished(&program(&[("input", "a"), ("output", "b"), ("rate", "1")]));
    assert_eq!(differs(&case), [""; 0]);
    case.program = program(&[("input", "a"), ("output", "c"), ("limit", "1")]);
    let expected = ["argument limit is new", "argument output is another", "argument rate is gone"];
    assert_eq!(differs(&case), expected);
}
