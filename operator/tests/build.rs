//! From a job's text to the objects of its workers, compared with what was reviewed.
//!
//! A case is a folder below `golden/`: `job.yaml` is what a user wrote, `objects.yaml` what is made
//! of it. `MILLSTREAM_BLESS=1 cargo test -p millstream-operator --test build` writes the objects
//! anew: look at the diff.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

mod support;

use std::env;
use std::fs;

use millstream_operator::crd::StreamJob;
use millstream_operator::reconcile::accepted::{Accepted, Previous, Refused};
use millstream_operator::reconcile::build::{Resources, Wanted, build};
use millstream_operator::reconcile::operator::Operator;
use millstream_operator::reconcile::validate::validate;
use millstream_protocol::error_kind::ErrorKind;
use millstream_protocol::time::Timestamp;
use serde_json::{Value, json};

fn operator() -> Operator {
    Operator {
        namespace: "millstream-system".into(),
        pod_labels: [("app.kubernetes.io/name".into(), "millstream-operator".into())].into(),
        worker_image: Some("registry.example/millstream/worker:1".into()),
        fs_group: Some(65_532),
    }
}

fn job(case: &str) -> StreamJob {
    let mut job = support::yaml(&support::read(&format!("golden/{case}/job.yaml")));
    job["metadata"]["uid"] = json!("6a6f6273-0000-4000-8000-000000000001");
    job["metadata"]["generation"] = json!(3);
    serde_json::from_value(job).unwrap()
}

fn objects(job: &StreamJob) -> Resources {
    let operator = operator();
    let valid = validate(job, &operator).unwrap();
    let accepted = Accepted::of(&valid);
    build(&Wanted {
        owner: &valid.owner,
        accepted: &accepted,
        refused: None,
        previous: None,
        replicas: accepted.spec.workers,
        is_finished: false,
        operator: &operator,
    })
}

fn text(resources: &Resources) -> String {
    let Resources { stateful_set, service, pod_disruption_budget, network_policy } = resources;
    let objects = [
        stateful_set.clone(),
        serde_json::to_value(service).unwrap(),
        serde_json::to_value(pod_disruption_budget).unwrap(),
        serde_json::to_value(network_policy).unwrap(),
    ];
    objects.map(|object| serde_yaml::to_string(&object).unwrap()).join("---\n")
}

fn is_as_reviewed(case: &str) {
    let made = text(&objects(&job(case)));
    let path = support::file(&format!("golden/{case}/objects.yaml"));
    if env::var_os("MILLSTREAM_BLESS").is_some() {
        fs::write(path, made).unwrap();
        return;
    }
    let reviewed = fs::read_to_string(&path).unwrap_or_default();
    assert!(made == reviewed, "{} is another: look at it\n{made}", path.display());
}

#[test]
fn a_small_job_is_as_reviewed() {
    is_as_reviewed("small");
}

#[test]
fn a_job_with_everything_is_as_reviewed() {
    is_as_reviewed("full");
}

/// A pod template over that of the small job.
fn template(users: Value) -> Value {
    let mut job = job("small");
    job.spec.job.pod_template = Some(users.into());
    objects(&job).stateful_set["spec"]["template"].clone()
}

#[test]
fn labels_image_and_arguments_are_ours_whatever_the_template_says() {
    let ours = template(json!({}));
    assert_eq!(template(json!({"spec": null, "metadata": null})), ours);
    let null = json!({"metadata": {"labels": null}, "spec": {"containers": null}});
    assert_eq!(template(null), ours);
    let with_more = template(json!({"metadata": {"labels": {"team": "plants"}}}));
    assert_eq!(with_more["metadata"]["labels"]["millstream.dev/job"], "averages");
    assert_eq!(with_more["metadata"]["labels"]["team"], "plants");
}

#[test]
fn what_is_ours_can_be_taken_away() {
    let less = template(json!({"spec": {"affinity": null, "containers": [
        {"name": "worker", "livenessProbe": null}]}}));
    assert_eq!(less["spec"].get("affinity"), None);
    assert_eq!(less["spec"]["containers"][0].get("livenessProbe"), None);
}

#[test]
fn what_is_accepted_is_read_back_from_the_object() {
    let job = job("full");
    let made = objects(&job).stateful_set;
    let annotations = serde_json::from_value(made["metadata"]["annotations"].clone()).unwrap();
    let accepted = Accepted::from_annotations(&annotations).unwrap();
    assert_eq!(accepted, Accepted::of(&validate(&job, &operator()).unwrap()));
    let error = Accepted::from_annotations(&Default::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("millstream.dev/accepted"), "{error}");
}

#[test]
fn what_was_refused_is_noted_and_pods_are_as_many_as_are_wanted_now() {
    let operator = operator();
    let valid = validate(&job("small"), &operator).unwrap();
    let accepted = Accepted::of(&valid);
    let owner = &valid.owner;
    let refused = Refused { hash: "00000000000000aa".into(), message: "why".into() };
    let previous = Previous { accepted: accepted.clone(), since: Timestamp(5) };
    let wanted = Wanted {
        owner,
        accepted: &accepted,
        refused: Some(&refused),
        previous: Some(&previous),
        replicas: 0,
        is_finished: false,
        operator: &operator,
    };
    let made = build(&wanted).stateful_set;
    let written = |name: &str| made["metadata"]["annotations"][name].as_str().unwrap();
    let read = serde_json::from_str::<Refused>(written("millstream.dev/refused"));
    assert_eq!(read.unwrap(), refused);
    let read = serde_json::from_str::<Previous>(written("millstream.dev/previous"));
    assert_eq!(read.unwrap(), previous);
    assert_eq!(made["spec"]["replicas"], 0);
}
