//! [`RemoteSender`]: the sending end of a channel to another process.
//!
//! Fed by [`crate::exchange::Sender`], hands frames to a [`Lane`]. A batch is encoded only when
//! there is room for a frame of it, so that what waits lies here once, as records.

use std::collections::VecDeque;
use std::sync::Arc;

use millstream_protocol::id::Run;

use super::codec::Encode;
use super::credit::Limit;
use super::frame::{self, HEADER, Head, Kind, PAYLOAD_MAX};
use super::lane::Lane;
use crate::error::{Error, Result};
use crate::exchange::Event;

/// A frame's room before it grows.
const FRAME_CAPACITY: usize = 56 << 10;

pub(crate) struct RemoteSender {
    run: Run,
    channel: u32,
    /// Frames sent so far.
    sequence: u64,
    /// Bytes of data sent so far.
    sent: u64,
    limit: Arc<Limit>,
    lane: Arc<Lane>,
    encode: Box<dyn Encode>,
    waiting: VecDeque<Event>,
    /// What is left of a payload that is larger than a frame may be, its last byte first to come
    /// last; and of how many records it is.
    pieces: Option<Pieces>,
    failed: Option<Error>,
}

struct Pieces {
    payload: Vec<u8>,
    at: usize,
    records: u32,
}

impl RemoteSender {
    pub(super) fn new(
        (run, channel): (Run, u32),
        limit: Arc<Limit>,
        lane: Arc<Lane>,
        encode: Box<dyn Encode>,
    ) -> Self {
        Self {
            run,
            channel,
            sequence: 0,
            sent: 0,
            limit,
            lane,
            encode,
            waiting: VecDeque::new(),
            pieces: None,
            failed: None,
        }
    }

    /// Sends an event, or keeps it until there is room.
    pub(crate) fn send(&mut self, event: Event) {
        self.waiting.push_back(event);
        self.pump();
    }

    /// Sends what was kept; says whether all of it went.
    pub(crate) fn flush(&mut self) -> Result<bool> {
        self.pump();
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(!self.is_blocked()),
        }
    }

    /// Whether events wait for room, or an error waits to be told.
    pub(crate) fn is_blocked(&self) -> bool {
        let all_sent = self.waiting.is_empty() && self.encode.is_empty() && self.pieces.is_none();
        !all_sent || self.failed.is_some()
    }

    fn pump(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.try_pump()
        {
            self.failed = Some(error);
        }
    }

    fn try_pump(&mut self) -> Result<()> {
        loop {
            if self.pieces.is_some() || !self.encode.is_empty() {
                if !self.limit.allows(self.sent) {
                    return Ok(());
                }
                self.send_data()?;
                continue;
            }
            match self.waiting.pop_front() {
                None => return Ok(()),
                Some(Event::Batch(batch)) => self.encode.load(batch)?,
                Some(Event::Watermark(time)) => self.send_mark(Kind::Watermark, time.0),
                Some(Event::Idle) => self.send_mark(Kind::Idle, 0),
                Some(Event::Barrier(barrier)) => {
                    let last = barrier.stopping;
                    let kind = if last { Kind::LastBarrier } else { Kind::Barrier };
                    self.send_mark(kind, barrier.epoch.0 as i64);
                }
                Some(Event::End) => self.send_mark(Kind::End, 0),
            }
        }
    }

    /// Sends a frame of the batch at hand.
    fn send_data(&mut self) -> Result<()> {
        let Some(mut pieces) = self.pieces.take() else {
            let mut frame = Vec::with_capacity(HEADER + FRAME_CAPACITY);
            frame.resize(HEADER, 0);
            let records = self.encode.fill(&mut frame)?;
            if frame.len() > HEADER + PAYLOAD_MAX {
                self.pieces = Some(Pieces { payload: frame, at: HEADER, records });
            } else {
                self.push(frame, Kind::Batch, records);
            }
            return Ok(());
        };
        let end = pieces.payload.len().min(pieces.at + PAYLOAD_MAX);
        let mut frame = Vec::with_capacity(HEADER + end - pieces.at);
        frame.resize(HEADER, 0);
        frame.extend_from_slice(&pieces.payload[pieces.at..end]);
        if end == pieces.payload.len() {
            self.push(frame, Kind::Batch, pieces.records);
        } else {
            pieces.at = end;
            self.pieces = Some(pieces);
            self.push(frame, Kind::Piece, 0);
        }
        Ok(())
    }

    fn send_mark(&mut self, kind: Kind, number: i64) {
        let mut frame = vec![0; HEADER];
        frame.extend(number.to_le_bytes());
        self.push(frame, kind, 0);
    }

    fn push(&mut self, mut frame: Vec<u8>, kind: Kind, records: u32) {
        let Self { run, channel, sequence, .. } = *self;
        frame::seal(&mut frame, Head { run, channel, sequence, kind, records });
        self.sequence += 1;
        if kind.is_data() {
            self.sent += frame.len() as u64;
        }
        self.lane.push(frame);
    }
}
