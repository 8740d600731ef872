//! A worker that keeps the engine's rules: a source of numbered records, a keyed operator whose
//! parts are chains, and an exactly-once sink with an outbox. One task of each per worker.

use std::collections::{BTreeMap, BTreeSet};

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, OperatorId, Run, Seq, TaskIndex, Term, WorkerIndex};
use millstream_protocol::job::JobSpec;
use millstream_protocol::key_group::KeyGroups;
use millstream_protocol::log::Lineage;
use millstream_protocol::path::{Name, PartName};
use millstream_protocol::session::{AppendOutcome, Command, Deploy, Facts, Going, Report, Retain};
use millstream_protocol::share::{Extent, ShareData, TaskShare};
use rand::Rng;

use super::chance::Chance;
use super::entries::facts;
use super::outside::{Outside, Producer, Record, Token};
use super::recover::{first, positions, recover, retain_objects};

pub(crate) const SPLITS: u32 = 3;
pub(crate) const RECORDS_PER_SPLIT: u64 = 15;
/// So many records in its outbox, and a sink asks for a snapshot.
const OUTBOX_HALF: usize = 6;
pub(crate) const SOURCE: &str = "in";
pub(crate) const KEYED: &str = "seen";
pub(crate) const SINK: &str = "out";

/// What a part holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) positions: BTreeMap<u32, u64>,
    pub(crate) pending: Vec<Record>,
    pub(crate) token: Epoch,
}

#[derive(Debug)]
struct Tasks {
    run: Run,
    spec: JobSpec,
    lineage: Lineage,
    workers: u32,
    started: bool,
    ended: bool,
    positions: BTreeMap<u32, u64>,
    /// Records not yet visible, each with the last barrier before it.
    outbox: Vec<(Record, Epoch)>,
    barrier: Epoch,
    /// The last barrier was a stopping one.
    stopping: bool,
    shares: Vec<TaskShare>,
    published: Option<Epoch>,
    aborted: BTreeSet<Epoch>,
    producer: Producer,
    token: Epoch,
}

impl Tasks {
    fn going(&self) -> Going {
        let (run, lineage, spec) = (self.run, self.lineage.clone(), self.spec.clone());
        let plan = facts(0, self.workers).plan;
        Going { run, lineage, spec, plan, started: self.started, stopping: self.stopping }
    }
}

/// A worker process.
#[derive(Debug, Default)]
pub(crate) struct FakeWorker {
    index: WorkerIndex,
    /// A number that makes its uploads' names its own.
    life: u64,
    uploads: u64,
    tasks: Option<Tasks>,
    highest: Run,
    /// Appends and retentions under way, which will land some time.
    pub(crate) stalled: (Vec<(Seq, String)>, Vec<Retain>),
}

impl FakeWorker {
    pub(crate) fn new(index: WorkerIndex, life: u64) -> Self {
        Self { index, life, ..Self::default() }
    }

    pub(crate) fn run(&self) -> Option<Run> {
        self.tasks.as_ref().map(|tasks| tasks.run)
    }

    pub(crate) fn on(
        &mut self,
        command: Command,
        outside: &mut Outside,
        chance: &mut Chance,
    ) -> Vec<Report> {
        let unavailable = || Failure::new(ErrorKind::Unavailable, "the store does not answer");
        match command {
            Command::Hello(hello) => {
                let facts = facts(hello.generation, hello.spec.workers);
                let going = self.tasks.as_ref().map(|tasks| Box::new(tasks.going()));
                vec![Report::Facts(Box::new(Facts { going, ..facts }))]
            }
            Command::ReadLog { request } if chance.hits(50) => {
                vec![Report::LogUnread { request, failure: unavailable() }]
            }
            Command::ReadLog { request } => {
                let entries = outside.log().iter().map(|(seq, text)| (*seq, text.clone()));
                let committed = outside.committed().iter().copied().collect();
                vec![Report::Log { request, entries: entries.collect(), committed }]
            }
            Command::ReadEntry { seq } if chance.hits(100) => {
                vec![Report::Slot { seq, content: Err(unavailable()) }]
            }
            Command::ReadEntry { seq } => {
                vec![Report::Slot { seq, content: Ok(outside.log().get(&seq).cloned()) }]
            }
            Command::Append { seq, nonce, text } => {
                let outcome = self.append(seq, &text, outside, chance);
                vec![Report::Appended { seq, nonce, outcome }]
            }
            Command::Deploy(deploy) => self.deploy(*deploy, outside, chance),
            Command::Adopt { run, term } => vec![self.adopt(run, term)],
            Command::Start { run } => {
                if let Some(tasks) = self.tasks.as_mut().filter(|tasks| tasks.run == run) {
                    tasks.started = true;
                    outside.start(run);
                }
                vec![]
            }
            Command::Barrier { run, epoch, stopping } => {
                self.barrier((run, epoch), stopping, outside, chance)
            }
            Command::GoOn { run } => self.go_on(run),
            Command::Abort { run, epoch } => self.settle(run, epoch, false),
            Command::Drift { .. } | Command::Stop => vec![],
            Command::Published { run, epoch, .. } => self.settle(run, epoch, true),
            Command::Commit { run, epoch, seq } => self.commit((run, epoch), seq, outside, chance),
            Command::WriteCommitted { seq } if chance.hits(100) => {
                vec![Report::CommittedWritten { seq, result: Err(unavailable()) }]
            }
            Command::WriteCommitted { seq } => {
                outside.mark(seq);
                vec![Report::CommittedWritten { seq, result: Ok(()) }]
            }
            Command::Retain(retain) => {
                vec![retain_objects(&retain, outside, chance, &mut self.stalled.1)]
            }
            Command::ListParts if chance.hits(100) => vec![Report::Parts(Err(unavailable()))],
            Command::ListParts => vec![Report::Parts(Ok(outside.parts()))],
            Command::Drop { run } => {
                self.tasks.take_if(|tasks| tasks.run <= run);
                self.highest = self.highest.max(run);
                vec![Report::Dropped { run }]
            }
        }
    }

