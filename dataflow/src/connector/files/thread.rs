//! [`Work`]: the thread that reads and decodes the files of one task.
//!
//! Started by [`super::reader`], to which it sends [`Message`]s over a bounded queue. It decodes
//! too, rather than hand lines to the engine thread: that saves copying them (a tenth of the CPU
//! time of a chain of JSON records, measured), and a job with one file has a second core for it.
//! Invariant: what it says of a file, it says in the order of the file.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

use super::FilePosition;
use super::find::{Found, Pattern};
use super::head::Head;
use super::hold::Holds;
use super::input::{Next, OpenFile, Place, Resume, check_head, head_of, too_short};
use super::item::{Item, Stop};
use crate::connector::format::{Decoded, Ends, Format};
use crate::error::{Error, Result};
use crate::task::Doorbell;

/// Files open at once. Each costs a handle and some 200 KiB of buffers; more are read no faster.
const OPEN_FILES: usize = 64;

/// Objects open at once. Each has two pieces of 4 MiB in memory, and as many requests fill a line
/// of 5 Gbit/s at 50 ms of delay.
const OPEN_OBJECTS: usize = 8;

/// Messages under way to the engine. Each holds a block, so that this bounds memory, and four keep
/// both sides busy.
pub(super) const MESSAGES: usize = 4;

/// Blocks between two looks for new files while there is something to read: 32 MiB.
const LOOK_BLOCKS: u32 = 256;

/// Before it is looked again whether a file may be read, where all that are open are too far ahead.
const HELD_PAUSE: Duration = Duration::from_millis(5);

/// What the thread says. Files go by their place in the list.
pub(super) enum Message<T> {
    /// A new file.
    Found(Arc<str>, Item),
    /// A file that was gone is there again, with new content.
    Again(usize, Item),
    /// Records, where their block begins and ends, and the head of their file if it is news.
    Records { file: usize, decoded: Decoded<T>, start: Place, end: Place, head: Option<Head> },
    /// All is read that the file holds, up to this place; for good?
    End { file: usize, place: Place, ends: Ends },
    /// A file that was read is gone.
    Gone(usize),
    /// This task reads so many of all files.
    Share { own: usize, all: usize },
    /// Nothing more can be read.
    Failed(Error),
    /// There is nothing more to read.
    Finished,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Open,
    /// Read to its end; it may grow.
    AtEnd,
    /// Never to be read again.
    Done,
    Gone,
}

/// A file of this task.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: Arc<str>,
    item: Item,
    /// Where to go on; None is the beginning, a header included.
    resume: Option<Resume>,
    /// Its length when it was last opened.
    seen_bytes: u64,
    state: State,
}

impl Known {
    /// A file that is read from its beginning.
    pub(super) fn new(id: &str, item: Item) -> Self {
        Self { id: id.into(), item, resume: None, seen_bytes: 0, state: State::Waiting }
    }

    /// A file that is read on from a position.
    pub(super) fn restored(id: &str, item: Item, position: &FilePosition) -> Result<Self> {
        item.check_version(&position.version)?;
        let mut known = Self::new(id, item);
        let FilePosition { offset, lines, complete, head, .. } = *position;
        let place = Place { offset, lines };
        known.resume = (offset > 0).then_some(Resume { place, head });
        let (item, path) = (&known.item, &known.item.path);
        if !item.is_fixed() {
            if item.bytes()? < offset {
                return Err(too_short(path, offset, item.bytes()?));
            }
            check_head(path, &head_of(item, offset)?, offset, head)?;
            if complete && item.bytes()? == offset {
                known.state = State::AtEnd;
                known.seen_bytes = offset;
            }
        } else if complete {
            known.state = State::Done;
        }
        Ok(known)
    }

