//! What the next coordinator hears of tasks that went on alone: that they are of no use any more,
//! and what they wait for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millstream_coordinator::channel::Link;
use millstream_dataflow::connector::generator::Generator;
use millstream_dataflow::sink::{Committer, Prepared, Recovery, Sink, SinkContext, Writer};
use millstream_dataflow::{Batch, Error, Job, Result};
use millstream_protocol::id::{Epoch, Run, Term, WorkerIndex};
use millstream_protocol::job::JobSpec;
use millstream_protocol::log::Lineage;
use millstream_protocol::path::JobPrefix;
use millstream_protocol::plan::Guarantee;
use millstream_protocol::session::{Command, Deploy, Hello, PROTOCOL_VERSION, Report};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::Session;
use crate::exchange::Exchange;
use crate::program::{Program, Programs};
use crate::session::{Ending, Obeyed, Worker};
use crate::store::MemoryStore;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const RUN: Run = Run(1);
const INDEX: WorkerIndex = WorkerIndex(0);

/// Wants a snapshot while this says so, and until one is taken.
#[derive(Clone)]
struct Wanting(&'static AtomicBool);

struct Nothing;

impl Sink for Wanting {
    type Item = u64;
    type Pending = ();
    type Writer = Self;
    type Committer = Nothing;

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, _: SinkContext) -> Result<(Self, Nothing)> {
        Ok((self.clone(), Nothing))
    }
}

impl Writer for Wanting {
    type Item = u64;
    type Pending = ();

    fn write(&mut self, _: Batch<u64>) -> Result<()> {
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        self.0.store(false, Ordering::Relaxed);
        Ok(Prepared::nothing())
    }

    fn wants_snapshot(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Committer for Nothing {
    type Pending = ();

    async fn commit(&self, _: Epoch, (): ()) -> Result<()> {
        Ok(())
    }

    async fn recover(&self, _: Recovery<()>) -> Result<()> {
        Ok(())
    }
}

/// Numbers without end, which fail while `fails` says so, into a sink.
fn numbers(job: &mut Job, fails: &'static AtomicBool, wants: &'static AtomicBool) {
    let numbers = job.source("numbers", Generator::new(|n| n).records_per_second(1000.0));
    let checked = numbers.try_map(move |n| {
        let fails = fails.load(Ordering::Relaxed);
        if fails { Err(Error::invalid("it was to fail")) } else { Ok(*n) }
    });
    checked.sink("out", Wanting(wants));
}

/// A session, the coordinator's end of which is held by whoever it is lent to.
struct Rig(Session);

/// The coordinator's end.
struct Ends {
    commands: mpsc::Sender<Command>,
    reports: mpsc::Receiver<Report>,
}

impl Ends {
    async fn say(&self, command: Command) {
        self.commands.send(command).await.unwrap();
    }

    /// The next report that is one of these.
    async fn hear<T>(&mut self, is: impl Fn(&Report) -> Option<T>) -> T {
        let next = async {
            loop {
                let report = self.reports.recv().await.expect("the session goes on");
                if let Some(found) = is(&report) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, next).await.expect("it is said in time")
    }

    /// Greets the worker: the run that it offers.
    async fn greet(&mut self) -> Option<Run> {
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            namespace: "default".to_owned(),
            name: "job".to_owned(),
            generation: 1,
            spec: spec(),
            worker: INDEX,
            holds: None,
        };
        self.say(Command::Hello(Box::new(hello))).await;
        let going = |report: &Report| match report {
            Report::Facts(facts) => Some(facts.going.as_ref().map(|going| going.run)),
            _ => None,
        };
        self.hear(going).await
    }

    /// Takes the tasks over: what is said up to the answer, in order.
    async fn adopt(&mut self) -> Vec<&'static str> {
        self.say(Command::Adopt { run: RUN, term: Term(2) }).await;
        let mut said = Vec::new();
        loop {
            let word = |report: &Report| match report {
                Report::SnapshotWanted { .. } => Some("wanted"),
                Report::Adopted { .. } => Some("adopted"),
                Report::TaskFailed { failure, .. } => {
                    assert_eq!(failure.message, "the tasks to be adopted are gone");
                    Some("gone")
                }
                _ => None,
            };
            said.push(self.hear(word).await);
            if said.last() != Some(&"wanted") {
                return said;
            }
        }
    }
}

fn spec() -> JobSpec {
    let mut spec = JobSpec::default();
    "file:///s".clone_into(&mut spec.snapshots.store);
    spec
}

impl Rig {
    fn of(build: fn(&mut Job) -> Result<()>) -> Self {
        let prefix = JobPrefix::new("file:///s".parse().unwrap(), "default", "job").unwrap();
        let worker = Worker {
            programs: Programs::new(&[Program { name: "numbers", build }]),
            store: Arc::new(MemoryStore::default()),
            threads: Some(1),
            executable: String::new(),
            job: "default/job".into(),
            prefix,
            local: None,
            metrics: Arc::default(),
            exchange: Exchange::default(),
            address: None,
            obeyed: Obeyed::default(),
            leaving: watch::channel(false).1,
        };
        Self(Session::new(worker, INDEX))
    }

    /// Serves a coordinator, which does this and is gone then.
    async fn serve<T>(&mut self, coordinator: impl AsyncFnOnce(&mut Ends) -> T) -> T {
        let (commands, received) = mpsc::channel(16);
        let (reports, heard) = mpsc::channel(16);
        let mut link = Link { worker: INDEX, commands: received, reports };
        let mut ends = Ends { commands, reports: heard };
        let served = self.0.serve(&mut link);
        let coordinated = async move {
            let done = coordinator(&mut ends).await;
            drop(ends);
            done
        };
        let (ending, done) = tokio::join!(served, coordinated);
        assert_eq!(ending, Ending::Left);
        done
    }

