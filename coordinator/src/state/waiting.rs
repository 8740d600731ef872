//! Waiting for all workers to attach and to agree on the program.
//!
//! Received from: the start, or a restart. Handed to: [`Resolving`].

use millstream_protocol::id::WorkerIndex;
use millstream_protocol::time::Timestamp;

use super::{Resolving, State};
use crate::context::{ANSWER_TIMEOUT, Context};
use crate::edit::Readiness;
use crate::machine::Event;
use crate::status::Phase;

/// Begins to wait; where all workers have already reported, goes on at once.
pub(super) fn enter(ctx: &mut Context) -> State {
    go_on(ctx, None)
}

pub(super) fn on(ctx: &mut Context, event: &Event, ask_at: Option<Timestamp>) -> State {
    take_edit(ctx, event);
    go_on(ctx, ask_at)
}

/// A job that does not run takes an edit at once: it may be what lets the job run. One that was
/// being prepared while it ran has its turn as soon as its workers agree.
pub(super) fn take_edit(ctx: &mut Context, event: &Event) {
    ctx.edit_later();
    let is_new = matches!(event, Event::Edit(_));
    if is_new || matches!(ctx.readiness(), Readiness::Ready) {
        ctx.adopt();
    }
}

/// Workers that are about to end have no tasks any more, and end. The job goes on as soon as
/// others are there in their place.
pub(super) fn let_go(ctx: &mut Context) -> State {
    ctx.drop_tasks();
    ctx.status.phase = Phase::Pending;
    enter(ctx)
}

fn go_on(ctx: &mut Context, ask_at: Option<Timestamp>) -> State {
    match ctx.agreed() {
        Some(Ok(())) => return Resolving::enter(ctx),
        Some(Err(failure)) => return ctx.fail(failure),
        None => {}
    }
    let silent: Vec<WorkerIndex> = ctx.silent().collect();
    // Attaching has sent the first Hello. A program may take long to build: asking again is
    // harmless.
    let ask_at = match ask_at {
        Some(at) if ctx.now >= at => {
            for worker in &silent {
                ctx.hello(*worker);
            }
            ctx.now.after(ANSWER_TIMEOUT)
        }
        Some(at) => at,
        None => ctx.now.after(ANSWER_TIMEOUT),
    };
    State::Waiting { ask_at: (!silent.is_empty()).then_some(ask_at) }
}
