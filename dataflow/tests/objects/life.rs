//! A run of a job on the engine, with the test in the coordinator's place.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_dataflow::clock::{Clock as _, ManualClock};
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::snapshot::{Restore, RestoredPart, Share};
use millstream_dataflow::{Barrier, Error, Job, Kind, Result, Timestamp};
use millstream_protocol::id::{Epoch, Run, WorkerIndex};
use millstream_protocol::plan::Plan;
use tokio::sync::mpsc::Receiver;

/// How often it is looked whether something happens.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many looks that may take: a minute. It takes a second; a busy machine is given time.
const LOOKS: u32 = 3000;

/// What a start goes on from.
#[derive(Clone, Default)]
pub(crate) struct Base {
    pub(crate) epoch: u64,
    pub(crate) shares: Vec<Share>,
}

/// A run under way.
pub(crate) struct Life {
    pub(crate) engine: Engine,
    events: Receiver<Event>,
    clock: Arc<ManualClock>,
    hurries: bool,
    ended: bool,
}

impl Life {
    /// Starts a run of the job that is called so.
    pub(crate) async fn start(
        (name, job): (&str, &Job),
        run: u64,
        threads: u32,
        base: &Base,
    ) -> Result<Self> {
        let clock = Arc::new(ManualClock::default());
        let mut restore = Restore::new(Epoch(base.epoch), Plan::default());
        for share in &base.shares {
            let groups = share.index.groups;
            restore.add(RestoredPart::new(share.body.clone(), groups)?);
        }
        let deployment = Deployment {
            run: Run(run),
            job: format!("test/{name}").into(),
            threads: vec![threads],
            worker: WorkerIndex(0),
            restore,
            history: Default::default(),
            clock: clock.clone(),
        };
        let (engine, events) = Engine::deploy(job, deployment)?;
        let mut life = Self { engine, events, clock, hurries: false, ended: false };
        assert!(matches!(life.next().await?, Event::Restored));
        life.engine.recover().await?;
        life.engine.start();
        Ok(life)
    }

    /// What happens next. Where time is to pass, it does until then.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        for _ in 0..LOOKS {
            match tokio::time::timeout(LOOK_EVERY, self.events.recv()).await {
                Ok(Some(Event::Failed(error))) => return Err(error),
                Ok(Some(event)) => {
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
        Ok(Base { epoch, shares })
    }

    pub(crate) async fn commit(&self, epoch: u64) -> Result<()> {
        self.engine.published(Epoch(epoch));
        self.engine.committer().commit(Epoch(epoch)).await
    }

    /// Lets time pass from here on.
    pub(crate) fn hurry(&mut self) {
        self.hurries = true;
    }

    /// How many records this operator has taken in.
    pub(crate) fn taken(&self, operator: &str) -> u64 {
        let tasks = self.engine.tasks().iter().filter(|info| &*info.operator == operator);
        tasks.map(|info| info.counters.records_in.load(Ordering::Relaxed)).sum()
    }

    /// Lets time pass until this operator has taken in so many records in this run.
    pub(crate) fn take(&self, operator: &str, records: u64) {
        for _ in 0..30_000 {
            if self.taken(operator) >= records {
                return;
            }
            self.pass(2);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("{records} records were not taken");
    }

    /// Lets so many milliseconds pass.
    pub(crate) fn pass(&self, ms: i64) {
        self.clock.set(Timestamp(self.clock.now().0 + ms));
    }

    /// Lets it run to its end, with a last snapshot.
    pub(crate) async fn finish(mut self, epoch: u64) -> Result<()> {
        self.hurry();
        while !self.ended {
            self.next().await?;
        }
        self.hurries = false;
        self.snapshot(epoch).await?;
        self.commit(epoch).await
    }
}
