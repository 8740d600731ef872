//! [`Outbox`]: what a task has taken in and not yet made visible, in memory up to a bound, behind
//! that in a local file; and [`Content`], the part of it that belongs to one epoch.
//!
//! Filled by the writer; its content travels to the committer, and into the snapshot, from which it
//! is read back after a failure. Invariant: every byte is counted until the last clone of its
//! content is gone, so that what is on its way to the broker still takes room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::ser::{Error as _, SerializeSeq as _, SerializeStruct as _};
use serde::{Deserialize, Serialize, Serializer};

use super::blob::Blob;
use super::message::Stored;
use crate::error::{Error, Kind, Result};
use crate::spill::Spill;

/// Messages are kept together up to so many bytes: few enough to read one back into memory, enough
/// to make little of what each takes beside.
const CHUNK_BYTES: usize = 256 << 10;
/// The outbox takes this many times its bound before it fails: what is taken beyond it are the
/// records before a barrier, which may be a thousand in each batch of each channel, and what a
/// window puts out at once.
const OVERFLOW: u64 = 8;
/// Version of [`Stored`] in the chunks.
const FORMAT: u8 = 1;

/// How much an outbox may hold.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Bytes in memory.
    pub(super) memory_bytes: u64,
    /// Bytes in memory and in files, for each task.
    pub(super) bytes: u64,
    /// Where files are made.
    pub(super) directory: PathBuf,
}

/// What all contents of a task hold.
#[derive(Debug, Default)]
struct Usage {
    memory: AtomicU64,
    total: AtomicU64,
}

/// A chunk's share of the usage, given back when it is gone.
#[derive(Debug)]
struct Charge {
    usage: Arc<Usage>,
    memory: u64,
    total: u64,
}

impl Charge {
    fn new(usage: &Arc<Usage>, memory: u64, total: u64) -> Self {
        usage.memory.fetch_add(memory, Ordering::Relaxed);
        usage.total.fetch_add(total, Ordering::Relaxed);
        Self { usage: usage.clone(), memory, total }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.usage.memory.fetch_sub(self.memory, Ordering::Relaxed);
        self.usage.total.fetch_sub(self.total, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Chunk {
    records: u64,
    place: Place,
    /// Given back when the chunk is gone.
    #[expect(dead_code, reason = "it is there to be dropped")]
    charge: Charge,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File { file: Arc<Spill>, offset: u64, length: usize },
}

fn fail(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Kind::Invalid,
        _ => Kind::Unavailable,
    };
    let message = format!("{what} the outbox {}: {error}: see `spill_to`", path.display());
    Error::new(kind, message)
}

/// The messages of one epoch, in order. Clones share them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Kept")]
pub(super) struct Content {
    records: u64,
    chunks: Vec<Arc<Chunk>>,
}

impl Content {
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Hands each message over, in order.
    pub(super) fn each(&self, mut take: impl FnMut(&Stored<'_>) -> Result<()>) -> Result<()> {
        for chunk in &self.chunks {
            let read;
            let mut rest = match &chunk.place {
                Place::Memory(bytes) => &bytes[..],
                Place::File { .. } => {
                    read = chunk.read()?;
                    &read
                }
            };
            for _ in 0..chunk.records {
                let (message, behind) = Stored::take_from(rest)?;
                take(&message)?;
                rest = behind;
            }
        }
        Ok(())
    }
}

impl Chunk {
    /// The bytes of a chunk that is in a file.
    fn read(&self) -> Result<Vec<u8>> {
        let Place::File { file, offset, length } = &self.place else { return Ok(Vec::new()) };
        let read = file.read(*offset, *length);
        read.map_err(|error| fail("cannot read", file.path(), error))
    }
}

/// A content in a snapshot: its serde form.
#[derive(Deserialize)]
#[serde(rename = "Outbox")]
struct Kept {
    #[expect(dead_code, reason = "there is one so far; the next version will tell by it")]
    format: u8,
    records: u64,
    chunks: Vec<(u64, Blob<Vec<u8>>)>,
}

impl From<Kept> for Content {
    fn from(kept: Kept) -> Self {
        // What was restored is not counted: it is committed before the first record comes.
        let chunk = |(records, Blob(bytes))| {
            let charge = Charge::new(&Arc::default(), 0, 0);
            Arc::new(Chunk { records, place: Place::Memory(bytes), charge })
        };
        Self { records: kept.records, chunks: kept.chunks.into_iter().map(chunk).collect() }
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut kept = serializer.serialize_struct("Outbox", 3)?;
        kept.serialize_field("format", &FORMAT)?;
        kept.serialize_field("records", &self.records)?;
        kept.serialize_field("chunks", &Chunks(&self.chunks))?;
        kept.end()
    }
}

struct Chunks<'a>(&'a [Arc<Chunk>]);

impl Serialize for Chunks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut chunks = serializer.serialize_seq(Some(self.0.len()))?;
        for chunk in self.0 {
            match &chunk.place {
                Place::Memory(bytes) => chunks.serialize_element(&(chunk.records, Blob(bytes)))?,
                Place::File { .. } => {
                    let bytes = chunk.read().map_err(|error| {
                        // The encoder keeps no words.
                        tracing::warn!("{error}");
                        S::Error::custom(error)
                    })?;
                    chunks.serialize_element(&(chunk.records, Blob(bytes)))?;
                }
            }
        }
        chunks.end()
    }
}

