//! The process: a client of the API server, and a controller for each set of namespaces, while this
//! process has the lease.

use std::collections::HashSet;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, StreamExt, TryStreamExt};
use hyper::Request;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::client::{Body, ClientBuilder};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use millstream_coordinator::driver::{Clock as _, WallClock};
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tower::util::MapRequestLayer;
use uuid::Uuid;

use crate::coordinators::{coordinators, reference};
use crate::crd::{StreamJob, StreamSnapshot};
use crate::files;
use crate::health;
use crate::lease::Candidate;
use crate::memory::{self, GIVE_BACK_EVERY};
use crate::metrics::Metrics;
use crate::names::{JOB, ROLE, WORKER};
use crate::options::Options;
use crate::reconcile::step::{Context, on_error, reconcile};
use crate::reconcile::still::Still;
use crate::reconcile::validate::Owner;
use crate::reconcile::written::Written;
use crate::savepoints;
use crate::teller::Teller;
use crate::templates::Templates;

/// How long the API server may take to take a call.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing comes for so long is dead; a watch is ended by the API server
/// before that,
const READ_TIMEOUT: Duration = Duration::from_secs(45);
/// after so many seconds.
const WATCH_SECS: u32 = 30;
/// How often it is looked for coordinators whose job is gone.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Jobs that are looked at at the same time: each look is a handful of calls.
const LOOKS_MAX: u16 = 16;

/// So many objects are listed at a time, when a watch begins: what they take meanwhile is a good
/// deal more than what is kept of them.
const PAGE: u32 = 50;
/// The annotation in which `kubectl apply` notes the whole object.
const NOTED_BY_KUBECTL: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A job as it is watched: one that cannot be read does not stop the watch.
type Watched = DeserializeGuard<StreamJob>;

