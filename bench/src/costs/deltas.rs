//! What a snapshot costs by how much has changed and by how much there is.
//!
//! Called by [`super::case`]. The engine without a coordinator: keys are changed, and when all
//! changes have come through a snapshot is cut, brought to disk and published, by hand. So each
//! snapshot has just as many changed keys as it should, and nothing else goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{anyhow, bail, ensure};
use millstream_bench_stream::{Rec, Stopwatch, THREADS, Tally};
use millstream_dataflow::engine::{Engine, Event};
use millstream_dataflow::snapshot::Store;
use millstream_dataflow::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_dataflow::{Barrier, Job, JobSettings, Result};
use millstream_protocol::id::Epoch;
use millstream_worker::FileStore;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

use super::Figures;
use crate::ours::ends::{Ends, TallySink, owner_by_number};
use crate::ours::programs::sums;
use crate::ours::run::{deploy, runtime};
use crate::verdict::median;

/// How long a source waits before it looks for the next round, in milliseconds.
const IDLE_MS: i64 = 1;

/// What to do.
pub(super) struct Deltas {
    /// All keys. They change in the first round.
    pub(super) keys: u64,
    /// How many of them change in each later one.
    pub(super) changed: u64,
    /// How many rounds.
    pub(super) epochs: u64,
}

pub(super) fn run(case: &Deltas) -> anyhow::Result<Figures> {
    let rounds = Arc::new(AtomicU64::new(0));
    let source = Rounds { keys: case.keys, changed: case.changed, begun: rounds.clone() };
    let (arrived, arrivals) = watch::channel(0u64);
    let ends = Ends::new(Stopwatch::start());
    let job = Job::new(JobSettings::default());
    let count = move |_: &mut Tally, _: &Rec| arrived.send_modify(|n| *n += 1);
    let stream = job.source("rounds", source);
    sums(&stream).sink("out", TallySink::new(&ends, count));
    let folder = TempDir::with_prefix("millstream-bench-")?;
    let store = FileStore::new(folder.path().to_owned());
    let snapshots = runtime()?.block_on(async {
        let (engine, events) = deploy(&job).map_err(|error| anyhow!("{error:?}"))?;
        Driven { engine, events, arrivals, store }.drive(case, &rounds).await
    })?;
    // The first two are complete in themselves or write what the first touched.
    let later = || snapshots.iter().skip(2);
    ensure!(later().all(|s| s.entries == case.changed), "not {} entries each", case.changed);
    let figures = [
        ("snapshot_cpu_ms", median(later().map(|s| s.cpu_ms))),
        ("snapshot_wall_ms", median(later().map(|s| s.wall_ms))),
    ];
    Ok(figures.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

struct Snapshot {
    entries: u64,
    wall_ms: f64,
    cpu_ms: f64,
}

struct Driven {
    engine: Engine,
    events: mpsc::Receiver<Event>,
    arrivals: watch::Receiver<u64>,
    store: FileStore,
}

impl Driven {
    async fn drive(mut self, case: &Deltas, rounds: &AtomicU64) -> anyhow::Result<Vec<Snapshot>> {
        match self.events.recv().await {
            Some(Event::Restored) => self.engine.start(),
            other => bail!("the engine did not restore but said {other:?}"),
        }
        let (mut expected, mut snapshots) = (0, Vec::new());
        for epoch in 1..=case.epochs {
            expected += if epoch == 1 { case.keys } else { case.changed };
            rounds.store(epoch, Ordering::SeqCst);
            tokio::select! {
                all = self.arrivals.wait_for(|n| *n >= expected) => drop(all?),
                event = self.events.recv() => bail!("the engine said {event:?}"),
            }
            snapshots.push(self.snapshot(Epoch(epoch)).await?);
        }
        Ok(snapshots)
    }

    async fn snapshot(&mut self, epoch: Epoch) -> anyhow::Result<Snapshot> {
        let watch = Stopwatch::start();
        let mut entries = 0;
        self.engine.barrier(Barrier { epoch, stopping: false });
        for _ in 0..self.engine.shares() {
            let share = match self.events.recv().await {
                Some(Event::Share(_, share)) => share.map_err(|error| anyhow!("{error:?}"))?,
                other => bail!("the engine did not deliver a share but said {other:?}"),
            };
            entries += share.entries;
            let name = format!("{}/{}-{}", epoch.0, share.index.operator, share.index.task);
            let put = self.store.create_of(&name, &share.body).await;
            put.map_err(|error| anyhow!("{error:?}"))?;
        }
        self.engine.published(epoch);
        let (wall_ms, cpu_ms) = (watch.seconds() * 1e3, watch.cpu_seconds() * 1e3);
        Ok(Snapshot { entries, wall_ms, cpu_ms })
    }
}

/// A stream in rounds: all keys in the first, `changed` of them in each later one.
#[derive(Clone)]
struct Rounds {
    keys: u64,
    changed: u64,
    /// Rounds up to this one may be emitted.
    begun: Arc<AtomicU64>,
}

impl Rounds {
    /// Record `index` of a round, in which the keys lie as far from each other as they can.
    fn record(&self, round: u64, index: u64) -> Rec {
        let apart = self.keys / self.count(round);
        Rec { key: (index * apart + round) % self.keys, at: 0, value: 1 }
    }

    fn count(&self, round: u64) -> u64 {
        if round == 1 { self.keys } else { self.changed }
    }
}

impl Source for Rounds {
    type Item = Rec;
    type Position = u64;
    type Reader = RoundReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<RoundReader> {
        let part = u64::from(ctx.info.task.0);
        let id = format!("part-{part}").into();
        Ok(RoundReader { rounds: self.clone(), id, part, round: 1, next: part })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        owner_by_number(split, parallelism)
    }
}

struct RoundReader {
    rounds: Rounds,
    id: Arc<str>,
    part: u64,
    round: u64,
    next: u64,
}

impl Reader for RoundReader {
    type Item = Rec;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<Rec>) -> Result<Poll> {
        if self.round > self.rounds.begun.load(Ordering::SeqCst) {
            return Ok(Poll::Until(emit.now().saturating_add(IDLE_MS)));
        }
        let split = emit.split(&self.id);
        let count = self.rounds.count(self.round);
        for _ in 0..emit.room() {
            if self.next >= count {
                self.round += 1;
                self.next = self.part;
                break;
            }
            emit.record(split, self.rounds.record(self.round, self.next));
            self.next += THREADS as u64;
        }
        Ok(Poll::Ready)
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        vec![(self.id.clone(), self.next)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_round_changes_so_many_keys_and_the_first_all() {
        let rounds = Rounds { keys: 1000, changed: 10, begun: Arc::default() };
        let keys = |round: u64| -> BTreeSet<u64> {
            (0..rounds.count(round)).map(|index| rounds.record(round, index).key).collect()
        };
        assert_eq!(keys(1).len(), 1000);
        assert_eq!(keys(2).len(), 10);
        assert!(keys(2).is_disjoint(&keys(3)));
    }
}