    /// Whether there was nothing left to read of it when the job was restored.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.state, State::AtEnd | State::Done)
    }

    /// Fails if the file, read to its end, has become shorter than what was read.
    fn check_length(&self, read: u64) -> Result<()> {
        match self.item.bytes() {
            Ok(bytes) if bytes < read && !self.item.is_fixed() => {
                Err(too_short(&self.item.path, read, bytes))
            }
            // Removed since it was opened: it was read to its end all the same.
            _ => Ok(()),
        }
    }
}

/// What the thread works on.
pub(super) struct Work<F: Format> {
    pub(super) files: Vec<Known>,
    pub(super) format: F,
    pub(super) pattern: Pattern,
    pub(super) follow: Option<Duration>,
    /// Whether this task reads a file.
    pub(super) owns: Box<dyn Fn(&str) -> bool + Send>,
    pub(super) messages: SyncSender<Message<F::Record>>,
    pub(super) doorbell: Doorbell,
    pub(super) holds: Arc<Holds>,
    /// Disconnected when the reader is dropped.
    pub(super) stop: Receiver<Infallible>,
    /// Set then: ends waits for a network.
    pub(super) ended: Stop,
}

/// The reader is gone: nothing more is wanted.
struct Stopped;

/// Why the thread ends before its files do.
enum Halt {
    Stopped,
    Failed(Error),
}

impl From<Stopped> for Halt {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<F: Format> Work<F> {
    /// Reads until there is nothing more to read, or nobody wants it.
    pub(super) fn run(self) {
        let (messages, doorbell) = (self.messages.clone(), self.doorbell.clone());
        let last = match Reading::new(self).run() {
            Ok(()) => Message::Finished,
            Err(Halt::Failed(error)) => Message::Failed(error),
            Err(Halt::Stopped) => return,
        };
        let _ = messages.send(last);
        doorbell.ring();
    }
}

/// The files of one task, being read.
struct Reading<F: Format> {
    work: Work<F>,
    by_id: BTreeMap<Arc<str>, usize>,
    /// In order of name.
    waiting: BTreeMap<Arc<str>, usize>,
    open: VecDeque<(usize, OpenFile<F>)>,
}

impl<F: Format> Reading<F> {
    fn new(work: Work<F>) -> Self {
        let named = work.files.iter().enumerate().map(|(file, known)| (known.id.clone(), file));
        let by_id: BTreeMap<_, _> = named.collect();
        let waits = |file: &usize| work.files[*file].state == State::Waiting;
        let waiting = by_id.clone().into_iter().filter(|(_, file)| waits(file)).collect();
        Self { work, by_id, waiting, open: VecDeque::new() }
    }

    fn run(mut self) -> Result<(), Halt> {
        let mut blocks = 0;
        if let Some(interval) = self.work.follow {
            // Files may have come since the list was made; the first look must not wait.
            self.look()?;
            loop {
                self.fill_open()?;
                if self.open.is_empty() {
                    self.wait(interval)?;
                } else if blocks < LOOK_BLOCKS {
                    blocks += 1;
                    self.read_block()?;
                    continue;
                }
                blocks = 0;
                self.look()?;
            }
        }
        loop {
            self.fill_open()?;
            if self.open.is_empty() {
                return Ok(());
            }
            self.read_block()?;
        }
    }

    fn wait(&self, interval: Duration) -> Result<(), Stopped> {
        match self.work.stop.recv_timeout(interval) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => Err(Stopped),
        }
    }

    fn send(&self, message: Message<F::Record>) -> Result<(), Stopped> {
        self.work.messages.send(message).map_err(|_| Stopped)?;
        self.work.doorbell.ring();
        Ok(())
    }

    /// Opens files that wait, while there are handles.
    fn fill_open(&mut self) -> Result<(), Halt> {
        let most = if self.work.pattern.is_in_bucket() { OPEN_OBJECTS } else { OPEN_FILES };
        while self.open.len() < most {
            let Some((_, file)) = self.waiting.pop_first() else { break };
            let ends = if self.work.follow.is_some() { Ends::ForNow } else { Ends::ForGood };
            let known = &mut self.work.files[file];
            known.seen_bytes = known.item.bytes()?;
            match OpenFile::open(&known.item, &self.work.format, known.resume, ends)? {
                Some(open) => {
                    known.state = State::Open;
                    self.open.push_back((file, open));
                }
                None => known.state = State::AtEnd,
            }
        }
        Ok(())
    }

