//! [`Lane`]: the frames of all channels to one process, on their way to the transport.
//!
//! Filled by [`super::sender`], emptied by [`super::links::Outgoing`]. What lies here is bounded by
//! what the receivers granted; marks besides, a few per step of a task.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Frames are put together up to so many bytes: small ones share the cost of a message.
const MESSAGE: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    /// Bytes of these.
    bytes: u64,
    /// Frames and bytes that were put in line since the beginning.
    all: (u64, u64),
    closed: bool,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in line. After [`Lane::close`] nobody wants it.
    pub(super) fn push(&self, frame: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        let bytes = frame.len() as u64;
        waiting.bytes += bytes;
        waiting.all.0 += 1;
        waiting.all.1 += bytes;
        waiting.frames.push_back(frame);
        if waiting.frames.len() == 1 {
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.frames.clear();
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Frames and bytes that were put in line since the beginning, and bytes that wait there.
    pub(super) fn counts(&self) -> ((u64, u64), u64) {
        let waiting = self.lock();
        (waiting.all, waiting.bytes)
    }

    /// The next frames, as one message; none when the lane is closed.
    pub(super) async fn next(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut waiting = self.lock();
                if waiting.closed {
                    return None;
                }
                if let Some(mut message) = waiting.frames.pop_front() {
                    while let Some(next) = waiting.frames.front()
                        && message.len() + next.len() <= MESSAGE
                    {
                        message.extend_from_slice(next);
                        waiting.frames.pop_front();
                    }
                    waiting.bytes -= message.len() as u64;
                    return Some(message);
                }
            }
            self.arrived.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_frames_share_a_message_and_large_ones_do_not() {
        let lane = Lane::default();
        for length in [10, 20, MESSAGE, 5] {
            lane.push(vec![0; length]);
        }
        let mut lengths = Vec::new();
        for _ in 0..3 {
            lengths.push(lane.next().await.unwrap().len());
        }
        assert_eq!(lengths, [30, MESSAGE, 5]);
        lane.push(vec![0; 7]);
        lane.close();
        assert_eq!(lane.next().await, None);
    }
}
