//! Coordinators and workers that reach somebody else than they mean, as they do where an address is
//! used again.

use millstream_coordinator::driver::Session as _;
use millstream_coordinator::machine::Event;
use millstream_coordinator::remote::{Process, session};
use millstream_protocol::grpc::v1::data_client::DataClient;
use millstream_protocol::grpc::{JOB, LINEAGE, RUN, WORKER};
use millstream_protocol::id::WorkerIndex;
use millstream_testkit::free_ports;
use millstream_transport::Transport;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::support::{PATIENCE, Place, Running};
use crate::{SLOWER, output, place, wanted};

fn warnings(err: &str) -> Vec<&str> {
    err.lines().filter(|line| line.contains(" WARN ")).collect()
}

/// Workers of which each serves at an address of its own, and these.
fn serving<const N: usize>(place: &Place) -> ([Running; N], [String; N]) {
    let addresses = free_ports::<N>().map(|port| format!("127.0.0.1:{port}"));
    let serve = |it: &String| Running::start(place, &["serve", "--listen", it, "--threads", "1"]);
    (addresses.each_ref().map(serve), addresses)
}

pub(crate) fn a_worker_of_a_job_takes_no_session_of_another_one() {
    let wanted = wanted();
    let place = place();
    let ([mut worker], [at]) = serving::<1>(&place);
    let args = [&["run", "job.yaml", "--at", &at][..], &SLOWER].concat();
    let refused = "who is at 127.0.0.1";
    // It shows nothing of its own before the job's output was looked at.
    let with = |name: &str| {
        let sets = ["--set", name, "--set", "spec.snapshots.interval=1h"];
        Running::start(&place, &[&args[..], &sets].concat())
    };
    let first = Running::start(&place, &args);
    worker.wait_for("seen 5000 of");
    // One comes while the job has a coordinator,
    let mut other = with("metadata.name=other");
    other.wait_for(refused);
    first.signal("-KILL");
    worker.wait_for("seen 10000 of");
    // and one while its tasks are alone.
    let mut third = with("metadata.name=third");
    third.wait_for(refused);
    let second = Running::start(&place, &args).end();
    assert!(second.err.contains("continues from its running tasks (run 1)"), "{}", second.err);
    assert!(!second.err.contains("restarts"), "{}", second.err);
    assert_eq!(output(&place, &second), wanted);
    // The worker is free: one of those who still call has it, and then the other one.
    worker.wait_for("seen 0 of");
    let others = [other, third];
    for one in &others {
        one.interrupt();
    }
    for (one, name) in others.into_iter().zip(["other", "third"]) {
        let ended = one.end();
        let warned = warnings(&ended.err);
        let said =
            format!("is not worker 0 of default/{name}: it works for job default/spread. It");
        let of_first: Vec<_> = warned.iter().filter(|it| it.contains(&said)).collect();
        // 4: it was stopped before it had the worker.
        assert!(matches!(ended.code, Some(0 | 4)) && of_first.len() == 1, "{ended:?}");
    }
    worker.interrupt();
    let ended = worker.end();
    for name in ["other", "third"] {
        let said =
            format!("a coordinator of job default/{name}, which means another one: it works");
        let of_first = format!("{said} for job default/spread");
        let lines = warnings(&ended.err).into_iter().filter(|it| it.contains(&of_first));
        assert_eq!(lines.count(), 1, "{}", ended.err);
    }
}

pub(crate) fn a_worker_in_another_pod_is_called_until_the_right_one_is_there() {
    let place = place();
    let [port] = free_ports::<1>();
    let address = format!("127.0.0.1:{port}");
    let serve = ["serve", "--listen", &address];
    let mut worker = Running::start_with(&place, &serve, &[("MILLSTREAM_POD_UID", "uid-1")]);
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let of = |uid: &str| Some(Process { address: address.clone(), pod: Some(uid.to_owned()) });
    let (tell, found) = watch::channel(of("uid-2"));
    let (roster, mut session) = session("default/spread", Transport::default());
    roster.add(WorkerIndex(0), found, None);
    worker.wait_for(
        "refuses a coordinator of job default/spread, which means another one: pod uid-2 is \
         called, and this is pod uid-1",
    );
    let many = std::time::Duration::from_secs(1);
    let early = runtime.block_on(async { timeout(many, session.recv()).await });
    assert!(early.is_err(), "{early:?}");
    tell.send_replace(of("uid-1"));
    let attached = runtime.block_on(async { timeout(PATIENCE, session.recv()).await.unwrap() });
    assert!(matches!(attached, Some(Event::Attached(WorkerIndex(0)))), "{attached:?}");
    worker.interrupt();
    let ended = worker.end();
    assert!(ended.code == Some(0) && warnings(&ended.err).len() == 1, "{ended:?}");
}

/// Opens a stream of records to a worker; the code and the message where it is refused.
async fn open(address: &str, (job, run, lineage): (&str, u64, &str)) -> Result<(), (Code, String)> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = Transport::default().connect(&endpoint).await.unwrap();
    let mut request = Request::new(tokio_stream::pending());
    request.metadata_mut().insert(JOB, job.parse().unwrap());
    request.metadata_mut().insert(LINEAGE, lineage.parse().unwrap());
    request.metadata_mut().insert(RUN, run.into());
    request.metadata_mut().insert(WORKER, 1u64.into());
    let opened = timeout(PATIENCE, DataClient::new(channel).exchange(request)).await.unwrap();
    opened.map(drop).map_err(|status| (status.code(), status.message().to_owned()))
}

pub(crate) fn a_stream_of_records_is_of_the_same_job_run_and_history() {
    let place = place();
    let (mut workers, addresses) = serving::<2>(&place);
    let at = addresses.join(",");
    let args = [&["run", "job.yaml", "--at", &at][..], &SLOWER].concat();
    let run = Running::start(&place, &args);
    workers[0].wait_for("seen 5000 of");
    let runtime = Runtime::new().unwrap();
    let open = |whose| runtime.block_on(open(&addresses[0], whose));
    let log = place.objects("spread");
    let claim: Value = serde_json::from_slice(&log["log/00000000000000000001.json"]).unwrap();
    let own = claim.to_string();
    let own = own.split_once("\"lineage\":\"").unwrap().1.split_once('"').unwrap().0;
    for whose in [
        ("default/other", 1, own),
        ("default/spread", 2, own),
        ("default/spread", 0, own),
        ("default/spread", 1, "another"),
    ] {
        let (job, run, lineage) = whose;
        let refusal = format!(
            "no task of run {run} of {job}, history {lineage}, takes records here from worker 1"
        );
        assert_eq!(open(whose), Err((Code::FailedPrecondition, refusal)));
    }
    // The stream of the run itself goes on.
    workers[0].wait_for("seen 10000 of");
    run.interrupt();
    let ran = run.end();
    assert!(ran.code == Some(0) && !ran.err.contains("restarts"), "{ran:?}");
    for worker in workers {
        worker.interrupt();
        assert_eq!(worker.end().code, Some(0));
    }
}
