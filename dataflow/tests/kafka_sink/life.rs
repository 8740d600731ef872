//! A run of a job on the engine, with the test in the coordinator's place.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millstream_dataflow::clock::{Clock as _, ManualClock};
use millstream_dataflow::connector::generator::Generator;
use millstream_dataflow::connector::kafka::{KafkaSink, Serializer};
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::sink::{History, Runs};
use millstream_dataflow::snapshot::{Restore, RestoredPart, Share};
use millstream_dataflow::{Barrier, Error, Job, Kind, Result, Timestamp};
use millstream_protocol::id::{Epoch, OperatorId, Run, WorkerIndex};
use millstream_protocol::log::Lineage;
use millstream_protocol::plan::Plan;
use tokio::sync::mpsc::Receiver;

use crate::topic::Topic;

/// How often it is looked whether something happens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many looks that may take: a minute. It takes a second; a busy machine is given time.
const LOOKS: u32 = 3000;

/// The newest run that the log knows.
#[derive(Clone, Default)]
pub(crate) struct Newest(Arc<AtomicU64>);

impl Newest {
    pub(crate) fn set(&self, run: u64) {
        self.0.store(run, Ordering::SeqCst);
    }
}

#[async_trait]
impl Runs for Newest {
    async fn highest(&self) -> Result<Run> {
        Ok(Run(self.0.load(Ordering::SeqCst)))
    }
}

/// What a start goes on from.
#[derive(Clone, Default)]
pub(crate) struct Base {
    pub(crate) epoch: u64,
    pub(crate) shares: Vec<Share>,
    pub(crate) committed: bool,
}

/// How a run is started.
pub(crate) struct Start {
    /// The job's name: what the sink has in the cluster is known by it.
    pub(crate) job: String,
    pub(crate) run: u64,
    pub(crate) threads: u32,
    /// The most tasks that any run had.
    pub(crate) ever: u32,
    pub(crate) base: Base,
    pub(crate) newest: Newest,
}

impl Start {
    /// The job is called as its topic is.
    pub(crate) fn new(topic: &Topic, run: u64, threads: u32, base: &Base) -> Self {
        let (job, newest) = (topic.name.clone(), Newest::default());
        Self { job, run, threads, ever: 4, base: base.clone(), newest }
    }
}

/// A run under way.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    events: Receiver<Event>,
    clock: Arc<ManualClock>,
    hurries: bool,
    /// A snapshot was asked for; whoever takes it takes this back.
    pub(crate) wanted: bool,
    pub(crate) ended: bool,
}

/// Numbers from 0 on, at one per millisecond of the clock, so many.
pub(crate) fn numbers<S: Serializer<Record = u64>>(records: u64, sink: KafkaSink<S>) -> Job {
    let job = Job::new(Default::default());
    let source = Generator::new(|i| i).records(records).splits(8).records_per_second(1000.0);
    job.source("in", source).rebalance().sink("out", sink);
    job
}

impl Life {
    pub(crate) async fn start(job: &Job, start: Start) -> Result<Self> {
        let clock = Arc::new(ManualClock::default());
        let Base { epoch, shares, committed } = start.base;
        let mut restore = Restore::new(Epoch(epoch), Plan::default());
        restore.committed = committed;
        for share in shares {
            let groups = share.index.groups;
            restore.add(RestoredPart::new(share.body.clone(), groups)?);
        }
        let deployment = Deployment {
            run: Run(start.run),
            job: format!("test/{}", start.job).into(),
            threads: vec![start.threads],
            worker: WorkerIndex(0),
            restore,
            history: History {
                lineage: Lineage("history".into()),
                sinks_ever: [(OperatorId::from("out"), start.ever)].into(),
                runs: Arc::new(start.newest),
            },
            clock: clock.clone(),
        };
        let (engine, events) = Engine::deploy(job, deployment)?;
        let mut life = Self { engine, events, clock, hurries: false, wanted: false, ended: false };
        assert!(matches!(life.next().await?, Event::Restored));
        life.engine.recover().await?;
        life.engine.start();
        Ok(life)
    }

    /// What happens next. Where time is to pass, it does until then.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        for _ in 0..LOOKS {
            let event = tokio::time::timeout(LOOK_EVERY, self.events.recv()).await;
            match event {
                Ok(Some(Event::Failed(error))) => return Err(error),
                Ok(Some(event)) => {
                    self.wanted |= matches!(event, Event::SnapshotWanted);
                    self.ended |= matches!(event, Event::Ended);
                    return Ok(event);
                }
                Ok(None) => return Err(Error::bug("the engine is gone")),
                Err(_) if self.hurries => self.pass(1_000_000),
                Err(_) => {}
            }
        }
        Err(Error::new(Kind::Bug, "nothing happens"))
    }

    /// Lets time pass from here on.
    pub(crate) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// Cuts a snapshot; the base that it makes.
    pub(crate) async fn snapshot(&mut self, epoch: u64) -> Result<Base> {
        self.engine.barrier(Barrier { epoch: Epoch(epoch), stopping: false });
        let mut shares = Vec::new();
        while shares.len() < self.engine.shares() {
            if let Event::Share(at, share) = self.next().await? {
                assert_eq!(at, Epoch(epoch));
                shares.push(share?);
            }
        }
        Ok(Base { epoch, shares, committed: false })
    }

    pub(crate) async fn commit(&self, epoch: u64) -> Result<()> {
        self.engine.published(Epoch(epoch));
        self.engine.committer().commit(Epoch(epoch)).await
    }

    pub(crate) fn taken(&self) -> u64 {
        let sinks = self.engine.tasks().iter().filter(|info| &*info.operator == "out");
        sinks.map(|info| info.counters.records_in.load(Ordering::Relaxed)).sum()
    }

    /// Lets time pass until the sink has taken in so many records in this run.
    pub(crate) fn take(&self, records: u64) {
        for _ in 0..30_000 {
            if self.taken() >= records {
                return;
            }
            self.pass(2);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("{} of {records} records were taken", self.taken());
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn pass(&self, ms: i64) {
        self.clock.set(Timestamp(self.clock.now().0 + ms));
    }

    /// Lets so many hours pass.
    pub(crate) fn later(&self, hours: i64) {
        self.pass(hours * 3_600_000);
    }

    /// Lets it run to its end.
    pub(crate) async fn end(&mut self) -> Result<()> {
        self.hurry();
        while !self.ended {
            self.next().await?;
        }
        self.hurries = false;
        Ok(())
    }

    /// Lets it run to its end, with a last snapshot.
    pub(crate) async fn finish(mut self, epoch: u64) -> Result<()> {
        self.end().await?;
        self.snapshot(epoch).await?;
        self.commit(epoch).await
    }
}