    /// Serves the first coordinator, which starts the tasks and is gone.
    async fn started(build: fn(&mut Job) -> Result<()>) -> Self {
        let mut rig = Self::of(build);
        rig.serve(async |ends| {
            assert_eq!(ends.greet().await, None);
            let deploy = Deploy {
                run: RUN,
                term: Term(1),
                lineage: Lineage("l".to_owned()),
                spec: spec(),
                threads: vec![1],
                peers: Vec::new(),
                restore: None,
                sinks_ever: BTreeMap::new(),
            };
            ends.say(Command::Deploy(Box::new(deploy))).await;
            ends.hear(|it| matches!(it, Report::Deployed { .. }).then_some(())).await;
            ends.say(Command::Start { run: RUN }).await;
            let runs = |it: &Report| matches!(it, Report::Rates(rates) if rates.records_in > 0);
            ends.hear(|it| runs(it).then_some(())).await;
        })
        .await;
        rig
    }
}

/// A switch of one test.
macro_rules! switch {
    ($name:ident) => {
        static $name: AtomicBool = AtomicBool::new(false);
    };
}

/// A session with tasks whose coordinator is gone, and the switches that they look at.
macro_rules! started {
    ($fails:ident, $wants:ident) => {
        Rig::started(|job| {
            numbers(job, &$fails, &$wants);
            Ok(())
        })
        .await
    };
}

#[tokio::test]
async fn tasks_that_go_on_are_offered_to_the_next_one_and_taken_over() {
    switch!(NEVER);
    let mut rig = started!(NEVER, NEVER);
    assert!(rig.0.has_tasks());
    let said = rig.serve(async |ends| (ends.greet().await, ends.adopt().await)).await;
    assert_eq!(said, (Some(RUN), vec!["adopted"]));
    rig.0.end().await;
}

#[tokio::test]
async fn tasks_that_failed_before_a_coordinator_left_are_not_offered_to_the_next_one() {
    switch!(FAILS);
    switch!(NEVER);
    let mut rig = started!(FAILS, NEVER);
    let failed = async |ends: &mut Ends| {
        FAILS.store(true, Ordering::Relaxed);
        ends.hear(|it| matches!(it, Report::TaskFailed { .. }).then_some(())).await;
    };
    rig.serve(failed).await;
    // Nor is there anything more to say, time and again: their threads end.
    let more = timeout(Duration::from_millis(500), rig.0.happens()).await;
    assert!(more.is_err(), "{more:?}");
    assert!(rig.0.has_tasks(), "until somebody says that they are to be dropped");
    let said = rig.serve(async |ends| (ends.greet().await, ends.adopt().await)).await;
    assert_eq!(said, (None, vec!["gone"]));
    rig.0.end().await;
}

#[tokio::test]
async fn tasks_that_are_cut_off_from_another_worker_are_not_offered_to_the_next_one() {
    switch!(NEVER);
    let mut rig = started!(NEVER, NEVER);
    let (lose, losses) = mpsc::channel(1);
    rig.0.losses = Some(losses);
    let cut = async |ends: &mut Ends| {
        lose.send((WorkerIndex(1), "cut".to_owned())).await.unwrap();
        ends.hear(|it| matches!(it, Report::PeerLost { run: RUN, .. }).then_some(())).await;
    };
    rig.serve(cut).await;
    let said = rig.serve(async |ends| (ends.greet().await, ends.adopt().await)).await;
    assert_eq!(said, (None, vec!["gone"]));
    rig.0.end().await;
}

#[tokio::test]
async fn tasks_that_fail_or_are_cut_off_while_they_are_alone_are_dropped() {
    switch!(FAILS);
    switch!(NEVER);
    let mut rig = started!(FAILS, NEVER);
    FAILS.store(true, Ordering::Relaxed);
    let dropped = async {
        while rig.0.has_tasks() {
            for report in rig.0.happens().await {
                rig.0.note_alone(report).await;
            }
        }
    };
    timeout(PATIENCE, dropped).await.expect("it fails in time");
    let mut rig = started!(NEVER, NEVER);
    for report in rig.0.lost(WorkerIndex(1), "cut".to_owned()) {
        rig.0.note_alone(report).await;
    }
    assert!(!rig.0.has_tasks());
}

/// A sink that has no room left until its output is committed would wait for ever.
#[tokio::test]
async fn a_snapshot_that_was_wanted_while_nobody_listened_is_asked_of_the_next_one() {
    switch!(NEVER);
    switch!(WANTS);
    let mut rig = started!(NEVER, WANTS);
    WANTS.store(true, Ordering::Relaxed);
    let wanted = async {
        while !rig.0.host.as_ref().is_some_and(|host| host.wanted) {
            rig.0.happens().await;
        }
    };
    timeout(PATIENCE, wanted).await.expect("it is wanted in time");
    let said = rig.serve(async |ends| {
        let said = (ends.greet().await, ends.adopt().await);
        ends.say(Command::Barrier { run: RUN, epoch: Epoch(1), stopping: false }).await;
        ends.hear(|it| matches!(it, Report::PartUploaded { .. }).then_some(())).await;
        said
    });
    assert_eq!(said.await, (Some(RUN), vec!["wanted", "adopted"]));
    // The barrier was what was asked for.
    let said = rig.serve(async |ends| (ends.greet().await, ends.adopt().await)).await;
    assert_eq!(said, (Some(RUN), vec!["adopted"]));
    rig.0.end().await;
}
