//! [`Stdin`]: a source that reads standard input.
//!
//! One thread per process reads blocks of complete records into a bounded queue ([`Pump`]); the
//! reader of the job's one task takes them from there and decodes. Invariant: what was read and not
//! yet decoded survives a restart of the job within the process.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Builder;

use super::format::{
    Block, Cut, CutError, Cutter, Decoded, End, Format, Framing, Json, Lines, newlines,
};
use crate::data::Data;
use crate::error::{Context, Error, Kind, Result};
use crate::source::{Emit, Place, Poll, Reader, Source, SourceContext, SplitIndex};
use crate::task::Doorbell;

/// Blocks under way to the job.
const BLOCKS: usize = 4;

/// The one split.
const SPLIT: &str = "stdin";

/// A source that reads standard input, until it is closed. One task reads it.
///
/// At most once: what was read before a failure and is not in the last snapshot is lost, since
/// standard input cannot be read again. After a restore it goes on with whatever arrives.
///
/// ```
/// use millstream_dataflow::{Job, connector::stdin::Stdin};
/// let job = Job::new(Default::default());
/// job.source("typed", Stdin::lines()).map(|line| line.to_uppercase());
/// ```
#[derive(Clone, Debug)]
pub struct Stdin<F> {
    format: F,
}

impl Stdin<Lines> {
    /// Reads lines of UTF-8 text.
    pub fn lines() -> Self {
        Self { format: Lines }
    }

    /// Reads a JSON value per line.
    pub fn json<T: Data>() -> Stdin<Json<T>> {
        Stdin { format: Json::new() }
    }
}

impl<F: Format> Source for Stdin<F> {
    type Item = F::Record;
    /// Lines read in the life of the job, for messages.
    type Position = u64;
    type Reader = StdinReader<F>;

    fn open(&self, ctx: SourceContext<u64>) -> Result<StdinReader<F>> {
        static PUMP: OnceLock<Arc<Pump>> = OnceLock::new();
        let pump = PUMP.get_or_init(Arc::default);
        StdinReader::open(self, ctx, pump.clone(), std::io::stdin)
    }

    fn parallelism_max(&self) -> Option<u32> {
        Some(1)
    }
}

type Blocks = Receiver<Result<Vec<u8>, CutError>>;

/// The thread that reads, seen from its readers.
#[derive(Default)]
struct Pump {
    /// None while a reader has it.
    blocks: Mutex<Option<Blocks>>,
    started: OnceLock<()>,
    /// Of the task that reads now.
    doorbell: Mutex<Doorbell>,
}

impl Pump {
    /// Takes the blocks for a reader; the first one starts the thread.
    fn take<R: Read + Send + 'static>(
        self: &Arc<Self>,
        doorbell: Doorbell,
        input: impl FnOnce() -> R,
    ) -> Result<Blocks> {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if self.started.set(()).is_ok() {
            let (sender, receiver) = sync_channel(BLOCKS);
            let (pump, input) = (self.clone(), input());
            // Not joined: it ends with the process, since a read of a terminal cannot be called
            // back.
            Builder::new()
                .name("stdin".to_owned())
                .spawn(move || pump.read(input, sender))
                .or_kind(Kind::Unavailable, || "cannot start a thread".to_owned())?;
            *blocks = Some(receiver);
        }
        let taken = blocks.take().ok_or_else(|| {
            Error::invalid(
                "two sources read standard input: read it once, and use the stream twice",
            )
        })?;
        *self.doorbell.lock().unwrap_or_else(PoisonError::into_inner) = doorbell;
        Ok(taken)
    }

    fn give_back(&self, blocks: Blocks) {
        *self.blocks.lock().unwrap_or_else(PoisonError::into_inner) = Some(blocks);
    }

    fn read(&self, mut input: impl Read, blocks: SyncSender<Result<Vec<u8>, CutError>>) {
        let mut cutter = Cutter::new(Framing::Line);
        let mut is_last = false;
        while !is_last {
            let cut = cutter.next(&mut input);
            is_last = !matches!(cut, Ok(Cut::Block));
            let block = cut.map(|cut| {
                if cut != Cut::Block {
                    cutter.rest();
                }
                cutter.block().to_vec()
            });
            if blocks.send(block).is_err() {
                return;
            }
            self.ring();
        }
        // The reader learns of the end by this, and must be woken to see it.
        drop(blocks);
        self.ring();
    }

    fn ring(&self) {
        self.doorbell.lock().unwrap_or_else(PoisonError::into_inner).ring();
    }
}

