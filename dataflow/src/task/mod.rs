//! Tasks and the threads that run them: the only run loop there is.
//!
//! Receives events from [`crate::exchange`] and records from [`crate::source`], drives the
//! operators of a chain, hands their output back to the exchange. A task is stepped for a bounded
//! budget, then the next one is; a thread whose tasks cannot move sleeps until its doorbell rings.

mod doorbell;
mod drift;
mod hold;
mod info;
mod input;
mod lull;
mod node;
mod positions;
pub mod probe;
mod source;
mod split;
mod stage;
mod step;
mod thread;

pub use doorbell::Doorbell;
pub(crate) use drift::{Drift, Seat};
pub(crate) use info::count;
pub use info::{Counters, SplitSeen, TaskInfo};
pub(crate) use input::{Head, InputTask, OnePort, TwoPorts};
use millstream_protocol::id::Epoch;
pub use node::Barrier;
pub(crate) use node::{BoxNode, Control, Discard, Node, Tee};
pub(crate) use source::{MalformedParts, SourceParts, SourceTask};
pub(crate) use stage::{Keeps, Stage};
pub(crate) use step::Step;
pub(crate) use thread::{Command, Loop, Report, Running};

use crate::error::Result;
use crate::snapshot::Restore;
use crate::time::Timestamp;

/// What reaches a task from outside its inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TaskEvent {
    /// Cut here (sources), or expect a cut (others).
    Barrier(Barrier),
    /// The snapshot was published or given up.
    Settled { epoch: Epoch, published: bool },
    /// Sources emit again, if the last barrier has stopped them.
    GoOn,
}

/// What came of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// The task did something, and may do more at once.
    pub(crate) moved: bool,
    /// It waits for room downstream.
    pub(crate) blocked: bool,
    /// When it wants a step at the latest.
    pub(crate) wake_at: Timestamp,
}

impl Turn {
    pub(crate) fn of(step: &Step, moved: bool) -> Self {
        // What is unfinished for want of room goes on when the doorbell rings.
        let moved = moved || (step.unfinished && !step.blocked) || step.capturing;
        Self { moved, blocked: step.blocked, wake_at: step.wake_at }
    }
}

/// A task as the run loop sees it.
pub(crate) trait Task: Send {
    /// Works for a bounded time.
    fn step(&mut self, step: &mut Step) -> Result<Turn>;

    /// Something reached it from outside.
    fn on_event(&mut self, step: &mut Step, event: TaskEvent) -> Result<()>;

    /// Takes back its state, before the first step.
    fn restore(&mut self, restore: &Restore) -> Result<()>;

    /// Whether all its inputs have ended and all that followed from it is done.
    fn has_ended(&self) -> bool;
}
