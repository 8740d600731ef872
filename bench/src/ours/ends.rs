//! The synthetic stream as a source, the tally as a sink.
//!
//! Built into every program here and in [`crate::costs`]. Invariant: an [`Ends`] belongs to one
//! run, and holds the whole of it once the engine is gone.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_bench_stream::record::{KEY_CLASSES, Mark};
use millstream_bench_stream::{Part, Rec, Stopwatch, Tally};
use millstream_dataflow::sink::{Committer, Prepared, Recovery, Sink, SinkContext, Writer};
use millstream_dataflow::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_dataflow::{Batch, Result};
use millstream_protocol::id::Epoch;
use millstream_protocol::plan::Guarantee;

/// What went in and what came out of one run, over all its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    watch: Stopwatch,
    emitted: Arc<AtomicU64>,
    counted: Arc<Mutex<Counted>>,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counted {
    pub(crate) tally: Tally,
    /// When the last output was counted, in seconds since the start.
    pub(crate) last_seconds: f64,
}

impl Ends {
    /// The ends of a run that starts now.
    pub(crate) fn new(watch: Stopwatch) -> Self {
        Self { watch, emitted: Arc::default(), counted: Arc::default() }
    }

    /// How many records sources with a time limit have put in.
    pub(crate) fn emitted(&self) -> u64 {
        self.emitted.load(Ordering::Relaxed)
    }

    /// What came out, once the engine is gone.
    pub(crate) fn counted(&self) -> Counted {
        *self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The synthetic stream: a part per task.
#[derive(Clone, Debug)]
pub(crate) struct Synthetic {
    pub(crate) records: u64,
    pub(crate) keys: u64,
    pub(crate) parts: usize,
    /// It also ends so many seconds after it was first polled (a start may take long on a busy
    /// machine), and counts what it has put in.
    pub(crate) until: Option<(f64, Ends)>,
}

impl Synthetic {
    fn part(&self, index: usize) -> Part {
        let make = if self.parts as u64 > KEY_CLASSES { Part::sharing_keys } else { Part::new };
        make(index, self.parts, self.records, self.keys)
    }
}

pub(crate) struct PartReader {
    parts: Vec<(Arc<str>, Part)>,
    until: Option<(f64, Ends)>,
    /// When it was first polled, in seconds since the start.
    began: Option<f64>,
}

impl Source for Synthetic {
    type Item = Rec;
    type Position = u64;
    type Reader = PartReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<PartReader> {
        let ids = (0..self.parts).map(|part| (part, format!("part-{part}")));
        let own = ids.filter(|(_, id)| ctx.owns(self, id)).map(|(index, id)| {
            let mut part = self.part(index);
            if let Some((_, position)) = ctx.restored.iter().find(|(known, _)| *known == id) {
                part.seek(*position);
            }
            (id.into(), part)
        });
        Ok(PartReader { parts: own.collect(), until: self.until.clone(), began: None })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        owner_by_number(split, parallelism)
    }
}

/// Parts are dealt to the tasks in turn.
pub(crate) fn owner_by_number(split: &str, parallelism: u32) -> u32 {
    let number = split.trim_start_matches("part-").parse::<u32>();
    number.unwrap_or(0) % parallelism
}

impl Reader for PartReader {
    type Item = Rec;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<Rec>) -> Result<Poll> {
        let until = self.until.as_ref();
        let is_over = until.is_some_and(|(seconds, ends)| {
            let now = ends.watch.seconds();
            now - *self.began.get_or_insert(now) >= *seconds
        });
        let (mut finished, mut emitted) = (0, 0);
        for (id, part) in &mut self.parts {
            let split = emit.split(id);
            let mut mark = Mark::End;
            if !is_over {
                let (records, end) = part.stretch(emit.room());
                emitted += records.len() as u64;
                emit.records(split, records);
                mark = end;
            }
            if mark == Mark::End {
                finished += 1;
                emit.is_finished(split);
            }
        }
        if let Some((_, ends)) = until {
            ends.emitted.fetch_add(emitted, Ordering::Relaxed);
        }
        Ok(if finished == self.parts.len() { Poll::Finished } else { Poll::Ready })
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        self.parts.iter().map(|(id, part)| (id.clone(), part.position())).collect()
    }
}

/// Counts what comes out.
pub(crate) struct TallySink<T, F> {
    ends: Ends,
    add: F,
    marker: PhantomData<fn(&T)>,
}

impl<T, F: Clone> Clone for TallySink<T, F> {
    fn clone(&self) -> Self {
        Self { ends: self.ends.clone(), add: self.add.clone(), marker: PhantomData }
    }
}

impl<T, F: Fn(&mut Tally, &T)> TallySink<T, F> {
    pub(crate) fn new(ends: &Ends, add: F) -> Self {
        Self { ends: ends.clone(), add, marker: PhantomData }
    }
}

pub(crate) struct TallyWriter<T, F> {
    sink: TallySink<T, F>,
    mine: Counted,
}

impl<T, F> Drop for TallyWriter<T, F> {
    fn drop(&mut self) {
        let mut all = self.sink.ends.counted.lock().unwrap_or_else(PoisonError::into_inner);
        all.tally.merge(self.mine.tally);
        all.last_seconds = all.last_seconds.max(self.mine.last_seconds);
    }
}

impl<T, F> Sink for TallySink<T, F>
where
    T: Send + 'static,
    F: Fn(&mut Tally, &T) + Clone + Send + 'static,
{
    type Item = T;
    type Pending = ();
    type Writer = TallyWriter<T, F>;
    type Committer = Nothing;

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, _: SinkContext) -> Result<(TallyWriter<T, F>, Nothing)> {
        Ok((TallyWriter { sink: self.clone(), mine: Counted::default() }, Nothing))
    }
}

impl<T, F> Writer for TallyWriter<T, F>
where
    T: Send + 'static,
    F: Fn(&mut Tally, &T) + Clone + Send + 'static,
{
    type Item = T;
    type Pending = ();

    fn write(&mut self, batch: Batch<T>) -> Result<()> {
        for record in &batch.records {
            (self.sink.add)(&mut self.mine.tally, record);
        }
        self.mine.last_seconds = self.sink.ends.watch.seconds();
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        Ok(Prepared::nothing())
    }
}

pub(crate) struct Nothing;

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
