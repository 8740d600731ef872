//! The states of a job, a file each.
//!
//! Received from: [`crate::machine::Machine`], an event and the context. Handed to: the machine,
//! the state that follows. Here is what all of them do alike: stop, fail, and notice lost workers.

mod adopting;
mod claiming;
mod deploying;
mod resolving;
mod restarting;
mod running;
mod stopping;
mod waiting;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::session::Report;
use millstream_protocol::time::Timestamp;

use self::adopting::Adopting;
use self::claiming::Claiming;
use self::deploying::Deploying;
use self::resolving::Resolving;
use self::running::Running;
use self::stopping::Stopping;
use crate::context::Context;
use crate::machine::{Event, Outcome, StopMode};

/// What a job is doing.
#[derive(Debug)]
pub(crate) enum State {
    /// For all workers to attach and to agree on the program.
    Waiting { ask_at: Option<Timestamp> },
    /// For the log.
    Resolving(Resolving),
    /// For the claim to be in the log.
    Claiming(Claiming),
    /// For the workers to say where the tasks stand that another coordinator has left.
    Adopting(Adopting),
    /// For the tasks to stand ready.
    Deploying(Box<Deploying>),
    /// Processing.
    Running(Running),
    /// For the last snapshot.
    Stopping(Stopping),
    /// For the backoff to pass.
    Restarting { until: Timestamp },
    /// Done: events are ignored.
    Ended,
}

impl State {
    /// Handles an event and says what state follows.
    pub(crate) fn on(self, ctx: &mut Context, event: &Event) -> Self {
        let next = self.handle(ctx, event);
        // Nobody else makes an edit wait.
        if !matches!(next, Self::Running(_)) {
            ctx.status.held = None;
        }
        next
    }

    fn handle(self, ctx: &mut Context, event: &Event) -> Self {
        if self.stops_now(ctx) {
            return ctx.end(Outcome::Suspended { snapshot: false });
        }
        if let Some(failure) = self.failure(ctx, event) {
            return ctx.fail(failure);
        }
        match self {
            Self::Waiting { ask_at } => waiting::on(ctx, event, ask_at),
            Self::Resolving(resolving) => resolving.on(ctx, event),
            Self::Claiming(claiming) => claiming.on(ctx, event),
            Self::Adopting(adopting) => adopting.on(ctx, event),
            Self::Deploying(deploying) => deploying.on(ctx, event),
            Self::Running(running) => running.on(ctx, event),
            Self::Stopping(stopping) => stopping.on(ctx, event),
            Self::Restarting { until } => restarting::on(ctx, event, until),
            Self::Ended => Self::Ended,
        }
    }

    /// A job that does not run stops at once; one that runs takes a snapshot first if it may.
    fn stops_now(&self, ctx: &Context) -> bool {
        let runs = matches!(self, Self::Running(_) | Self::Stopping(_));
        match ctx.stop {
            None => false,
            Some(StopMode::AtOnce) => true,
            Some(StopMode::AfterSnapshot) => !runs,
        }
    }

    /// Why the run in force, or the start of one, cannot go on.
    fn failure(&self, ctx: &mut Context, event: &Event) -> Option<Failure> {
        let has_tasks = matches!(
            self,
            Self::Adopting(_) | Self::Deploying(_) | Self::Running(_) | Self::Stopping(_)
        );
        let needs_workers = has_tasks || matches!(self, Self::Resolving(_) | Self::Claiming(_));
        let lost = |worker, reason: &str| {
            Some(Failure::new(ErrorKind::Unavailable, format!("worker {worker} is lost: {reason}")))
        };
        match event {
            Event::Lost(worker, _) | Event::Attached(worker) if !ctx.is_member(*worker) => None,
            Event::Lost(worker, reason) if needs_workers => lost(worker, reason),
            Event::Attached(worker) if needs_workers => lost(worker, "a new incarnation is there"),
            Event::Report(_, Report::Unfit { generation, failure })
                if *generation == ctx.generation =>
            {
                Some(failure.clone())
            }
            Event::Report(worker, Report::PeerLost { run, peer, reason }) if has_tasks => {
                if ctx.reign.as_ref().is_none_or(|reign| reign.run != *run) {
                    return None;
                }
                let what = if ctx.suspect(*peer) {
                    format!(
                        "worker {peer} is lost: it is silent, and worker {worker} says: {reason}"
                    )
                } else {
                    format!("worker {worker} is cut off from worker {peer}: {reason}")
                };
                Some(Failure::new(ErrorKind::Unavailable, what))
            }
            Event::Report(_, Report::TaskFailed { run, operator, failure }) if has_tasks => {
                if ctx.reign.as_ref().is_none_or(|reign| reign.run != *run) {
                    return None;
                }
                let message = match operator {
                    Some(operator) => format!("operator {operator}: {}", failure.message),
                    None => failure.message.clone(),
                };
                Some(Failure::new(failure.kind, message))
            }
            _ => None,
        }
    }

    /// Where within it the job stands, for the table of all states and events.
    #[cfg(test)]
    pub(crate) fn step(&self) -> String {
        match self {
            Self::Deploying(deploying) => deploying.step().to_owned(),
            Self::Running(running) => running.step().to_owned(),
            Self::Stopping(stopping) => stopping.step(),
            Self::Waiting { .. }
            | Self::Resolving(_)
            | Self::Claiming(_)
            | Self::Adopting(_)
            | Self::Restarting { .. }
            | Self::Ended => String::new(),
        }
    }

    /// When the state must be woken.
    pub(crate) fn wake_at(&self, ctx: &Context) -> Option<Timestamp> {
        match self {
            Self::Waiting { ask_at } => *ask_at,
            Self::Resolving(resolving) => Some(resolving.wake_at()),
            Self::Claiming(claiming) => Some(claiming.wake_at()),
            Self::Adopting(adopting) => Some(adopting.wake_at()),
            Self::Deploying(deploying) => Some(deploying.wake_at()),
            Self::Running(running) => Some(running.wake_at(ctx)),
            Self::Stopping(stopping) => Some(stopping.wake_at()),
            Self::Restarting { until } => Some(*until),
            Self::Ended => None,
        }
    }
}
