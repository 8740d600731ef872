//! Waiting out the backoff after a failure.
//!
//! Received from: any state, by [`Context::fail`]. Handed to: [`super::waiting`], which reads
//! everything again.

use millstream_protocol::time::Timestamp;

use super::{State, waiting};
use crate::context::Context;
use crate::machine::Event;
use crate::status::Phase;

pub(super) fn on(ctx: &mut Context, event: &Event, until: Timestamp) -> State {
    waiting::take_edit(ctx, event);
    if ctx.now < until {
        return State::Restarting { until };
    }
    ctx.status.phase = Phase::Pending;
    ctx.status.restarts_in = None;
    waiting::enter(ctx)
}