    fn go_on(&mut self, run: Run) -> Vec<Report> {
        if let Some(tasks) = self.tasks.as_mut().filter(|tasks| tasks.run == run) {
            tasks.stopping = false;
        }
        vec![]
    }

    fn settle(&mut self, run: Run, epoch: Epoch, published: bool) -> Vec<Report> {
        if let Some(tasks) = self.tasks.as_mut().filter(|tasks| tasks.run == run) {
            if published {
                assert!(!tasks.aborted.contains(&epoch), "{epoch} was aborted");
                tasks.published = tasks.published.max(Some(epoch));
            } else {
                tasks.aborted.insert(epoch);
            }
        }
        vec![]
    }

    fn adopt(&self, run: Run, term: Term) -> Report {
        if let Some(tasks) = self.tasks.as_ref().filter(|tasks| tasks.run == run) {
            return Report::Adopted { run, term, epoch: tasks.barrier, ended: tasks.ended };
        }
        let failure = Failure::new(ErrorKind::Unavailable, "the tasks are gone");
        Report::TaskFailed { run, operator: None, failure }
    }

    fn append(
        &mut self,
        seq: Seq,
        text: &str,
        outside: &mut Outside,
        chance: &mut Chance,
    ) -> AppendOutcome {
        if chance.hits(80) {
            self.stalled.0.push((seq, text.to_owned()));
            return AppendOutcome::Unknown("the request timed out".into());
        }
        if chance.hits(40) {
            let failure = Failure::new(ErrorKind::Unavailable, "503");
            return AppendOutcome::Failed(failure);
        }
        let outcome = outside.append(seq, text);
        match outcome {
            _ if chance.hits(60) => AppendOutcome::Unknown("the answer was lost".into()),
            Ok(()) => AppendOutcome::Created,
            Err(there) => AppendOutcome::Exists(there),
        }
    }

    fn deploy(
        &mut self,
        deploy: Deploy,
        outside: &mut Outside,
        chance: &mut Chance,
    ) -> Vec<Report> {
        let run = deploy.run;
        if run <= self.highest {
            return vec![];
        }
        assert!(self.tasks.is_none(), "run {run} is deployed over tasks that were not dropped");
        self.highest = run;
        let failed = |kind, message: &str| {
            let failure = Failure::new(kind, message);
            vec![Report::TaskFailed { run, operator: None, failure }]
        };
        if chance.hits(30) {
            return failed(ErrorKind::Unavailable, "the broker does not answer");
        }
        if outside.is_wished(run) && chance.hits(200) {
            return failed(ErrorKind::Invalid, "there is no such input");
        }
        let workers = deploy.threads.len() as u32;
        let own = |task: &u32| *task % workers == self.index.0;
        let restore = deploy.restore.as_ref();
        let sinks = restore.map_or(0, |restore| restore.manifest.operators[2].parallelism);
        let ever = deploy.sinks_ever.get(&OperatorId::from(SINK)).copied().unwrap_or(0);
        let mut own_task = None;
        for task in (0..sinks.max(ever).max(workers)).filter(own) {
            let initialised = outside.init(task);
            if outside.highest_run() > run {
                return failed(ErrorKind::Fenced, "a higher run is in the log");
            }
            let visible = match restore {
                Some(restore) if task < sinks => recover(initialised, &deploy, restore, outside),
                _ if task < workers => first(initialised, &deploy, outside),
                _ => Epoch(0),
            };
            if task == self.index.0 {
                own_task = Some((initialised, visible));
            }
        }
        let (producer, token) = own_task.expect("its own task is among them");
        let positions = positions(restore.map(|restore| &restore.manifest), outside);
        let own_splits = (0..SPLITS).filter(own);
        self.tasks = Some(Tasks {
            run,
            spec: deploy.spec,
            lineage: deploy.lineage,
            workers,
            started: false,
            ended: false,
            positions: own_splits
                .map(|split| (split, positions.get(&split).copied().unwrap_or(0)))
                .collect(),
            outbox: vec![],
            barrier: Epoch(0),
            stopping: false,
            shares: vec![],
            published: restore.map(|restore| restore.manifest.epoch),
            aborted: BTreeSet::new(),
            producer,
            token,
        });
        vec![Report::Deployed { run, restore_took: std::time::Duration::ZERO }]
    }

