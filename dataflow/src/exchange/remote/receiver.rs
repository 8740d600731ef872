//! [`RemoteReceiver`]: the receiving end of a channel from another process.
//!
//! Takes frames from an [`Inlet`], on the thread of the receiving task; grants room for as much as
//! it has taken.

use std::collections::VecDeque;
use std::sync::Arc;

use super::codec::Decode;
use super::credit::Grants;
use super::frame::{self, HEADER, Kind};
use super::inlet::{Arrived, Inlet};
use crate::error::Result;
use crate::exchange::Event;

pub(crate) struct RemoteReceiver {
    channel: u32,
    inlet: Arc<Inlet>,
    grants: Arc<Grants>,
    decode: Box<dyn Decode>,
    arrived: VecDeque<Arrived>,
    /// Pieces of a payload, as far as they have come.
    pieces: Vec<u8>,
    /// How many bytes may lie in the channel.
    window: u64,
    /// Bytes of data taken in, and granted, since the beginning.
    taken: u64,
    granted: u64,
}

impl RemoteReceiver {
    pub(super) fn new(
        (channel, window): (u32, u64),
        inlet: Arc<Inlet>,
        grants: Arc<Grants>,
        decode: Box<dyn Decode>,
    ) -> Self {
        let mut receiver = Self {
            channel,
            inlet,
            grants,
            decode,
            arrived: VecDeque::new(),
            pieces: Vec::new(),
            window,
            taken: 0,
            granted: 0,
        };
        receiver.grant();
        receiver
    }

    /// The next event, if one is there.
    pub(crate) fn receive(&mut self) -> Result<Option<Event>> {
        loop {
            if self.arrived.is_empty() {
                self.inlet.swap(&mut self.arrived);
            }
            let Some(Arrived { kind, records, payload }) = self.arrived.pop_front() else {
                return Ok(None);
            };
            if kind.is_data() {
                self.taken += (HEADER + payload.len()) as u64;
                self.grant();
            }
            return Ok(Some(match kind {
                Kind::Piece => {
                    self.pieces.extend_from_slice(&payload);
                    continue;
                }
                Kind::Batch if self.pieces.is_empty() => {
                    Event::Batch(self.decode.decode(records, &payload)?)
                }
                Kind::Batch => {
                    let mut whole = std::mem::take(&mut self.pieces);
                    whole.extend_from_slice(&payload);
                    Event::Batch(self.decode.decode(records, &whole)?)
                }
                Kind::Watermark => Event::Watermark(frame::watermark(&payload)?),
                Kind::Idle => Event::Idle,
                Kind::Barrier => Event::Barrier(frame::barrier(&payload, false)?),
                Kind::LastBarrier => Event::Barrier(frame::barrier(&payload, true)?),
                Kind::End => Event::End,
            }));
        }
    }

    /// Grants room when half of the window is free: fewer messages than at each frame.
    fn grant(&mut self) {
        let limit = self.taken + self.window;
        if limit - self.granted >= self.window.div_ceil(2) {
            self.granted = limit;
            self.inlet.grant(limit);
            self.grants.grant(self.channel, limit);
        }
    }
}
