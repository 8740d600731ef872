//! The synthetic stream as a source, the tally as a sink.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_bench_stream::record::Mark;
use millstream_bench_stream::{Part, Rec, Tally};
use millstream_dataflow::sink::{Committer, Prepared, Sink, SinkContext, Writer};
use millstream_dataflow::source::{Emit, Poll, Reader, Source, SourceContext};
use millstream_dataflow::{Batch, Result};
use millstream_protocol::id::Epoch;
use millstream_protocol::plan::Guarantee;

/// The synthetic stream: a part per task.
#[derive(Clone, Debug)]
pub(super) struct Synthetic {
    pub(super) records: u64,
    pub(super) keys: u64,
    pub(super) parts: usize,
}

pub(super) struct PartReader {
    parts: Vec<(Arc<str>, Part)>,
    done: usize,
}

impl Source for Synthetic {
    type Item = Rec;
    type Position = u64;
    type Reader = PartReader;

    fn open(&self, ctx: SourceContext<u64>) -> Result<PartReader> {
        let ids = (0..self.parts).map(|part| (part, format!("part-{part}")));
        let own = ids.filter(|(_, id)| ctx.owns(self, id)).map(|(index, id)| {
            let mut part = Part::new(index, self.parts, self.records, self.keys);
            if let Some((_, position)) = ctx.restored.iter().find(|(known, _)| *known == id) {
                part.seek(*position);
            }
            (id.into(), part)
        });
        Ok(PartReader { parts: own.collect(), done: 0 })
    }

    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        let number = split.trim_start_matches("part-").parse::<u32>();
        number.unwrap_or(0) % parallelism
    }
}

impl Reader for PartReader {
    type Item = Rec;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<Rec>) -> Result<Poll> {
        self.done = 0;
        for (id, part) in &mut self.parts {
            let split = emit.split(id);
            let (records, mark) = part.stretch(emit.room());
            emit.records(split, records);
            if mark == Mark::End {
                self.done += 1;
                emit.is_finished(split);
            }
        }
        Ok(if self.done == self.parts.len() { Poll::Finished } else { Poll::Ready })
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        self.parts.iter().map(|(id, part)| (id.clone(), part.position())).collect()
    }
}

/// Counts what comes out.
pub(super) struct TallySink<T, F> {
    total: Arc<Mutex<Tally>>,
    add: F,
    marker: PhantomData<fn(&T)>,
}

impl<T, F: Clone> Clone for TallySink<T, F> {
    fn clone(&self) -> Self {
        Self { total: self.total.clone(), add: self.add.clone(), marker: PhantomData }
    }
}

impl<T, F: Fn(&mut Tally, &T)> TallySink<T, F> {
    pub(super) fn new(total: Arc<Mutex<Tally>>, add: F) -> Self {
        Self { total, add, marker: PhantomData }
    }
}

pub(super) struct TallyWriter<T, F> {
    sink: TallySink<T, F>,
    tally: Tally,
}

impl<T, F> Drop for TallyWriter<T, F> {
    fn drop(&mut self) {
        let mut total = self.sink.total.lock().unwrap_or_else(PoisonError::into_inner);
        total.merge(self.tally);
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
        Ok((TallyWriter { sink: self.clone(), tally: Tally::default() }, Nothing))
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
            (self.sink.add)(&mut self.tally, record);
        }
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        Ok(Prepared::nothing())
    }
}

pub(super) struct Nothing;

#[async_trait]
impl Committer for Nothing {
    type Pending = ();

    async fn commit(&self, _: Epoch, (): ()) -> Result<()> {
        Ok(())
    }

    async fn recover(&self, _: Epoch, _: Vec<()>) -> Result<()> {
        Ok(())
    }
}