    /// The place of the file whose turn it is. Where files wait for one to be read to its end, all
    /// that are open are read, however far ahead they are.
    fn turn(&self) -> Option<usize> {
        let first = self.work.holds.first(self.open.iter().map(|(file, _)| *file));
        first.or_else(|| (!self.waiting.is_empty()).then_some(0))
    }

    /// Reads a block of the file whose turn it is.
    fn read_block(&mut self) -> Result<(), Halt> {
        let Some(turn) = self.turn() else { return Ok(self.wait(HELD_PAUSE)?) };
        let Some((file, mut open)) = self.open.remove(turn) else { return Ok(()) };
        let known = &mut self.work.files[file];
        match open.next(&known.item.path)? {
            Next::Records { decoded, start, end, head } => {
                known.resume = Some(open.resume());
                self.send(Message::Records { file, decoded, start, end, head })?;
                self.open.push_back((file, open));
            }
            Next::End => {
                let (place, ends) = (open.place(), open.ends());
                known.check_length(place.offset)?;
                known.resume = Some(open.resume());
                known.state = if ends == Ends::ForGood { State::Done } else { State::AtEnd };
                self.send(Message::End { file, place, ends })?;
            }
        }
        Ok(())
    }

    /// Looks which files are new, have grown, or are gone.
    fn look(&mut self) -> Result<(), Halt> {
        let found = self.work.pattern.find(&self.work.ended)?;
        for (id, item) in &found {
            match self.by_id.get(&**id) {
                Some(&file) => self.look_at(file, item)?,
                None if (self.work.owns)(id) => {
                    let (file, known) = (self.work.files.len(), Known::new(id, item.clone()));
                    self.by_id.insert(known.id.clone(), file);
                    self.waiting.insert(known.id.clone(), file);
                    self.send(Message::Found(known.id.clone(), item.clone()))?;
                    self.work.files.push(known);
                }
                None => {}
            }
        }
        self.look_for_gone(&found)?;
        let own = self.work.files.iter().filter(|known| known.state != State::Gone).count();
        self.send(Message::Share { own, all: found.len() })?;
        Ok(())
    }

    /// Looks at a known file that is there.
    fn look_at(&mut self, file: usize, found: &Item) -> Result<(), Halt> {
        let known = &mut self.work.files[file];
        if known.state != State::Gone {
            found.check_version(known.item.version())?;
        }
        let read = known.resume.map_or(0, |resume| resume.place.offset);
        match known.state {
            State::AtEnd => {
                let bytes = known.item.bytes()?;
                if bytes < read {
                    return Err(too_short(&known.item.path, read, bytes).into());
                }
                if bytes == read || bytes == known.seen_bytes {
                    return Ok(());
                }
            }
            State::Gone => {
                (known.resume, known.item) = (None, found.clone());
                self.send(Message::Again(file, found.clone()))?;
            }
            State::Waiting | State::Open | State::Done => return Ok(()),
        }
        let known = &mut self.work.files[file];
        known.state = State::Waiting;
        self.waiting.insert(known.id.clone(), file);
        Ok(())
    }

    fn look_for_gone(&mut self, found: &Found) -> Result<(), Halt> {
        for file in 0..self.work.files.len() {
            let known = &mut self.work.files[file];
            if found.contains_key(&*known.id) {
                continue;
            }
            match known.state {
                State::Waiting => {
                    let path = known.item.path.display();
                    return Err(Error::invalid(format!(
                        "{path} was removed before it was read to its end: put it back"
                    ))
                    .into());
                }
                State::AtEnd | State::Done => {
                    known.state = State::Gone;
                    self.send(Message::Gone(file))?;
                }
                State::Open | State::Gone => {}
            }
        }
        Ok(())
    }
}