/// Reads standard input.
pub struct StdinReader<F: Format> {
    format: F,
    pump: Arc<Pump>,
    /// There until the reader is dropped.
    blocks: Option<Blocks>,
    records: std::vec::IntoIter<F::Record>,
    /// Of the block that the records are from.
    ends: Vec<End>,
    /// The lines before that block.
    start: u64,
    split: Arc<str>,
    lines: u64,
}

impl<F: Format> StdinReader<F> {
    fn open<R: Read + Send + 'static>(
        source: &Stdin<F>,
        ctx: SourceContext<u64>,
        pump: Arc<Pump>,
        input: impl FnOnce() -> R,
    ) -> Result<Self> {
        let blocks = pump.take(ctx.doorbell.clone(), input)?;
        Ok(Self {
            format: source.format.clone(),
            pump,
            blocks: Some(blocks),
            records: Vec::new().into_iter(),
            ends: Vec::new(),
            start: 0,
            split: SPLIT.into(),
            lines: ctx.restored.first().map_or(0, |(_, lines)| *lines),
        })
    }

    fn decode(
        &mut self,
        bytes: &[u8],
        emit: &mut Emit<F::Record>,
        split: SplitIndex,
    ) -> Result<()> {
        let mut decoded = Decoded::new();
        self.format.decode(Block { bytes, line: self.lines + 1 }, &mut decoded);
        for record in decoded.malformed {
            emit.malformed(split, &"standard input", record.into())?;
        }
        (self.start, self.ends) = (self.lines, decoded.ends);
        self.lines += newlines(bytes);
        self.records = decoded.records.into_iter();
        Ok(())
    }

    /// Emits what there is room for.
    fn emit(&mut self, emit: &mut Emit<F::Record>, split: SplitIndex) {
        let begun = self.ends.len() - self.records.len();
        let count = emit.room().min(self.records.len());
        if emit.wants_places() {
            let ends = self.ends[begun..begun + count].iter();
            emit.places(ends.map(|end| Place::Line(self.start + u64::from(end.lines))));
        }
        emit.records(split, self.records.by_ref().take(count));
    }
}

impl<F: Format> Reader for StdinReader<F> {
    type Item = F::Record;
    type Position = u64;

    fn poll(&mut self, emit: &mut Emit<F::Record>) -> Result<Poll> {
        let split = emit.split(&self.split);
        loop {
            self.emit(emit, split);
            if self.records.len() > 0 || emit.room() == 0 {
                return Ok(Poll::Ready);
            }
            let blocks = self.blocks.as_ref().ok_or_else(|| Error::bug("read after its end"))?;
            match blocks.try_recv() {
                Ok(block) => {
                    let block = block
                        .or_kind(Kind::Unavailable, || "cannot read standard input".to_owned())?;
                    self.decode(&block, emit, split)?;
                }
                Err(TryRecvError::Empty) => {
                    emit.is_empty(split);
                    return Ok(Poll::Pending);
                }
                Err(TryRecvError::Disconnected) => {
                    emit.is_finished(split);
                    return Ok(Poll::Finished);
                }
            }
        }
    }

    fn positions(&self) -> Vec<(Arc<str>, u64)> {
        vec![(self.split.clone(), self.lines)]
    }
}

