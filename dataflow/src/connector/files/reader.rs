//! [`FilesReader`]: what the source task polls. Emits what its thread has decoded, and keeps the
//! positions.
//!
//! Receives [`Message`]s from [`super::thread`], hands records to [`crate::task`]. Invariant: the
//! position of a file is behind the last record emitted, however far its thread has read ahead.

use std::collections::HashMap;
use std::convert::Infallible;
use std::iter::Peekable;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::head::Head;
use super::hold::Holds;
use super::input::Place;
use super::item::{Item, Stop};
use super::pace::Pace;
use super::thread::{Known, MESSAGES, Message, Work};
use super::{FilePosition, Files};
use crate::connector::format::{Decoded, End, Ends, Format, Undecoded};
use crate::connector::generator::check_rate;
use crate::error::{Context, Error, Kind, Result};
use crate::source::{self, Emit, Poll, Reader, Source, SourceContext, SplitIndex};

/// A file as the engine knows it.
struct File {
    id: Arc<str>,
    position: FilePosition,
    /// None until a block of it was read since the restore: the position stands as restored.
    head: Option<Head>,
    gone: bool,
    item: Item,
}

impl File {
    /// One that is read from its beginning.
    fn new(id: Arc<str>, item: Item) -> Self {
        let version = item.version().to_owned();
        let position = FilePosition { version, ..FilePosition::default() };
        Self { id, position, head: None, gone: false, item }
    }

    fn come_to(&mut self, Place { offset, lines }: Place, complete: bool) {
        let position = &mut self.position;
        (position.offset, position.lines, position.complete) = (offset, lines, complete);
    }

    /// The position as a snapshot keeps it.
    fn kept(&self) -> FilePosition {
        let head = self.head.as_ref().and_then(|head| head.sum(self.position.offset));
        FilePosition { head: head.unwrap_or(self.position.head), ..self.position.clone() }
    }
}

/// A block whose records are on their way out.
struct Current<T> {
    file: usize,
    records: std::vec::IntoIter<T>,
    ends: Vec<End>,
    malformed: Peekable<std::vec::IntoIter<Undecoded>>,
    /// Of its first byte.
    start: Place,
    end: Place,
}

impl<T> Current<T> {
    /// How many records went out.
    fn emitted(&self) -> usize {
        self.ends.len() - self.records.len()
    }
}

/// Emits what its thread reads.
pub struct FilesReader<F: Format> {
    files: Vec<File>,
    /// The split of each file that was named to the engine.
    splits: Vec<SplitIndex>,
    /// Restored, read to their end, and gone: they must not hold the watermark back.
    gone: Vec<String>,
    current: Option<Current<F::Record>>,
    rate: Option<f64>,
    pace: Option<Pace>,
    bounded: bool,
    finished: bool,
    holds: Arc<Holds>,
    /// As the thread was last told.
    held: Vec<bool>,
    // In this order: the thread ends when it finds nobody listening.
    messages: Option<Receiver<Message<F::Record>>>,
    stop: Option<SyncSender<Infallible>>,
    ended: Stop,
    thread: Option<JoinHandle<()>>,
}

