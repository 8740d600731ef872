//! An errand: what a batch `Job` does in the store while no worker of a job can, and how that ends.
//!
//! Received from: [`super::deletion`] and [`crate::savepoints`], as the object that
//! [`build::errand`](super::build::errand) makes. Handed back: how far it is. How it ended is in
//! the state of its pod's container `worker`, whatever other containers the user's template has.
//! Invariant: an errand is made once; whoever wants it again removes the one that failed.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams, Preconditions,
};
use kube::{Client, Resource, ResourceExt};
use millstream_protocol::time::Timestamp;
use serde_json::Value;

use super::admission;
use super::pods;
use super::removal::Step;
use crate::crd::snapshot::StoreCopy;
use crate::names::{CHECKS, OPERATOR, WORKER};

/// The label of a pod with the name of its batch `Job`.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Why the API server refuses what is new in a namespace that goes.
const NAMESPACE_ENDS: &str = "NamespaceTerminating";

/// How far an errand is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// There is none.
    None,
    /// It runs, or what keeps it from that.
    Runs(Option<String>),
    /// It has failed.
    Failed {
        /// When.
        at: Timestamp,
        /// With which exit code, where its pod says so.
        code: Option<i32>,
        /// What it said last.
        message: String,
    },
    /// It has done what it was for.
    Done,
}

/// An errand as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How far it is.
    pub(crate) errand: Errand,
    /// Which object it is.
    pub(crate) uid: Option<String>,
    /// Since when it is there.
    pub(crate) since: Timestamp,
    /// The hash of the spec that it is about, where it is about one.
    pub(crate) checks: Option<String>,
}

impl Seen {
    /// One that is not there, or is somebody else's.
    fn none(errand: Errand) -> Self {
        Self { errand, uid: None, since: Timestamp(0), checks: None }
    }
}

/// What became of the wish to begin one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is there.
    Yes,
    /// The API server does not take it.
    No(String),
    /// Nothing can begin in a namespace that goes.
    NamespaceEnds,
}

/// What came of a step towards the end of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It waits for this.
    Waits(String),
    /// An errand has failed, and is sent again.
    Failed(String),
    /// What lies in the store is gone.
    Over,
    /// It stays, for this reason.
    LeftBehind(String),
}

/// Who has an errand made: it goes with that object, which does not wait for it.
pub(crate) fn owner<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The command that removes what lies at an address, with these options.
pub(crate) fn delete(address: &str, options: &[&str], store: &StoreCopy) -> Vec<String> {
    let StoreCopy { store: _, endpoint, region, path_style } = store;
    let mut args: Vec<String> = ["snapshots", "delete", address, "--yes"].map(Into::into).into();
    args.extend(options.iter().map(|&it| it.to_owned()));
    args.extend(endpoint.iter().map(|it| format!("--endpoint={it}")));
    args.extend(region.iter().map(|it| format!("--region={it}")));
    args.extend(path_style.iter().map(|it| format!("--path-style={it}")));
    args
}

/// How far the errand of this name is.
pub(crate) async fn see(
    client: &Client,
    namespace: &str,
    name: &str,
    owner: &str,
) -> Result<Seen, kube::Error> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let Some(job) = jobs.get_opt(name).await? else {
        return Ok(Seen::none(Errand::None));
    };
    if !job.owner_references().iter().any(|it| it.uid == owner) {
        let said = format!("there is a Job {name} of somebody else: delete it");
        return Ok(Seen::none(Errand::Runs(Some(said))));
    }
    let uid = job.uid();
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&ListParams::default().labels(&format!("{JOB_NAME}={name}"))).await?;
    let is_own = |pod: &Pod| pod.owner_references().iter().any(|it| Some(&it.uid) == uid.as_ref());
    let pods: Vec<Pod> = pods.items.into_iter().filter(is_own).collect();
    let mut errand = state(&job, &pods);
    if let (Errand::Runs(None), true, Some(uid)) = (&errand, pods.is_empty(), &uid) {
        let refusal = admission::refusal(client, namespace, ("Job", uid.as_str())).await?;
        errand = Errand::Runs(refusal.map(|it| it.message));
    }
    let since = time(job.metadata.creation_timestamp.as_ref());
    Ok(Seen { errand, uid, since, checks: job.annotations().get(CHECKS).cloned() })
}

