//! A job's text, and what becomes of it.

use super::*;
use crate::testing;

fn job(spec: &str) -> StreamJob {
    testing::job("averages", spec)
}

const STORE: &str = "snapshots: {store: 's3://bucket/prefix'}\n";

fn problems(spec: &str) -> Vec<String> {
    match validate(&job(spec), &testing::operator()) {
        Ok(valid) => panic!("{valid:?} has no mistake"),
        Err(Error::Invalid { problems }) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
    }
}

fn valid(spec: &str) -> JobSpec {
    validate(&job(spec), &testing::operator()).unwrap().spec
}

#[test]
fn what_is_open_is_filled_in() {
    let spec = valid(STORE);
    assert_eq!(spec.image.as_deref(), Some("registry.example/millstream/worker:1"));
    assert_eq!(spec.threads_per_worker, Some(1));
    let limited = format!(
        "{STORE}image: mine\npodTemplate: {{spec: {{containers: [{{name: worker, resources: \
         {{limits: {{cpu: 1500m}}}}}}]}}}}"
    );
    let spec = valid(&limited);
    assert_eq!((spec.image.as_deref(), spec.threads_per_worker), (Some("mine"), Some(2)));
    assert_eq!(valid(&format!("{limited}\nthreadsPerWorker: 7")).threads_per_worker, Some(7));
}

#[test]
fn the_hash_is_of_what_was_written() {
    let hashed = |spec: &str, operator: &Operator| validate(&job(spec), operator).unwrap().hash;
    let mut newer = testing::operator();
    newer.worker_image = Some("registry.example/millstream/worker:2".into());
    let old = hashed(STORE, &testing::operator());
    assert_eq!(old, hashed(STORE, &newer), "a new default is no new spec");
    assert_ne!(old, hashed(&format!("{STORE}workers: 2"), &newer));
}

#[test]
fn all_mistakes_are_shown_at_once() {
    let said = problems("workers: 0\nimage: 'a b'\nsnapshots: {store: 'gs://x'}\n");
    let fields: Vec<_> = said.iter().map(|it| it.split(':').next().unwrap()).collect();
    assert_eq!(fields, ["spec.workers", "spec.snapshots.store", "spec.image"]);
}

#[test]
fn what_only_a_cluster_knows_is_checked() {
    let mut bare = testing::operator();
    bare.worker_image = None;
    let error = validate(&job(STORE), &bare).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("spec.image: is missing"), "{error}");

    let said = problems(&format!(
        "{STORE}keyGroups: 4\nworkers: 2\npodTemplate: {{spec: {{containers: [{{name: worker, \
         resources: {{limits: {{cpu: 3}}}}}}]}}}}"
    ));
    assert!(said[0].starts_with("spec.threadsPerWorker: is 3 by the CPU limit"), "{said:?}");

    let said = problems(&format!("{STORE}restore: {{from: Snapshot, snapshotName: a/b}}"));
    assert_eq!(
        said,
        ["spec.restore.snapshotName: \"a/b\" is no object's name: write that of a StreamSnapshot"]
    );
    let said = problems(&format!("{STORE}podTemplate: {{metadata: {{name: x}}}}"));
    assert!(said[0].starts_with("spec.podTemplate.metadata.name: is not passed on"), "{said:?}");
    assert_eq!(problems(&format!("{STORE}podTemplate: [x]")).len(), 1);
}

#[test]
fn what_no_annotation_holds_is_refused() {
    let with = |bytes| format!("{STORE}program: {{args: {{table: '{}'}}}}", "x".repeat(bytes));
    assert_eq!(valid(&with(150_000)).program.args.len(), 1);
    let said = problems(&with(250_000));
    assert!(said[0].starts_with("spec: has 250"), "{said:?}");
}

#[test]
fn a_store_in_a_pod_is_refused_and_one_on_a_shared_volume_is_not() {
    let said = problems("snapshots: {store: 'file:///data/s'}");
    assert!(said[0].starts_with("spec.snapshots.store: /data/s goes with the pod"), "{said:?}");
    let spec = "snapshots: {store: 'file:///data/s'}\n\
                podTemplate: {spec: {volumes: [{name: d, nfs: {server: n, path: /e}}], \
                containers: [{name: worker, volumeMounts: [{name: d, mountPath: /data}]}]}}";
    assert_eq!(valid(spec).snapshots.store, "file:///data/s");
}

#[test]
fn what_is_not_in_an_api_server_has_no_owner() {
    let mut job = job(STORE);
    job.metadata.uid = None;
    let error = validate(&job, &testing::operator()).unwrap_err();
    assert_eq!(error, Error::NotStored { field: "uid" });
    assert_eq!(error.kind(), ErrorKind::Bug);
}