impl<F: Format> FilesReader<F> {
    pub(super) fn open(source: &Files<F>, ctx: SourceContext<FilePosition>) -> Result<Self> {
        check_rate(source.records_per_second)?;
        let ended = Stop::default();
        let found = source.pattern.find(&ended)?;
        let bounded = source.follow.is_none();
        if found.is_empty() && bounded && !ctx.is_restored {
            return Err(source.pattern.nothing());
        }
        let all = found.len();
        let mut restored: HashMap<String, FilePosition> = ctx.restored.iter().cloned().collect();
        let (mut known, mut files) = (Vec::new(), Vec::new());
        for (id, item) in found {
            if !ctx.owns(source, &id) {
                continue;
            }
            let position = restored.remove(&id);
            let thread_side = match &position {
                Some(position) => Known::restored(&id, item.clone(), position)?,
                None => Known::new(&id, item.clone()),
            };
            let mut file = File::new(thread_side.id.clone(), item);
            file.position = position.unwrap_or(file.position);
            file.position.complete = thread_side.is_at_end();
            files.push(file);
            known.push(thread_side);
        }
        if let Some((id, position)) = restored.iter().find(|(_, position)| !position.complete) {
            return Err(Error::invalid(format!(
                "{id} is no longer among the files of the source, and was read up to byte {} only: \
                 put it back",
                position.offset
            )));
        }
        let (messages, received) = sync_channel(MESSAGES);
        let (stop, stopped) = sync_channel(0);
        let (owner, info, holds) = (source.clone(), ctx.info.clone(), Arc::<Holds>::default());
        let work = Work {
            files: known,
            format: source.format.clone(),
            pattern: source.pattern.clone(),
            follow: source.follow,
            owns: Box::new(move |id| owner.owner(id, info.parallelism) == info.task.0),
            messages,
            doorbell: ctx.doorbell.clone(),
            holds: holds.clone(),
            stop: stopped,
            ended: ended.clone(),
        };
        let thread = Builder::new().name(format!("files-{}", ctx.info.operator));
        let thread = thread.spawn(move || work.run());
        let thread = thread.or_kind(Kind::Unavailable, || "cannot start a thread".to_owned())?;
        let mut reader = Self {
            files,
            splits: Vec::new(),
            gone: restored.into_keys().collect(),
            current: None,
            rate: source.records_per_second,
            pace: None,
            bounded,
            finished: false,
            holds,
            held: Vec::new(),
            messages: Some(received),
            stop: Some(stop),
            ended,
            thread: Some(thread),
        };
        reader.share(reader.files.len(), all);
        Ok(reader)
    }

    /// Takes this task's share of the rate.
    fn share(&mut self, own: usize, all: usize) {
        let share = own as f64 / all.max(1) as f64;
        match (&mut self.pace, self.rate) {
            (Some(pace), Some(rate)) => pace.set_rate(rate * share),
            (none, Some(rate)) => *none = Some(Pace::new(rate * share)),
            _ => {}
        }
    }

    /// Names files that the engine does not know yet: from here on they hold the watermark back.
    fn name_splits(&mut self, emit: &mut Emit<F::Record>) {
        for file in &self.files[self.splits.len()..] {
            let split = emit.split(&file.id);
            self.splits.push(split);
            if file.position.complete {
                say_end(emit, split, self.bounded);
            }
        }
        for id in self.gone.drain(..) {
            let split = emit.split(&id);
            say_end(emit, split, self.bounded);
        }
    }

    /// Has the thread leave alone what is too far ahead.
    fn hold(&mut self, emit: &Emit<F::Record>) {
        if emit.holds_any() || self.held.contains(&true) {
            let held: Vec<bool> = self.splits.iter().map(|split| emit.is_held(*split)).collect();
            if held != self.held {
                self.holds.say(held.clone());
                self.held = held;
            }
        }
    }

    fn take(&mut self, message: Message<F::Record>, emit: &mut Emit<F::Record>) -> Result<()> {
        match message {
            Message::Found(id, item) => {
                self.files.push(File::new(id, item));
                self.name_splits(emit);
            }
            Message::Again(file, item) => {
                let file = &mut self.files[file];
                *file = File::new(file.id.clone(), item);
            }
            Message::Records { file, decoded, start, end, head } => {
                let known = &mut self.files[file];
                known.head = head.or(known.head.take());
                known.come_to(start, false);
                let Decoded { records, ends, malformed } = decoded;
                let (records, malformed) = (records.into_iter(), malformed.into_iter().peekable());
                self.current = Some(Current { file, records, ends, malformed, start, end });
            }
            Message::End { file, place, ends } => {
                self.files[file].come_to(place, true);
                say_end(emit, self.splits[file], ends == Ends::ForGood);
            }
            Message::Gone(file) => {
                self.files[file].gone = true;
                emit.is_empty(self.splits[file]);
            }
            Message::Share { own, all } => self.share(own, all),
            Message::Failed(error) => return Err(error),
            Message::Finished => self.finished = true,
        }
        Ok(())
    }