fn state(job: &Job, pods: &[Pod]) -> Errand {
    if let Some(ended) = pods.iter().find_map(ended) {
        return ended;
    }
    let mut all = job.status.iter().flat_map(|it| it.conditions.iter().flatten());
    let over = all.find(|it| it.status == "True" && matches!(&*it.type_, "Complete" | "Failed"));
    match over {
        Some(over) if over.type_ == "Complete" => Errand::Done,
        Some(over) => Errand::Failed {
            at: time(over.last_transition_time.as_ref()),
            code: None,
            message: over.message.clone().unwrap_or_default(),
        },
        None => {
            let trouble = pods.iter().find_map(|pod| pods::trouble(&pod.name_any(), pod));
            Errand::Runs(trouble.map(|it| it.message))
        }
    }
}

/// How the container that does it has ended.
fn ended(pod: &Pod) -> Option<Errand> {
    let mut containers = pod.status.iter().flat_map(|it| it.container_statuses.iter().flatten());
    let worker = containers.find(|it| it.name == WORKER)?;
    let end = worker.state.as_ref()?.terminated.as_ref()?;
    if end.exit_code == 0 {
        return Some(Errand::Done);
    }
    let said = end.message.as_deref().unwrap_or_default().lines().rev();
    let last = said.map(str::trim).find(|line| !line.is_empty());
    let message = match last {
        Some(last) => last.strip_prefix("error: ").unwrap_or(last).to_owned(),
        None => format!("it ended with code {} and without a word", end.exit_code),
    };
    let (at, code) = (time(end.finished_at.as_ref()), Some(end.exit_code));
    Some(Errand::Failed { at, code, message })
}

fn time(at: Option<&Time>) -> Timestamp {
    Timestamp(at.map_or(0, |at| at.0.as_millisecond()))
}

/// Takes a step towards the end of an object, whose errand is made and was seen like that.
pub(crate) async fn follow(
    client: &Client,
    made: &Value,
    seen: &Seen,
    step: Step,
) -> Result<Came, kube::Error> {
    let part = |name: &str| made["metadata"][name].as_str().unwrap_or_default();
    let removed = async || match seen.uid.clone() {
        Some(uid) => remove(client, part("namespace"), part("name"), uid).await,
        None => Ok(()),
    };
    Ok(match step {
        Step::Wait(message) => Came::Waits(match &seen.errand {
            Errand::Failed { .. } => again(&message),
            _ if message.is_empty() => "what lies in the store is being deleted".to_owned(),
            _ => message,
        }),
        Step::Begin => match begin(client, made).await? {
            Begun::Yes => Came::Waits("what lies in the store is being deleted".to_owned()),
            Begun::No(why) => Came::Waits(why),
            Begun::NamespaceEnds => Came::LeftBehind("the namespace is being deleted".to_owned()),
        },
        Step::Again(message) => {
            removed().await?;
            Came::Failed(again(&message))
        }
        Step::Over => Came::Over,
        Step::GiveUp(why) => {
            removed().await?;
            Came::LeftBehind(why)
        }
    })
}

fn again(message: &str) -> String {
    format!("what lies in the store could not be deleted: {message}; it is tried again")
}

/// Begins an errand.
pub(crate) async fn begin(client: &Client, errand: &Value) -> Result<Begun, kube::Error> {
    create(client, errand, PostParams::default()).await
}

/// Whether an errand could begin; none does.
pub(crate) async fn can_begin(client: &Client, errand: &Value) -> Result<Begun, kube::Error> {
    create(client, errand, PostParams { dry_run: true, ..PostParams::default() }).await
}

async fn create(client: &Client, errand: &Value, params: PostParams) -> Result<Begun, kube::Error> {
    let namespace = errand["metadata"]["namespace"].as_str().unwrap_or_default();
    let kind = ApiResource::erase::<Job>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    let object = serde_json::from_value(errand.clone()).map_err(kube::Error::SerdeError)?;
    let params = PostParams { field_manager: Some(OPERATOR.to_owned()), ..params };
    match api.create(&params, &object).await {
        Ok(_) => Ok(Begun::Yes),
        Err(kube::Error::Api(answer)) => match refused(&answer) {
            Some(begun) => Ok(begun),
            None => Err(kube::Error::Api(answer)),
        },
        Err(error) => Err(error),
    }
}

/// What an answer means, where asking again at once would not help.
fn refused(answer: &kube::core::Status) -> Option<Begun> {
    let mut causes = answer.details.iter().flat_map(|it| &it.causes);
    match answer.code {
        409 => Some(Begun::Yes),
        403 if causes.any(|it| it.reason == NAMESPACE_ENDS) => Some(Begun::NamespaceEnds),
        400..=499 => Some(Begun::No(answer.message.clone())),
        _ => None,
    }
}