/// Looks after jobs until it is told to end.
///
/// # Errors
/// Where the address for probes cannot be used, or no API server is known.
pub fn serve(options: Options) -> anyhow::Result<()> {
    if let Err(error) = files::take_all() {
        tracing::warn!("cannot have more files open than it began with: {error}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let served = runtime.block_on(run(options));
    // What does not end by itself ends with the process.
    runtime.shutdown_background();
    served
}

async fn run(options: Options) -> anyhow::Result<()> {
    let listener = listen(options.health).await?;
    let metrics = Arc::new(Metrics::default());
    let client = client(metrics.clone()).await?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut probes = JoinSet::new();
    probes.spawn(health::serve(listener, metrics.clone()));
    let end = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    if let Some(lease) = &options.lease {
        let work = || work(&client, &options, &metrics);
        let (namespace, identity) = (&options.namespace, identity(&options));
        let (client, metrics) = (client.clone(), metrics.clone());
        Candidate::new(client, namespace, lease, identity, metrics).run(work, end).await?;
    } else {
        let mut tasks = work(&client, &options, &metrics);
        metrics.set_leads(true);
        tokio::select! {
            () = end => {}
            _ = tasks.join_next() => anyhow::bail!("a part of the operator has ended"),
        }
    }
    tracing::info!("ends; jobs run on");
    Ok(())
}

/// Who this process is, to others that want the lease: the pod's next process is another one.
fn identity(options: &Options) -> String {
    let pod = options.pod_name.as_deref().unwrap_or("operator");
    format!("{pod}_{}", Uuid::new_v4())
}

/// All that looks after jobs. It ends when it is dropped.
fn work(client: &Client, options: &Options, metrics: &Arc<Metrics>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let namespaces: Vec<Option<String>> = match options.watch_namespaces.as_slice() {
        [] => vec![None],
        listed => listed.iter().cloned().map(Some).collect(),
    };
    tasks.spawn(async {
        let mut soon = tokio::time::interval(GIVE_BACK_EVERY);
        loop {
            soon.tick().await;
            memory::give_back();
        }
    });
    for namespace in namespaces {
        tasks.spawn(control(client.clone(), options.clone(), namespace, metrics.clone()));
    }
    tasks
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("--health: cannot use {address}"))
}

/// A client all of whose requests are counted.
async fn client(metrics: Arc<Metrics>) -> anyhow::Result<Client> {
    let mut config = kube::Config::infer().await.context("no API server is known")?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(READ_TIMEOUT);
    let builder = ClientBuilder::try_from(config);
    let builder = builder.context("cannot make a client of the API server")?;
    let count = MapRequestLayer::new(move |request: Request<Body>| {
        metrics.requested(request.method().as_str());
        request
    });
    Ok(builder.with_layer(&count).build())
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Looks after the jobs of a namespace, or of all.
async fn control(
    client: Client,
    options: Options,
    namespace: Option<String>,
    metrics: Arc<Metrics>,
) {
    let namespace = namespace.as_deref();
    let (coordinators, changes) = coordinators(metrics.clone());
    let context = Arc::new(Context {
        client: client.clone(),
        operator: options.operator(),
        coordinators,
        clock: WallClock::new(),
        metrics,
        teller: Teller::new(client.clone(), options.pod_name.clone()),
        written: Written::default(),
        still: Still::default(),
        templates: Arc::default(),
    });
    let watch = watcher::Config::default().timeout(WATCH_SECS).page_size(PAGE);
    let workers = watch.clone().labels(&format!("{JOB},{ROLE}={WORKER}"));
    let (jobs, writer) = reflector::store();
    let seen = watcher(api::<Watched>(&client, namespace), watch.clone())
        .modify(trim(context.templates.clone()));
    let sets = changes_of::<StatefulSet>(api(&client, namespace), workers.clone(), &context);
    let pods = changes_of::<Pod>(api(&client, namespace), workers, &context);
    let controller = Controller::for_stream(seen.reflect(writer).applied_objects(), jobs.clone())
        .with_config(controller::Config::default().concurrency(LOOKS_MAX))
        .watches_stream(sets, |set| job_of(&set))
        .watches_stream(pods, |pod| job_of(&pod))
        .reconcile_on(references(changes));
    let sweeping = async {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let _ = jobs.wait_until_ready().await;
        loop {
            sweep.tick().await;
            context.coordinators.sweep(|job| {
                let job = ObjectRef::new(&job.name).within(job.namespace.as_deref()?);
                jobs.get(&job).and_then(|job| job.uid())
            });
            let uids: HashSet<String> = jobs.state().iter().filter_map(|job| job.uid()).collect();
            context.teller.keep(|uid| uids.contains(uid));
            context.teller.forget_old(context.clock.now());
            context.templates.sweep();
            context.written.keep(|uid| uids.contains(uid));
            context.still.retain(|uid| uids.contains(uid));
            context.metrics.keep(namespace, |namespace, name| {
                jobs.get(&ObjectRef::new(name).within(namespace)).is_some()
            });
        }
    };
    let looking = controller.run(reconcile, on_error, context.clone()).for_each(async |looked| {
        if let Err(error) = looked {
            tracing::debug!("{error}");
        }
    });
    let snapshots = api::<DeserializeGuard<StreamSnapshot>>(&client, namespace);
    let saving = savepoints::control(snapshots, watch, context.clone(), jobs.clone());
    tokio::select! {
        () = looking => {}
        () = sweeping => {}
        () = saving => {}
    }
}

/// What is kept of a job is without what nobody here reads, which is most of it: who has written
/// which field, and what `kubectl apply` has noted. Jobs that have the same template share it.
fn trim(templates: Arc<Templates>) -> impl FnMut(&mut Watched) {
    move |job| {
        let meta = job.meta_mut();
        meta.managed_fields = None;
        if let Some(annotations) = &mut meta.annotations {
            annotations.remove(NOTED_BY_KUBECTL);
        }
        if let Ok(job) = &mut job.0 {
            templates.share(&mut job.spec.job.pod_template);
        }
    }
}

/// The objects of jobs that come, change or go; what was known of their jobs is known no more.
fn changes_of<K>(
    objects: Api<PartialObjectMeta<K>>,
    which: watcher::Config,
    context: &Arc<Context>,
) -> impl Stream<Item = watcher::Result<PartialObjectMeta<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let context = context.clone();
    let seen = watcher(objects, which).inspect_ok(move |event| match event {
        watcher::Event::Apply(object)
        | watcher::Event::Delete(object)
        | watcher::Event::InitApply(object) => {
            if let Some(job) = job_of(object) {
                context.still.has_changed(job.namespace.as_deref().unwrap_or_default(), &job.name);
            }
        }
        // What is gone since the last watch is not said.
        watcher::Event::Init => context.still.may_have_changed(),
        watcher::Event::InitDone => {}
    });
    seen.touched_objects()
}

/// The job of an object, by its label.
fn job_of(object: &impl ResourceExt) -> Option<ObjectRef<Watched>> {
    let namespace = object.namespace()?;
    let name = object.labels().get(JOB)?;
    Some(ObjectRef::new(name).within(&namespace))
}

fn references(changes: mpsc::Receiver<Owner>) -> impl Stream<Item = ObjectRef<Watched>> {
    futures::stream::unfold(changes, async |mut changes| {
        let owner = changes.recv().await?;
        Some((reference(&owner), changes))
    })
}