    /// Emits up to so many records of the current block, and the malformed ones that stand before
    /// them; returns how many.
    fn emit(&mut self, emit: &mut Emit<F::Record>, room: usize) -> Result<usize> {
        let Some(current) = &mut self.current else { return Ok(0) };
        let (file, split) = (&mut self.files[current.file], self.splits[current.file]);
        let (count, begun) = (room.min(current.records.len()), current.emitted());
        if emit.wants_places() {
            let ends = current.ends[begun..begun + count].iter();
            let lines = ends.map(|end| current.start.behind(*end).lines);
            emit.places(lines.map(source::Place::Line));
        }
        emit.records(split, current.records.by_ref().take(count));
        let (emitted, is_done) = (begun + count, current.records.len() == 0);
        let passed = |record: &Undecoded| is_done || record.before < emitted;
        while let Some(record) = current.malformed.next_if(passed) {
            emit.malformed(split, &file.item.path.display(), record.into())?;
        }
        let place = match emitted.checked_sub(1) {
            _ if is_done => current.end,
            Some(last) => current.start.behind(current.ends[last]),
            None => current.start,
        };
        file.come_to(place, false);
        if is_done {
            self.current = None;
        }
        Ok(count)
    }

    /// Why the thread is gone without a word: it panicked, in the code that decodes.
    fn panicked(&mut self) -> Error {
        let panic = self.thread.take().and_then(|thread| thread.join().err());
        let text = panic.as_ref().and_then(|panic| {
            let text = panic.downcast_ref::<&str>().copied();
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        });
        Error::user(format!("panicked while decoding: {}", text.unwrap_or("no message")))
    }
}

fn say_end<T>(emit: &mut Emit<T>, split: SplitIndex, for_good: bool) {
    if for_good {
        emit.is_finished(split);
    } else {
        emit.is_empty(split);
    }
}

impl<F: Format> Reader for FilesReader<F> {
    type Item = F::Record;
    type Position = FilePosition;

    fn poll(&mut self, emit: &mut Emit<F::Record>) -> Result<Poll> {
        self.name_splits(emit);
        self.hold(emit);
        let now = emit.now();
        let mut room = emit.room();
        let due = self.pace.as_mut().map(|pace| pace.due(now));
        room = due.map_or(room, |due| due.min(room));
        loop {
            let emitted = self.emit(emit, room)?;
            room -= emitted;
            if let Some(pace) = &mut self.pace {
                pace.made(emitted);
            }
            if self.current.is_some() || emit.room() == 0 {
                break;
            }
            if self.finished {
                return Ok(Poll::Finished);
            }
            let received =
                self.messages.as_ref().map_or(Err(TryRecvError::Disconnected), Receiver::try_recv);
            match received {
                Ok(message) => self.take(message, emit)?,
                Err(TryRecvError::Empty) => return Ok(Poll::Pending),
                Err(TryRecvError::Disconnected) => return Err(self.panicked()),
            }
        }
        match &self.pace {
            Some(pace) if emit.room() > 0 => Ok(Poll::Until(pace.next(now))),
            _ => Ok(Poll::Ready),
        }
    }

    fn holds_splits(&self) -> bool {
        true
    }

    fn positions(&self) -> Vec<(Arc<str>, FilePosition)> {
        let live = self.files.iter().filter(|file| !file.gone);
        live.map(|file| (file.id.clone(), file.kept())).collect()
    }
}

impl<F: Format> Drop for FilesReader<F> {
    fn drop(&mut self) {
        self.messages = None;
        self.stop = None;
        self.ended.set();
        if let Some(thread) = self.thread.take() {
            // It waits for nothing but the disk now; its panic was reported, or nobody cares any
            // more.
            let _ = thread.join();
        }
    }
}
