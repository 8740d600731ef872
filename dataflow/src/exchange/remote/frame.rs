//! [`Frame`]: how an event lies in a message. A message is frames, one behind the other.
//!
//! Written by [`super::sender`], read by [`super::links`]. Invariant: nothing of a frame is
//! believed before its checksum fits.

use millstream_protocol::id::{Epoch, Run};

use crate::error::{Error, Result};
use crate::task::Barrier;
use crate::time::Timestamp;

/// Bytes in front of a frame's payload: run, sequence, channel, records, length, checksum, kind.
pub(super) const HEADER: usize = 33;
/// Where the checksum lies.
const SUM: std::ops::Range<usize> = 28..32;
/// The largest payload: what is larger goes in pieces.
pub(super) const PAYLOAD_MAX: usize = 128 << 10;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A batch, or the last piece of one.
    Batch,
    /// A piece of a batch: the next frame of the channel goes on with it.
    Piece,
    Watermark,
    Idle,
    Barrier,
    /// A barrier behind which sources emit nothing more.
    LastBarrier,
    End,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        let kinds = [
            Self::Batch,
            Self::Piece,
            Self::Watermark,
            Self::Idle,
            Self::Barrier,
            Self::LastBarrier,
            Self::End,
        ];
        kinds.get(usize::from(byte)).copied()
    }

    /// Whether its bytes count against the room that the receiver granted.
    pub(super) fn is_data(self) -> bool {
        matches!(self, Self::Batch | Self::Piece)
    }
}

/// Which frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) run: Run,
    pub(super) channel: u32,
    /// Counts the frames of the channel, from 0.
    pub(super) sequence: u64,
    pub(super) kind: Kind,
    /// Records of the batch: the last piece says it for all of them.
    pub(super) records: u32,
}

/// A frame of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) head: Head,
    pub(super) payload: &'a [u8],
}

/// Completes a frame whose payload lies behind room for the header.
pub(super) fn seal(frame: &mut [u8], head: Head) {
    let length = (frame.len() - HEADER) as u32;
    frame[0..8].copy_from_slice(&head.run.0.to_le_bytes());
    frame[8..16].copy_from_slice(&head.sequence.to_le_bytes());
    frame[16..20].copy_from_slice(&head.channel.to_le_bytes());
    frame[20..24].copy_from_slice(&head.records.to_le_bytes());
    frame[24..28].copy_from_slice(&length.to_le_bytes());
    frame[32] = head.kind as u8;
    let sum = checksum(frame);
    frame[SUM].copy_from_slice(&sum.to_le_bytes());
}

/// Over all of a frame but the place of the checksum itself.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..SUM.start]), &frame[SUM.end..])
}

/// The first frame of what is left of a message; takes it off.
pub(super) fn take<'a>(rest: &mut &'a [u8]) -> Result<Frame<'a>> {
    let cut = || Error::corrupt("a message of another worker ends within a frame");
    let header = rest.get(..HEADER).ok_or_else(cut)?;
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let frame = rest.get(..HEADER + word(24) as usize).ok_or_else(cut)?;
    let kind = Kind::of(header[32]).filter(|_| checksum(frame) == word(SUM.start));
    let kind = kind.ok_or_else(|| {
        Error::corrupt(format!("a frame of another worker, of channel {}, is damaged", word(16)))
    })?;
    *rest = &rest[frame.len()..];
    let head =
        Head { run: Run(long(0)), channel: word(16), sequence: long(8), kind, records: word(20) };
    Ok(Frame { head, payload: &frame[HEADER..] })
}

/// The payload of a mark: a number, or nothing.
pub(super) fn number(payload: &[u8]) -> Result<i64> {
    let bytes = payload.try_into();
    bytes.map(i64::from_le_bytes).map_err(|_| Error::corrupt("a mark of another worker is cut"))
}

/// The watermark that a payload says.
pub(super) fn watermark(payload: &[u8]) -> Result<Timestamp> {
    number(payload).map(Timestamp)
}

/// The barrier that a payload says.
pub(super) fn barrier(payload: &[u8], stopping: bool) -> Result<Barrier> {
    Ok(Barrier { epoch: Epoch(number(payload)? as u64), stopping })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes.extend(payload);
        seal(&mut bytes, head(sequence));
        bytes
    }

    fn head(sequence: u64) -> Head {
        Head { run: Run(3), channel: 7, sequence, kind: Kind::Batch, records: 2 }
    }

    #[test]
    fn a_message_is_taken_frame_by_frame() {
        let message = [frame(0, b"one"), frame(u64::MAX, b"")].concat();
        let mut rest = &message[..];
        assert_eq!(take(&mut rest).unwrap(), Frame { head: head(0), payload: b"one" });
        assert_eq!(take(&mut rest).unwrap(), Frame { head: head(u64::MAX), payload: b"" });
        assert!(rest.is_empty());
    }

    #[test]
    fn no_byte_of_a_frame_may_change_and_none_may_be_missing() {
        let whole = frame(5, b"payload");
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            assert!(take(&mut &damaged[..]).is_err(), "byte {at}");
            assert!(take(&mut &whole[..at]).is_err(), "cut at {at}");
        }
    }
}
