//! Waiting for all workers to attach and to agree on the program.
//!
//! Received from: the start, or a restart. Handed to: [`Resolving`].

use millstream_protocol::id::WorkerIndex;
use millstream_protocol::time::Timestamp;

use super::{Resolving, State};
use crate::context::{ANSWER_TIMEOUT, Context};

/// Begins to wait; where all workers have already reported, goes on at once.
pub(super) fn enter(ctx: &mut Context) -> State {
    on(ctx, None)
}

pub(super) fn on(ctx: &mut Context, ask_at: Option<Timestamp>) -> State {
    match ctx.agreed() {
        Some(Ok(())) => return Resolving::enter(ctx),
        Some(Err(failure)) => return ctx.fail(failure),
        None => {}
    }
    let silent: Vec<WorkerIndex> = ctx
        .indexes()
        .filter(|index| {
            let worker = &ctx.workers[index.0 as usize];
            worker.attached && worker.facts.is_none()
        })
        .collect();
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
