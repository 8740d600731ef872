//! [`Inlet`]: the frames of one channel that have come and are not yet taken in.
//!
//! Filled by [`super::links::Incoming`], emptied by [`super::receiver`]. What lies here is bounded
//! by what was granted: a peer that sends more has its stream ended.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::frame::{self, Frame, HEADER, Kind, PAYLOAD_MAX};
use crate::error::{Error, Result};
use crate::task::Doorbell;

/// A frame that has come.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) kind: Kind,
    pub(super) records: u32,
    pub(super) payload: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Inlet {
    state: Mutex<State>,
    receiver: Doorbell,
}

#[derive(Debug, Default)]
struct State {
    arrived: VecDeque<Arrived>,
    /// The number of the next frame.
    sequence: u64,
    /// Bytes of data that have come so far, and that may have.
    taken: u64,
    granted: u64,
}

impl Inlet {
    /// `receiver` wakes the receiving thread.
    pub(super) fn new(receiver: Doorbell) -> Self {
        Self { state: Mutex::default(), receiver }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the peer send up to so many bytes since the beginning.
    pub(super) fn grant(&self, limit: u64) {
        self.lock().granted = limit;
    }

    /// Takes a frame in.
    pub(super) fn put(&self, frame: &Frame<'_>) -> Result<()> {
        let Frame { head, payload } = frame;
        let mut state = self.lock();
        if head.sequence != state.sequence {
            return Err(Error::corrupt(format!(
                "frame {} of channel {} came in the place of frame {}",
                head.sequence, head.channel, state.sequence
            )));
        }
        state.sequence += 1;
        if head.kind.is_data() {
            state.taken += (HEADER + payload.len()) as u64;
            // A frame may begin within what was granted and end behind it.
            if state.taken >= state.granted + (HEADER + PAYLOAD_MAX) as u64 {
                let channel = head.channel;
                return Err(Error::corrupt(format!("channel {channel} sends more than it may")));
            }
        }
        match state.arrived.back_mut() {
            // Where nothing lies between two watermarks, the later one says all.
            Some(last) if last.kind == Kind::Watermark && head.kind == Kind::Watermark => {
                let later = frame::watermark(&last.payload)?.max(frame::watermark(payload)?);
                last.payload = later.0.to_le_bytes().to_vec();
            }
            _ => {
                let (kind, records, payload) = (head.kind, head.records, payload.to_vec());
                state.arrived.push_back(Arrived { kind, records, payload });
            }
        }
        drop(state);
        self.receiver.ring();
        Ok(())
    }

    /// Frames and bytes of data that have come since the beginning, and bytes that may still come.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let State { sequence, taken, granted, .. } = *self.lock();
        (sequence, taken, granted.saturating_sub(taken))
    }

    /// Exchanges what has come for an empty queue.
    pub(super) fn swap(&self, empty: &mut VecDeque<Arrived>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut self.lock().arrived, empty);
    }
}
