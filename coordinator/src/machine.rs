//! The state machine of one job: event in, actions out.
//!
//! Received from: a driver, which feeds it every report, request and due time. Handed to: the
//! driver, which carries out the actions in order. Invariants: it appends only right behind its own
//! last entry; it commits only what is published; at most one epoch is in flight until it is
//! committed.

use millstream_protocol::error_kind::Failure;
use millstream_protocol::id::{Seq, WorkerIndex};
use millstream_protocol::session::{Command, Report};
use millstream_protocol::time::Timestamp;

use crate::config::Config;
use crate::context::Context;
use crate::edit::Edit;
use crate::state::State;
use crate::status::Status;

/// What happens to a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A worker has opened a session; an incarnation before it is gone.
    Attached(WorkerIndex),
    /// A worker is gone, and why that is thought. Never of an incarnation before the one attached.
    Lost(WorkerIndex, String),
    /// A worker says something.
    Report(WorkerIndex, Report),
    /// The user wants the job stopped.
    Stop(StopMode),
    /// The user wants the job to be something else from now on.
    Edit(Box<Edit>),
    /// The user wants a snapshot now.
    Snapshot,
    /// The user wants one that is kept. The number, which rises, is in the answer.
    Savepoint(u64),
    /// The user does not want the savepoint in this slot kept any more.
    LetGo(Seq),
    /// The time that [`Machine::wake_at`] named has come.
    Tick,
}

/// How a job is stopped. A later wish only ever hastens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopMode {
    /// After a last snapshot. A job that does not run stops at once.
    AfterSnapshot,
    /// At once: what came after the last snapshot is processed again when the job is resumed.
    AtOnce,
}

/// What a driver has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Send this to a worker.
    Send(WorkerIndex, Command),
    /// End the session with this worker, which is taken for lost: nothing that it still says
    /// counts.
    Dismiss(WorkerIndex),
    /// Show this.
    Status(Box<Status>),
    /// End: nothing more will follow.
    Exit(Outcome),
}

/// How a coordinator's work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All input is processed and all output visible.
    Finished {
        /// Whether that was so before this start.
        already: bool,
    },
    /// Stopped on request.
    Suspended {
        /// Whether a last snapshot was taken. If not, the job resumes from the one before.
        snapshot: bool,
    },
    /// Stopped by a failure that a restart cannot mend.
    Failed(Failure),
    /// Stopped because a newer run owns the job.
    Fenced(Failure),
}

/// The state machine of one job.
#[derive(Debug)]
pub struct Machine {
    ctx: Context,
    state: State,
    shown: Status,
}

impl Machine {
    /// A machine that waits for its workers.
    pub fn new(config: Config) -> Self {
        let ctx = Context::new(config);
        let shown = ctx.status.clone();
        Self { ctx, state: State::Waiting { ask_at: None }, shown }
    }

    /// Takes in one event and says what to do about it.
    ///
    /// # Flow The table of workers is brought up to date, then the state in force handles the
    /// event; a state that was entered sends its first commands by itself.
    ///
    /// # Guarantees
    /// Events may be doubled, late, or of an earlier run: those are ignored. After
    /// [`Action::Exit`] every event is.
    ///
    /// # Assumptions
    /// `now` does not run backward, and [`Event::Tick`] comes at [`Machine::wake_at`] or later.
    pub fn on(&mut self, event: &Event, now: Timestamp) -> Vec<Action> {
        self.ctx.now = self.ctx.now.max(now);
        if matches!(self.state, State::Ended) {
            return Vec::new();
        }
        self.ctx.note(event);
        let state = std::mem::replace(&mut self.state, State::Ended);
        self.state = state.on(&mut self.ctx, event);
        let mut actions = self.ctx.take_actions();
        if self.ctx.status != self.shown {
            self.shown = self.ctx.status.clone();
            // Before an exit, so that the last thing shown is how it ended.
            let exits = actions.iter().position(|action| matches!(action, Action::Exit(_)));
            let at = exits.unwrap_or(actions.len());
            actions.insert(at, Action::Status(Box::new(self.shown.clone())));
        }
        actions
    }

    /// When [`Event::Tick`] is due; none while nothing is awaited.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.state.wake_at(&self.ctx)
    }

    /// The state that it is in, by name.
    #[cfg(test)]
    pub(crate) fn stands(&self) -> &'static str {
        tests::state_name(&self.state)
    }

    /// What to show of the job.
    pub fn status(&self) -> &Status {
        &self.ctx.status
    }
}

#[cfg(test)]
mod tests;
