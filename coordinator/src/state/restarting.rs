//! Waiting out the backoff after a failure.
//!
//! Received from: any state, by [`Context::fail`]. Handed to: [`super::waiting`], which reads
//! everything again.

use millstream_protocol::time::Timestamp;

use super::{State, waiting};
use crate::context::Context;
use crate::status::Phase;

pub(super) fn on(ctx: &mut Context, until: Timestamp) -> State {
    if ctx.now < until {
        return State::Restarting { until };
    }
    ctx.status.phase = Phase::Pending;
    ctx.status.restarts_in = None;
    waiting::enter(ctx)
}