    /// Reads a record, where there is one and the tasks run.
    pub(crate) fn emit(&mut self) -> Vec<Report> {
        let Some(tasks) = self.tasks.as_mut().filter(|t| t.started && !t.stopping) else {
            return vec![];
        };
        let next = tasks.positions.iter_mut().find(|(_, next)| **next < RECORDS_PER_SPLIT);
        if let Some((split, next)) = next {
            tasks.outbox.push(((*split, *next), tasks.barrier));
            *next += 1;
        }
        let ended = tasks.positions.values().all(|next| *next == RECORDS_PER_SPLIT);
        if ended && !tasks.ended {
            tasks.ended = true;
            return vec![Report::Finished { run: tasks.run }];
        }
        if tasks.outbox.len() == OUTBOX_HALF {
            return vec![Report::SnapshotWanted { run: tasks.run }];
        }
        vec![]
    }

    fn barrier(
        &mut self,
        (run, epoch): (Run, Epoch),
        stopping: bool,
        outside: &mut Outside,
        chance: &mut Chance,
    ) -> Vec<Report> {
        let Some(tasks) = self.tasks.as_mut().filter(|tasks| tasks.run == run && tasks.started)
        else {
            return vec![];
        };
        if tasks.barrier >= epoch {
            return vec![];
        }
        tasks.barrier = epoch;
        tasks.stopping = stopping;
        if chance.hits(80) {
            let reason = "the upload failed".to_owned();
            return vec![Report::Declined { run, epoch, reason }];
        }
        self.uploads += 1;
        let random = format!("{}x{}", self.life, self.uploads);
        let object = Name::Part(PartName { run, epoch, worker: self.index, random }).to_string();
        // The capture: what came before this barrier and is not yet visible, aborted epochs
        // included.
        let pending: Vec<_> = tasks
            .outbox
            .iter()
            .filter(|(_, tag)| *tag < epoch)
            .map(|(record, _)| *record)
            .collect();
        let has_pending = !pending.is_empty();
        let body = Body { positions: tasks.positions.clone(), pending, token: tasks.token };
        outside.upload(&object, body);
        let task = TaskIndex(self.index.0);
        let share = |operator: &str, offset| TaskShare {
            operator: operator.into(),
            task,
            groups: None,
            extent: Extent::Full,
            data: Some(ShareData {
                object: object.clone(),
                offset,
                length: 1,
                crc32c: 0,
                entries: 1,
            }),
            watermark: None,
            pending_commit: false,
            ended: tasks.ended,
        };
        let keyed = TaskShare {
            groups: Some(KeyGroups::default().of_task(task, tasks.workers)),
            extent: match tasks.published {
                Some(epoch) if chance.rng.random_ratio(3, 4) => Extent::Since(epoch),
                Some(_) | None => Extent::Full,
            },
            ..share(KEYED, 1)
        };
        let sink = TaskShare { pending_commit: has_pending, ..share(SINK, 2) };
        tasks.shares = vec![share(SOURCE, 0), keyed, sink];
        vec![Report::PartUploaded { run, epoch, shares: tasks.shares.clone() }]
    }

    fn commit(
        &mut self,
        (run, epoch): (Run, Epoch),
        seq: Seq,
        outside: &mut Outside,
        chance: &mut Chance,
    ) -> Vec<Report> {
        let Some(tasks) = self.tasks.as_mut().filter(|tasks| tasks.run == run) else {
            return vec![];
        };
        if tasks.token >= epoch {
            return vec![Report::Committed { run, epoch }];
        }
        assert!(outside.log().contains_key(&seq), "{seq} is committed but not in the log");
        let due = |(_, tag): &&(Record, Epoch)| *tag < epoch;
        let records: Vec<_> = tasks.outbox.iter().filter(due).map(|(record, _)| *record).collect();
        let token = Token { epoch, lineage: tasks.lineage.clone() };
        // An unknown outcome: the task gives up, and a later recovery looks at the token.
        let lost = chance.hits(60);
        let applied = !lost || chance.rng.random_bool(0.5);
        let fenced = applied && !outside.transact(tasks.producer, run, &records, token);
        let failed = |kind, message: &str| {
            let failure = Failure::new(kind, message);
            vec![Report::TaskFailed { run, operator: Some(SINK.into()), failure }]
        };
        if fenced || lost {
            self.tasks = None;
        }
        if fenced {
            return failed(ErrorKind::Fenced, "the producer is fenced");
        }
        if lost {
            return failed(ErrorKind::Unavailable, "the outcome of a commit is unknown");
        }
        if let Some(tasks) = &mut self.tasks {
            tasks.outbox.retain(|(_, tag)| *tag >= epoch);
            tasks.token = epoch;
        }
        vec![Report::Committed { run, epoch }]
    }
}