/// Removes an errand, and its pods with it.
pub(crate) async fn remove(
    client: &Client,
    namespace: &str,
    name: &str,
    uid: String,
) -> Result<(), kube::Error> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let preconditions = Some(Preconditions { uid: Some(uid), resource_version: None });
    let params = DeleteParams { preconditions, ..DeleteParams::background() };
    match jobs.delete(name, &params).await {
        // It is gone, or another one is there.
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        deleted => deleted.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::yaml;

    const RUNS: &str = "{metadata: {name: averages-delete}}";

    fn pod(state: &str) -> Pod {
        yaml(&format!(
            "{{metadata: {{name: averages-delete-x}}, status: {{containerStatuses: [{{name: \
             beside, ready: true, restartCount: 0, image: i, imageID: i, state: {{running: \
             {{}}}}}}, {{name: worker, ready: false, restartCount: 0, image: i, imageID: i, state: \
             {state}}}]}}}}"
        ))
    }

    #[test]
    fn how_it_ended_is_what_its_container_says() {
        let job: Job = yaml(RUNS);
        assert_eq!(state(&job, &[]), Errand::Runs(None));
        assert_eq!(state(&job, &[pod("{running: {}}")]), Errand::Runs(None));
        let done = pod("{terminated: {exitCode: 0}}");
        assert_eq!(state(&job, &[done]), Errand::Done, "whatever runs beside it");
        let failed =
            pod("{terminated: {exitCode: 1, finishedAt: '1970-01-01T00:00:07Z', message: \
                          \"a line\\nerror: the key is wrong\\n\"}}");
        let message = "the key is wrong".to_owned();
        let (at, code) = (Timestamp(7000), Some(1));
        assert_eq!(state(&job, &[failed]), Errand::Failed { at, code, message });
        let Errand::Failed { message, .. } = state(&job, &[pod("{terminated: {exitCode: 137}}")])
        else {
            panic!("it has failed")
        };
        assert_eq!(message, "it ended with code 137 and without a word");
        let pull = pod("{waiting: {reason: ImagePullBackOff, message: no such image}}");
        let Errand::Runs(Some(trouble)) = state(&job, &[pull]) else { panic!("it waits") };
        assert!(trouble.starts_with("averages-delete-x: no such image; "), "{trouble}");
    }

    #[test]
    fn one_whose_pods_are_gone_has_ended_as_its_conditions_say() {
        let of = |condition: &str| {
            let job: Job =
                yaml(&format!("{{metadata: {{name: a}}, status: {{conditions: [{condition}]}}}}"));
            state(&job, &[])
        };
        assert_eq!(of("{type: Complete, status: 'True'}"), Errand::Done);
        assert_eq!(of("{type: Suspended, status: 'True'}"), Errand::Runs(None));
        let late = "{type: Failed, status: 'True', message: was active longer than specified, \
                    lastTransitionTime: '1970-01-01T00:00:09Z'}";
        let message = "was active longer than specified".to_owned();
        assert_eq!(of(late), Errand::Failed { at: Timestamp(9000), code: None, message });
    }

    #[test]
    fn a_namespace_that_goes_is_told_from_other_refusals() {
        let answer = |code: u16, causes: &str| -> kube::core::Status {
            yaml(&format!("{{code: {code}, message: no, details: {{causes: [{causes}]}}}}"))
        };
        let ends = answer(403, "{reason: NamespaceTerminating}");
        assert_eq!(refused(&ends), Some(Begun::NamespaceEnds));
        let no = Some(Begun::No("no".to_owned()));
        assert_eq!(refused(&answer(403, "")), no);
        assert_eq!(refused(&answer(422, "")), no);
        assert_eq!(refused(&answer(409, "")), Some(Begun::Yes));
        assert_eq!(refused(&answer(503, "")), None);
    }

    #[test]
    fn the_command_reaches_the_store_as_the_job_does() {
        let store = StoreCopy {
            store: "s3://b/p".to_owned(),
            endpoint: Some("http://s3:9000".to_owned()),
            region: None,
            path_style: Some(true),
        };
        let args = delete("s3://b/p/plants/averages/", &["--if-there"], &store);
        let wanted = [
            "snapshots",
            "delete",
            "s3://b/p/plants/averages/",
            "--yes",
            "--if-there",
            "--endpoint=http://s3:9000",
            "--path-style=true",
        ];
        assert_eq!(args, wanted);
    }
}
