//! [`Links`]: what the tasks of one process send to those of others in one run, and get from them.
//!
//! Made by [`crate::plan`] with the tasks, used by the worker, which carries the messages. Closed
//! with the engine: then no frame of the run comes or goes any more.

use std::collections::HashMap;
use std::sync::Arc;

use millstream_protocol::id::{Run, WorkerIndex};

use super::codec::Codec;
use super::credit::{self, Grants, Limit};
use super::frame;
use super::inlet::Inlet;
use super::lane::Lane;
use super::{RemoteReceiver, RemoteSender};
use crate::error::{Error, Result};
use crate::task::Doorbell;

/// What all channels into one process may hold together.
const WINDOWS: u64 = 64 << 20;
/// What one channel may hold, at least and at most: a frame must fit, and a round trip be covered.
const WINDOW_MIN: u64 = 64 << 10;
const WINDOW_MAX: u64 = 1 << 20;

/// The channels between one process and each of the others, in one run.
#[derive(Clone, Debug)]
pub struct Links {
    run: Run,
    peers: Arc<HashMap<WorkerIndex, Peer>>,
}

#[derive(Clone, Debug, Default)]
struct Peer {
    lane: Arc<Lane>,
    limits: Arc<HashMap<u32, Arc<Limit>>>,
    inlets: Arc<HashMap<u32, Arc<Inlet>>>,
    grants: Arc<Grants>,
}

impl Links {
    /// The processes that there are channels to or from.
    pub fn peers(&self) -> Vec<WorkerIndex> {
        let mut peers: Vec<WorkerIndex> = self.peers.keys().copied().collect();
        peers.sort_unstable();
        peers
    }

    /// What goes to this process.
    pub fn outgoing(&self, to: WorkerIndex) -> Option<Outgoing> {
        let Peer { lane, limits, .. } = self.peers.get(&to)?.clone();
        Some(Outgoing { lane, limits })
    }

    /// What comes from this process.
    pub fn incoming(&self, from: WorkerIndex) -> Option<Incoming> {
        let Peer { inlets, grants, .. } = self.peers.get(&from)?.clone();
        Some(Incoming { run: self.run, inlets, grants })
    }

    /// What has gone to and come from each of them.
    pub fn counts(&self) -> Vec<LinkCounts> {
        let counts = |worker: WorkerIndex| {
            let peer = &self.peers[&worker];
            let ((frames_sent, bytes_sent), bytes_waiting) = peer.lane.counts();
            let mut counts = LinkCounts {
                worker,
                frames_sent,
                bytes_sent,
                bytes_waiting,
                frames_received: 0,
                bytes_received: 0,
                bytes_of_room: 0,
            };
            for inlet in peer.inlets.values() {
                let (frames, bytes, room) = inlet.counts();
                counts.frames_received += frames;
                counts.bytes_received += bytes;
                counts.bytes_of_room += room;
            }
            counts
        };
        self.peers().into_iter().map(counts).collect()
    }

    pub(crate) fn close(&self) {
        for peer in self.peers.values() {
            peer.lane.close();
            peer.grants.close();
        }
    }
}

/// What has gone to another process and come from there, since the run began.
#[derive(Clone, Copy, Debug)]
pub struct LinkCounts {
    /// The other process.
    pub worker: WorkerIndex,
    /// Frames, each a batch of records or a mark, that tasks have sent there.
    pub frames_sent: u64,
    /// Bytes of these.
    pub bytes_sent: u64,
    /// Bytes of these that wait for the connection.
    pub bytes_waiting: u64,
    /// Frames that have come from there.
    pub frames_received: u64,
    /// Bytes of those with records.
    pub bytes_received: u64,
    /// Bytes that may still come before tasks here take some: over all channels.
    pub bytes_of_room: u64,
}

/// What goes to one process.
#[derive(Debug)]
pub struct Outgoing {
    lane: Arc<Lane>,
    limits: Arc<HashMap<u32, Arc<Limit>>>,
}

impl Outgoing {
    /// Whether no task here sends there.
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// The next message to carry there; none when the run is over.
    pub async fn next(&self) -> Option<Vec<u8>> {
        self.lane.next().await
    }

    /// A message of grants has come from there.
    pub fn granted(&self, message: &[u8]) -> Result<()> {
        for (channel, limit) in credit::read(message)? {
            let known = self.limits.get(&channel);
            known.ok_or_else(|| unknown(channel))?.raise(limit);
        }
        Ok(())
    }
}

/// What comes from one process.
#[derive(Debug)]
pub struct Incoming {
    run: Run,
    inlets: Arc<HashMap<u32, Arc<Inlet>>>,
    grants: Arc<Grants>,
}

impl Incoming {
    /// A message has come from there. Frames of another run are dropped.
    pub fn take(&self, message: &[u8]) -> Result<()> {
        let mut rest = message;
        while !rest.is_empty() {
            let frame = frame::take(&mut rest)?;
            if frame.head.run != self.run {
                continue;
            }
            let channel = frame.head.channel;
            self.inlets.get(&channel).ok_or_else(|| unknown(channel))?.put(&frame)?;
        }
        Ok(())
    }

    /// The next message of grants to carry there; none when the run is over.
    pub async fn next_grants(&self) -> Option<Vec<u8>> {
        self.grants.next().await
    }
}

fn unknown(channel: u32) -> Error {
    Error::corrupt(format!("another worker names channel {channel}, which is none between the two"))
}

/// Makes the channels of one process to others.
pub(crate) struct LinksBuilder {
    run: Run,
    window: u64,
    peers: HashMap<WorkerIndex, Making>,
}

#[derive(Default)]
struct Making {
    lane: Arc<Lane>,
    limits: HashMap<u32, Arc<Limit>>,
    inlets: HashMap<u32, Arc<Inlet>>,
    grants: Arc<Grants>,
}

impl LinksBuilder {
    /// For a run in which so many channels lead into this process.
    pub(crate) fn new(run: Run, incoming: usize) -> Self {
        let window = (WINDOWS / incoming.max(1) as u64).clamp(WINDOW_MIN, WINDOW_MAX);
        Self { run, window, peers: HashMap::new() }
    }

    /// The sending end of a channel to another process. `bell` wakes the thread of the sender.
    pub(crate) fn sender(
        &mut self,
        to: WorkerIndex,
        channel: u32,
        bell: Doorbell,
        codec: Codec,
    ) -> RemoteSender {
        let peer = self.peers.entry(to).or_default();
        let limit = Arc::new(Limit::new(bell));
        peer.limits.insert(channel, limit.clone());
        RemoteSender::new((self.run, channel), limit, peer.lane.clone(), codec.encode)
    }

    /// The receiving end of a channel from another process. `bell` wakes the thread of the
    /// receiver.
    pub(crate) fn receiver(
        &mut self,
        from: WorkerIndex,
        channel: u32,
        bell: Doorbell,
        codec: Codec,
    ) -> RemoteReceiver {
        let peer = self.peers.entry(from).or_default();
        let inlet = Arc::new(Inlet::new(bell));
        peer.inlets.insert(channel, inlet.clone());
        RemoteReceiver::new((channel, self.window), inlet, peer.grants.clone(), codec.decode)
    }

    pub(crate) fn finish(self) -> Links {
        let peers = self.peers.into_iter().map(|(worker, making)| {
            let Making { lane, limits, inlets, grants } = making;
            let (limits, inlets) = (Arc::new(limits), Arc::new(inlets));
            (worker, Peer { lane, limits, inlets, grants })
        });
        Links { run: self.run, peers: Arc::new(peers.collect()) }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