/// What a task has taken in and not yet made visible.
#[derive(Debug)]
pub(super) struct Outbox {
    limits: Limits,
    usage: Arc<Usage>,
    /// Messages that are not yet a chunk.
    open: Vec<u8>,
    open_records: u64,
    content: Content,
    /// Of the epoch that is being filled.
    spill: Option<Arc<Spill>>,
    /// Bytes of this epoch, and of those that were given up: what the next barrier takes along.
    unsettled_bytes: u64,
    /// Those of the snapshot that is under way.
    riding_bytes: u64,
}

impl Outbox {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            usage: Arc::default(),
            open: Vec::new(),
            open_records: 0,
            content: Content::default(),
            spill: None,
            unsettled_bytes: 0,
            riding_bytes: 0,
        }
    }

    /// Takes a message in.
    pub(super) fn push(&mut self, message: &Stored<'_>) -> Result<()> {
        let before = self.open.len();
        message.append_to(&mut self.open)?;
        self.open_records += 1;
        self.unsettled_bytes += (self.open.len() - before) as u64;
        if self.open.len() >= CHUNK_BYTES { self.close() } else { Ok(()) }
    }

    /// Makes a chunk of what is open.
    fn close(&mut self) -> Result<()> {
        if self.open_records == 0 {
            return Ok(());
        }
        let held = self.held_bytes();
        if held > self.limits.bytes.saturating_mul(OVERFLOW) {
            return Err(Error::invalid(format!(
                "more than {held} bytes wait for a snapshot, {OVERFLOW} times as much as the \
                 outbox may hold: raise `outbox_bytes`, or make the stream put out less at once"
            )));
        }
        let records = std::mem::take(&mut self.open_records);
        let bytes = std::mem::take(&mut self.open);
        let length = bytes.len() as u64;
        let in_memory = self.usage.memory.load(Ordering::Relaxed) + length;
        let (place, memory) = if in_memory <= self.limits.memory_bytes {
            (Place::Memory(bytes), length)
        } else {
            let place = self.spill(&bytes)?;
            self.open = bytes;
            self.open.clear();
            (place, 0)
        };
        let charge = Charge::new(&self.usage, memory, length);
        self.content.records += records;
        self.content.chunks.push(Arc::new(Chunk { records, place, charge }));
        Ok(())
    }

    fn spill(&mut self, bytes: &[u8]) -> Result<Place> {
        let file = if let Some(file) = &self.spill {
            file.clone()
        } else {
            let made = Spill::create(&self.limits.directory, "outbox");
            let made = made.map_err(|(path, error)| fail("cannot create", &path, error))?;
            self.spill.insert(Arc::new(made)).clone()
        };
        let written = file.append(bytes);
        let offset = written.map_err(|error| fail("cannot write", file.path(), error))?;
        Ok(Place::File { file, offset, length: bytes.len() })
    }

    /// Everything that was taken in since the last call.
    pub(super) fn take(&mut self) -> Result<Content> {
        self.close()?;
        self.spill = None;
        self.riding_bytes = std::mem::take(&mut self.unsettled_bytes);
        Ok(std::mem::take(&mut self.content))
    }

    /// The snapshot that took what there was is published, or given up.
    pub(super) fn settled(&mut self, published: bool) {
        let riding = std::mem::take(&mut self.riding_bytes);
        if !published {
            self.unsettled_bytes += riding;
        }
    }

    /// Bytes that are not visible yet, those that are being committed included.
    fn held_bytes(&self) -> u64 {
        self.usage.total.load(Ordering::Relaxed) + self.open.len() as u64
    }

    pub(super) fn is_full(&self) -> bool {
        self.held_bytes() >= self.limits.bytes
    }

    /// Whether a snapshot would make much room.
    pub(super) fn is_half_full(&self) -> bool {
        self.unsettled_bytes >= self.limits.bytes / 2
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::OutboundMessage;
    use super::*;
    use crate::time::Timestamp;

    fn outbox(memory_bytes: u64, directory: &Path) -> Outbox {
        Outbox::new(Limits { memory_bytes, bytes: 4 << 20, directory: directory.to_owned() })
    }

    fn push(outbox: &mut Outbox, number: u32) {
        let mut message = OutboundMessage::default();
        message.begin(Timestamp(1));
        message.set_key(number.to_string());
        message.value_mut().resize(10_000, number as u8);
        outbox.push(&message.stored()).unwrap();
    }

    fn keys(content: &Content) -> Vec<String> {
        let mut keys = Vec::new();
        let read = content.each(|message| {
            assert_eq!(message.value.unwrap().0.len(), 10_000);
            keys.push(String::from_utf8(message.key.unwrap().0.to_vec()).unwrap());
            Ok(())
        });
        read.unwrap();
        keys
    }

    #[test]
    fn what_lies_in_memory_or_in_a_file_is_the_same_in_order_and_in_a_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        let mut snapshots = Vec::new();
        for memory_bytes in [u64::MAX, 400_000, 0] {
            let mut outbox = outbox(memory_bytes, directory.path());
            (0..100).for_each(|number| push(&mut outbox, number));
            let content = outbox.take().unwrap();
            assert_eq!((content.records(), keys(&content)), (100, expected.clone()));
            let spilled = content.chunks.iter().filter(|it| matches!(it.place, Place::File { .. }));
            assert_eq!(spilled.count() > 0, memory_bytes < u64::MAX);
            assert!(outbox.take().unwrap().is_empty());
            snapshots.push(postcard::to_stdvec(&content).unwrap());
        }
        assert!(snapshots.iter().all(|snapshot| *snapshot == snapshots[0]));
        let restored: Content = postcard::from_bytes(&snapshots[0]).unwrap();
        assert_eq!(keys(&restored), expected);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_being_committed_takes_room_until_it_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let mut outbox = outbox(1 << 20, directory.path());
        (0..230).for_each(|number| push(&mut outbox, number));
        assert!(outbox.is_half_full() && !outbox.is_full());
        let content = outbox.take().unwrap();
        assert!(!outbox.is_half_full(), "it rides with a snapshot");
        (0..230).for_each(|number| push(&mut outbox, number));
        assert!(outbox.is_full());
        outbox.settled(false);
        assert!(outbox.is_half_full(), "it waits for the next");
        drop(content);
        assert!(!outbox.is_full());
        let one_more_than_it_takes = (0..4000).try_for_each(|number| {
            let mut message = OutboundMessage::default();
            message.value_mut().resize(10_000, number as u8);
            outbox.push(&message.stored())
        });
        let error = one_more_than_it_takes.unwrap_err().to_string();
        assert!(error.contains("raise `outbox_bytes`"), "{error}");
        let nowhere = directory.path().join("nowhere");
        let mut outbox =
            Outbox::new(Limits { memory_bytes: 0, bytes: 1 << 20, directory: nowhere });
        let error = (0..100).find_map(|number| {
            let mut message = OutboundMessage::default();
            message.value_mut().resize(10_000, number);
            outbox.push(&message.stored()).err()
        });
        let error = error.unwrap();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("nowhere/millstream-outbox-"), "{error}");
    }
}
