//! The encoder: a thread that turns captured chunks into shares, off the engine threads.
//!
//! Receives chunks from the nodes of [`crate::task`] over a bounded queue (a node whose chunk finds
//! no room tries again in its next step), hands finished shares to whoever runs the engine.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use millstream_protocol::id::{Epoch, TaskIndex};
use millstream_protocol::key_group::KeyGroups;

use super::share::{Index, Writer};
use crate::error::Result;
use crate::state::{Buckets, Chunk};

/// Chunks waiting for the encoder. Each holds at most a scan slice.
const QUEUE_CHUNKS: usize = 64;
/// Bytes of chunks waiting for the encoder, with one chunk more: a slice of large entries has
/// megabytes.
const QUEUE_BYTES: usize = 8 << 20;

/// Which operator instance a share is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ShareKey {
    pub(crate) operator: Arc<str>,
    pub(crate) task: TaskIndex,
    pub(crate) epoch: Epoch,
}

/// What must happen before a share counts: a sink's pending files are brought to disk here.
pub type Durable = Box<dyn FnOnce() -> Result<()> + Send>;

/// An item of a list state that is put into bytes off the engine thread.
pub type Late = Box<dyn FnOnce() -> Result<Vec<u8>> + Send>;

/// What a node sends to the encoder.
pub(crate) enum Piece {
    /// Entries of the keyed state with this place in the operator's list of states.
    Chunk(ShareKey, usize, Box<dyn Chunk>),
    /// All chunks of a share are sent; the index lacks only the blocks.
    Finish(ShareKey, Box<Finish>),
    /// Forget shares of this epoch and earlier ones.
    Forget(Epoch),
}

/// The end of a share.
pub(crate) struct Finish {
    pub(crate) index: Index,
    pub(crate) states: Vec<String>,
    pub(crate) durable: Vec<Durable>,
    /// List states beside those in the index.
    pub(crate) late: Vec<(String, Vec<Late>)>,
    pub(crate) facts: ShareFacts,
}

/// What whoever publishes needs to know of a share besides its bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShareFacts {
    /// The share holds a commit that its sink has to make.
    pub pending_commit: bool,
    /// All inputs of the instance had ended.
    pub ended: bool,
}

/// A finished share.
#[derive(Clone, Debug)]
pub struct Share {
    /// What it holds.
    pub index: Index,
    /// How many entries of keyed state.
    pub entries: u64,
    /// Its bytes, in pieces.
    pub pieces: Vec<Vec<u8>>,
    /// What else is to know.
    pub facts: ShareFacts,
}

impl Share {
    /// How many bytes it has.
    pub fn len(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Whether it has none: no share that was finished.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The checksum of its bytes: CRC32C.
    pub fn checksum(&self) -> u32 {
        self.pieces.iter().fold(0, |sum, piece| crc32c::crc32c_append(sum, piece))
    }

    /// Its bytes in one piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// Where nodes put their pieces.
#[derive(Clone)]
pub struct Encoder {
    pieces: SyncSender<Piece>,
    /// Of the chunks that wait.
    bytes: Arc<AtomicUsize>,
}

impl Encoder {
    /// Hands over a piece, or gives it back when the queue is full or the encoder is gone.
    pub(crate) fn offer(&self, piece: Piece) -> Result<(), Piece> {
        let bytes = piece.bytes();
        if bytes > 0 && self.bytes.load(Ordering::Relaxed) >= QUEUE_BYTES {
            return Err(piece);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.pieces.try_send(piece) {
            // Without an encoder the engine is being dropped: nobody waits for the share.
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
            Err(TrySendError::Full(piece)) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(piece)
            }
        }
    }
}

impl Piece {
    fn bytes(&self) -> usize {
        if let Self::Chunk(_, _, chunk) = self { chunk.bytes() } else { 0 }
    }
}

/// Makes an encoder and the work that its thread does until all its handles are gone. `deliver`
/// gets each share or the reason why there is none.
pub(crate) fn encoder(
    groups: KeyGroups,
    deliver: impl Fn(ShareKey, Result<Share>) + Send,
) -> (Encoder, impl FnOnce() + Send) {
    let (sender, receiver) = sync_channel(QUEUE_CHUNKS);
    let bytes = Arc::new(AtomicUsize::new(0));
    let encoder = Encoder { pieces: sender, bytes: bytes.clone() };
    let taken = move |piece: &Piece| {
        bytes.fetch_sub(piece.bytes(), Ordering::Relaxed);
    };
    (encoder, move || work(groups, &receiver, &taken, &deliver))
}

fn work(
    groups: KeyGroups,
    pieces: &Receiver<Piece>,
    taken: &impl Fn(&Piece),
    deliver: &impl Fn(ShareKey, Result<Share>),
) {
    // The buckets of each open share, by state; an error in place of them once one occurred.
    let mut open: HashMap<ShareKey, Result<HashMap<usize, Buckets>>> = HashMap::new();
    while let Ok(piece) = pieces.recv() {
        taken(&piece);
        match piece {
            Piece::Chunk(key, state, chunk) => {
                let range = groups.all();
                let share = open.entry(key).or_insert_with(|| Ok(HashMap::new()));
                if let Ok(states) = share {
                    let buckets =
                        states.entry(state).or_insert_with(|| Buckets::new(groups, range));
                    if let Err(error) = chunk.encode(buckets) {
                        *share = Err(error);
                    }
                }
            }
            Piece::Finish(key, finish) => {
                let states = open.remove(&key).unwrap_or_else(|| Ok(HashMap::new()));
                let share = states.and_then(|states| finish_share(*finish, states));
                deliver(key, share);
            }
            Piece::Forget(epoch) => open.retain(|key, _| key.epoch > epoch),
        }
    }
}

fn finish_share(mut finish: Finish, mut states: HashMap<usize, Buckets>) -> Result<Share> {
    for durable in finish.durable {
        durable()?;
    }
    for (name, items) in finish.late {
        let items = items.into_iter().map(|item| item()).collect::<Result<_>>()?;
        finish.index.lists.push((name, items));
    }
    let mut writer = Writer::new(finish.index.clone());
    let mut total = 0;
    for (place, name) in finish.states.iter().enumerate() {
        if let Some(buckets) = states.remove(&place) {
            total += buckets.entries();
            writer.state(name, buckets)?;
        }
    }
    let pieces = writer.finish()?;
    Ok(Share { index: finish.index, entries: total, pieces, facts: finish.facts })
}
