//! What runs in the cluster's sandbox: the workers of all jobs, and the kubelet that they lack.
//!
//! Received from: the API server, each pod of a worker. Handed to: the API server, its status, by
//! which it runs and is Ready at an address of its own; and to the operator, which calls that
//! address, a worker of the product ([`millstream_worker::embed::Beside`]) with its session,
//! engine and store. Invariant: a pod has one worker, which ends with this process; pods are not
//! given up here.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use millstream_e2e::cluster::run as run_command;
use millstream_operator::names::{ROLE, SESSION_PORT, WORKER};
use millstream_worker::Programs;
use millstream_worker::embed::{Beside, serve_beside};
use millstream_worker::stock::PROGRAMS;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::jobs::NAMESPACE;

/// The first argument of the program that is started in the sandbox.
pub(crate) const COMMAND: &str = "fleet";
/// The line that says that it waits for pods.
pub(crate) const READY: &str = "READY";
/// The addresses of the pods: all of them are here.
const NETWORK: [u8; 2] = [10, 99];

/// Serves until its standard input is closed.
pub(crate) fn run() -> Result<()> {
    let [a, b] = NETWORK;
    let network = format!("{a}.{b}.0.0/16");
    run_command(Command::new("ip").args(["route", "add", "local", &network, "dev", "lo"]))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = serve() => ended,
            ended = closed() => ended,
        }
    });
    // What the workers have begun ends with the process.
    runtime.shutdown_background();
    ended
}

async fn closed() -> Result<()> {
    let closed = || io::copy(&mut io::stdin(), &mut io::sink());
    tokio::task::spawn_blocking(closed).await??;
    Ok(())
}

async fn serve() -> Result<()> {
    let client = Client::try_default().await.context("no API server is known")?;
    let pods: Api<Pod> = Api::namespaced(client, NAMESPACE);
    let config = watcher::Config::default().labels(&format!("{ROLE}={WORKER}"));
    let mut seen = pin!(watcher(pods.clone(), config).default_backoff().applied_objects());
    let mut seats = Seats { pods, taken: BTreeSet::new(), work: JoinSet::new() };
    println!("{READY}");
    loop {
        tokio::select! {
            Some(pod) = seen.next() => match pod {
                Ok(pod) => seats.take(&pod).await?,
                Err(error) => eprintln!("the fleet's watch of pods: {error}"),
            },
            Some(ended) = seats.work.join_next() => ended??,
        }
    }
}

struct Seats {
    pods: Api<Pod>,
    /// The UIDs of the pods whose workers are here.
    taken: BTreeSet<String>,
    work: JoinSet<Result<()>>,
}

impl Seats {
    /// Begins to serve as the worker in a pod, and says so.
    async fn take(&mut self, pod: &Pod) -> Result<()> {
        let uid = pod.uid().context("a pod without UID")?;
        if pod.metadata.deletion_timestamp.is_some() || !self.taken.insert(uid.clone()) {
            return Ok(());
        }
        let ip = address(self.taken.len());
        let at = (ip, SESSION_PORT.1);
        let listener = TcpListener::bind(at).await.with_context(|| format!("{ip}"))?;
        let programs = Programs::new(PROGRAMS);
        let beside = Beside { programs, listener, pod: uid, executable: "fleet".to_owned() };
        self.work.spawn(async {
            let served = serve_beside(beside).await;
            served.map_err(|error| anyhow!("a worker has ended: {error}"))
        });
        let (pods, name, status) = (self.pods.clone(), pod.name_any(), status(pod, ip));
        self.work.spawn(async move {
            let (params, patch) = (PatchParams::default(), Patch::Merge(status));
            let said = pods.patch_status(&name, &params, &patch).await;
            said.with_context(|| format!("cannot say that {name} runs"))?;
            Ok(())
        });
        Ok(())
    }
}

/// That of the n-th pod.
fn address(n: usize) -> Ipv4Addr {
    let [a, b] = NETWORK;
    Ipv4Addr::new(a, b, (n / 250) as u8, (n % 250) as u8 + 1)
}

/// What a kubelet would say of a pod whose worker runs.
fn status(pod: &Pod, ip: Ipv4Addr) -> Value {
    let since = &pod.metadata.creation_timestamp;
    let image = pod.spec.iter().flat_map(|it| &it.containers).find(|it| it.name == WORKER);
    let image = image.and_then(|it| it.image.as_deref()).unwrap_or_default();
    let holds = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
        .map(|it| json!({"type": it, "status": "True", "lastTransitionTime": since}));
    json!({"status": {
        "phase": "Running",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": since,
        "conditions": holds,
        "containerStatuses": [{
            "name": WORKER, "image": image, "imageID": image, "restartCount": 0,
            "ready": true, "started": true, "state": {"running": {"startedAt": since}},
        }],
    }})
}
