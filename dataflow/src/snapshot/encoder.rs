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

use super::body::Body;
use super::share::{Index, Packer, Writer};
use super::spool::{Spool, SpoolBound};
use crate::error::Result;
use crate::state::{Buckets, Chunk};

/// Chunks waiting for the encoder. Each holds at most a scan slice.
const QUEUE_CHUNKS: usize = 64;
/// Bytes of chunks waiting for the encoder, with one chunk more: a slice of large entries has
/// megabytes.
const QUEUE_BYTES: usize = 8 << 20;
/// Entries of all shares together that are not yet compressed, and where memory is bounded.
const RAW_BYTES: usize = 128 << 20;
const RAW_BYTES_BOUNDED: usize = 16 << 20;
/// Those of a state of one share, at least and at most: enough for blocks of a good size in each
/// key group's turn.
const RAW_BYTES_EACH: (usize, usize) = (1 << 20, 16 << 20);

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
    /// Its bytes.
    pub body: Body,
    /// What else is to know.
    pub facts: ShareFacts,
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

/// What an encoder is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct EncoderSpec {
    pub(crate) groups: KeyGroups,
    /// How many shares of an epoch there are.
    pub(crate) shares: usize,
    /// Where memory is bounded, how much of an epoch may be there.
    pub(crate) bound: Option<SpoolBound>,
}

impl EncoderSpec {
    /// Bytes that a state of a share may hold before they are compressed.
    fn raw_bytes(&self) -> usize {
        let all = if self.bound.is_some() { RAW_BYTES_BOUNDED } else { RAW_BYTES };
        (all / self.shares.max(1)).clamp(RAW_BYTES_EACH.0, RAW_BYTES_EACH.1)
    }
}

/// Makes an encoder and the work that its thread does until all its handles are gone. `deliver`
/// gets each share or the reason why there is none.
pub(crate) fn encoder(
    into: EncoderSpec,
    deliver: impl Fn(ShareKey, Result<Share>) + Send,
) -> (Encoder, impl FnOnce() + Send) {
    let (sender, receiver) = sync_channel(QUEUE_CHUNKS);
    let bytes = Arc::new(AtomicUsize::new(0));
    let encoder = Encoder { pieces: sender, bytes: bytes.clone() };
    let taken = move |piece: &Piece| {
        bytes.fetch_sub(piece.bytes(), Ordering::Relaxed);
    };
    (encoder, move || work(&into, &receiver, &taken, &deliver))
}

fn work(
    spec: &EncoderSpec,
    pieces: &Receiver<Piece>,
    taken: &impl Fn(&Piece),
    deliver: &impl Fn(ShareKey, Result<Share>),
) {
    // The buckets of each open share, by state; an error in place of them once one occurred.
    let mut open: HashMap<ShareKey, Result<HashMap<usize, Buckets>>> = HashMap::new();
    let spool = Spool::new(spec.bound.clone());
    let raw_bytes = spec.raw_bytes();
    while let Ok(piece) = pieces.recv() {
        taken(&piece);
        match piece {
            Piece::Chunk(key, state, chunk) => {
                spool.begin(key.epoch);
                let share = open.entry(key).or_insert_with(|| Ok(HashMap::new()));
                if let Ok(states) = share {
                    let buckets = states.entry(state).or_insert_with(|| {
                        let packer = Packer::new(spool.clone());
                        Buckets::packed_by(packer, raw_bytes, spec.groups)
                    });
                    if let Err(error) = chunk.encode(buckets) {
                        *share = Err(error);
                    }
                }
            }
            Piece::Finish(key, finish) => {
                let states = open.remove(&key).unwrap_or_else(|| Ok(HashMap::new()));
                let share = states.and_then(|states| finish_share(*finish, states, &spool));
                deliver(key, share);
            }
            Piece::Forget(epoch) => open.retain(|key, _| key.epoch > epoch),
        }
    }
}

fn finish_share(
    mut finish: Finish,
    mut states: HashMap<usize, Buckets>,
    spool: &Spool,
) -> Result<Share> {
    for durable in finish.durable {
        durable().map_err(|error| error.in_operator(&finish.index.operator))?;
    }
    for (name, items) in finish.late {
        let items = items.into_iter().map(|item| item()).collect::<Result<_>>()?;
        finish.index.lists.push((name, items));
    }
    let mut writer = Writer::new(finish.index.clone(), spool.clone());
    let mut total = 0;
    for (place, name) in finish.states.iter().enumerate() {
        if let Some(buckets) = states.remove(&place) {
            total += buckets.entries();
            writer.state(name, buckets)?;
        }
    }
    let body = writer.finish()?;
    Ok(Share { index: finish.index, entries: total, body, facts: finish.facts })
}
