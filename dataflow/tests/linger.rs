//! How long records wait for their batch to fill, where input never pauses.
#![allow(clippy::unwrap_used, reason = "a failed test is a panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millstream_dataflow::clock::ManualClock;
use millstream_dataflow::connector::discard::Discard;
use millstream_dataflow::engine::{Deployment, Engine, Event};
use millstream_dataflow::sink::History;
use millstream_dataflow::snapshot::Restore;
use millstream_dataflow::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_dataflow::{Job, Result};
use millstream_protocol::id::{Run, WorkerIndex};

/// More than two batches.
const RECORDS: u64 = 3000;

/// Emits a record per poll, and always has more, to the end.
#[derive(Clone)]
struct Drip(Arc<AtomicU64>);

struct DripReader(Arc<AtomicU64>);

impl Source for Drip {
    type Item = u64;
    type Position = u64;
    type Reader = DripReader;

    fn open(&self, _: SourceContext<u64>) -> Result<DripReader> {
        Ok(DripReader(self.0.clone()))
    }
}

impl Reader for DripReader {
    type Item = u64;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<u64>) -> Result<Poll> {
        let split = emit.split("all");
        let emitted = self.0.fetch_add(1, Ordering::SeqCst);
        emit.record(split, emitted);
        Ok(if emitted + 1 == RECORDS { Poll::Finished } else { Poll::Ready })
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        vec![("all".into(), self.0.load(Ordering::SeqCst))]
    }
}

/// How many records had been emitted when the first came out of another task, on one thread and by
/// a clock that stands still.
async fn emitted_at_first_output(linger: Option<Duration>) -> u64 {
    let (emitted, first) = (Arc::<AtomicU64>::default(), Arc::new(AtomicU64::new(u64::MAX)));
    let job = Job::new(Default::default());
    if let Some(linger) = linger {
        job.linger(linger);
    }
    let (now, at_first) = (emitted.clone(), first.clone());
    // Two receivers: to a single one, whole batches go on as they come.
    let drip = job.source("drip", Drip(emitted)).parallelism(1);
    let passed = drip.key_by(|_| 0u64).pass("passed").parallelism(2);
    let seen = passed.inspect(move |_| {
        at_first.fetch_min(now.load(Ordering::SeqCst), Ordering::SeqCst);
    });
    seen.sink("out", Discard::new());
    let deployment = Deployment {
        run: Run(1),
        job: "test/linger".into(),
        threads: vec![1],
        worker: WorkerIndex(0),
        restore: Restore::default(),
        history: History::default(),
        clock: Arc::new(ManualClock::default()),
    };
    let (engine, mut events) = Engine::deploy(&job, deployment).unwrap();
    loop {
        match events.recv().await.unwrap() {
            Event::Restored => engine.start(),
            Event::Ended => break,
            Event::Failed(error) => panic!("{error:?}"),
            Event::Share(..) | Event::SnapshotWanted => {}
        }
    }
    first.load(Ordering::SeqCst)
}

#[tokio::test]
async fn with_no_linger_records_go_on_at_once_else_when_their_batch_is_full() {
    let at_once = emitted_at_first_output(Some(Duration::ZERO)).await;
    assert!(at_once < 50, "{at_once} records were there before the first came out");
    for linger in [None, Some(Duration::from_millis(1))] {
        let full = emitted_at_first_output(linger).await;
        assert!((1000..RECORDS).contains(&full), "{full} records were there");
    }
}