impl<F: Format> Drop for StdinReader<F> {
    fn drop(&mut self) {
        if let Some(blocks) = self.blocks.take() {
            self.pump.give_back(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use millstream_protocol::id::TaskIndex;
    use millstream_protocol::key_group::KeyGroups;

    use super::*;
    use crate::task::TaskInfo;

    fn open(
        pump: &Arc<Pump>,
        input: std::io::PipeReader,
        bell: &Doorbell,
    ) -> Result<StdinReader<Json<u32>>> {
        let info = TaskInfo {
            operator: "typed".into(),
            task: TaskIndex(0),
            parallelism: 1,
            key_groups: KeyGroups::default(),
            counters: Arc::default(),
        };
        let doorbell = bell.clone();
        let ctx = SourceContext { info, restored: Vec::new(), is_restored: false, doorbell };
        StdinReader::open(&Stdin::json(), ctx, pump.clone(), move || input)
    }

    /// Polls, when rung, until there are so many records, or the end.
    fn read(
        reader: &mut StdinReader<Json<u32>>,
        bell: &Doorbell,
        count: usize,
    ) -> Result<Vec<u32>> {
        let mut emit = Emit::new();
        read_into(&mut emit, reader, bell, count)?;
        Ok(emit.records)
    }

    fn read_into(
        emit: &mut Emit<u32>,
        reader: &mut StdinReader<Json<u32>>,
        bell: &Doorbell,
        count: usize,
    ) -> Result<()> {
        for _ in 0..1000 {
            bell.clear();
            if reader.poll(emit)? == Poll::Finished || emit.records.len() >= count {
                return Ok(());
            }
            bell.wait(Duration::from_millis(100));
        }
        panic!("only {} records came", emit.records.len());
    }

    #[test]
    fn a_restart_goes_on_with_what_was_not_read_yet_and_the_end_is_the_end() {
        let (input, mut typed) = std::io::pipe().unwrap();
        let (pump, bell) = (Arc::<Pump>::default(), Doorbell::default());
        bell.belongs_here();
        let mut first = open(&pump, input.try_clone().unwrap(), &bell).unwrap();
        let error = open(&pump, input.try_clone().unwrap(), &bell).err().unwrap();
        assert_eq!(error.kind(), Kind::Invalid);
        typed.write_all(b"1\n2\n3").unwrap();
        assert_eq!(read(&mut first, &bell, 2).unwrap(), [1, 2]);
        assert_eq!(first.positions(), [("stdin".into(), 2)]);
        drop(first);
        typed.write_all(b"0\n4").unwrap();
        drop(typed);
        let mut second = open(&pump, input, &bell).unwrap();
        assert_eq!(read(&mut second, &bell, usize::MAX).unwrap(), [30, 4]);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let (input, mut typed) = std::io::pipe().unwrap();
        let (pump, bell) = (Arc::<Pump>::default(), Doorbell::default());
        bell.belongs_here();
        let mut reader = open(&pump, input, &bell).unwrap();
        typed.write_all(b"1\nx\n").unwrap();
        let error = read(&mut reader, &bell, 2).unwrap_err();
        assert!(error.to_string().starts_with("standard input, line 2: "), "{error}");
    }
    #[test]
    fn places_are_lines_from_the_first_one_on() {
        let (input, mut typed) = std::io::pipe().unwrap();
        let (pump, bell) = (Arc::<Pump>::default(), Doorbell::default());
        bell.belongs_here();
        let mut reader = open(&pump, input, &bell).unwrap();
        let mut emit = Emit::new();
        (emit.aside, emit.wants_places) = (true, true);
        typed.write_all(b"1\n\nx\n").unwrap();
        read_into(&mut emit, &mut reader, &bell, 1).unwrap();
        typed.write_all(b"y\n2").unwrap();
        drop(typed);
        read_into(&mut emit, &mut reader, &bell, usize::MAX).unwrap();
        assert_eq!((&*emit.records, &*emit.places), (&[1, 2][..], &[1, 5].map(Place::Line)[..]));
        let lines: Vec<_> = emit.malformed.iter().map(ToString::to_string).collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].starts_with("stdin, line 3: ") && lines[1].starts_with("stdin, line 4: "));
    }
}
