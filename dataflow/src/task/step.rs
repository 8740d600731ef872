//! [`Step`]: what one step of a task knows and finds out.

use std::sync::Arc;

use super::probe::Meter;
use crate::snapshot::Encoder;
use crate::time::Timestamp;

/// What one step of a task knows (the time, the encoder) and finds out (whether it may go on).
///
/// The run loop makes one per task and lends it to every node that the step passes through.
pub struct Step {
    /// Processing time, read once per step.
    pub(crate) now: Timestamp,
    /// Inputs ran dry: send what is buffered.
    pub(crate) flush: bool,
    /// An output is full: take no further input.
    pub(crate) blocked: bool,
    /// A node has timers left to fire: take no further input, come back at once.
    pub(crate) unfinished: bool,
    /// A node has a capture to go on with: come back soon, input or not.
    pub(crate) capturing: bool,
    /// A barrier is on its way to the task, and has not come on all its inputs.
    pub(crate) barrier_due: bool,
    /// A sink asks for a snapshot before the next is due.
    pub(crate) snapshot_wanted: bool,
    /// The earliest processing time at which a node wants to be polled.
    pub(crate) wake_at: Timestamp,
    /// The operator whose code runs now: whom to name when it panics.
    pub(crate) operator: Option<Arc<str>>,
    pub(crate) encoder: Encoder,
    pub(super) meter: Meter,
}

impl Step {
    pub(crate) fn new(encoder: Encoder) -> Self {
        Self {
            now: Timestamp::MIN,
            flush: false,
            blocked: false,
            unfinished: false,
            capturing: false,
            barrier_due: false,
            snapshot_wanted: false,
            wake_at: Timestamp::MAX,
            operator: None,
            encoder,
            meter: Meter::of_process(),
        }
    }

    /// Starts the next step. Processing time never runs backward within a run.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.flush = false;
        self.blocked = false;
        self.unfinished = false;
        self.capturing = false;
        self.barrier_due = false;
        self.snapshot_wanted = false;
        self.wake_at = Timestamp::MAX;
        self.meter.begin();
    }

    pub(crate) fn wake_by(&mut self, time: Timestamp) {
        self.wake_at = self.wake_at.min(time);
    }

    /// Whether the task may take another event.
    pub(crate) fn may_go_on(&self) -> bool {
        !self.blocked && !self.unfinished
    }
}
