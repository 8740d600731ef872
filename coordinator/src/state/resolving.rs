//! Reading the whole log and deciding what to begin with.
//!
//! Received from: [`super::waiting`], or a claim that met another entry in its slot. Handed to:
//! [`Claiming`]. Invariant: the slot, the run and the base of a claim come from one reading.

use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::Run;
use millstream_protocol::session::{Command, Going, Report};
use millstream_protocol::time::Timestamp;
use millstream_protocol::wish::Wish;

use super::{Claiming, State, adopting, waiting};
use crate::context::Context;
use crate::edit::Edit;
use crate::history::History;
use crate::machine::{Event, Outcome};
use crate::resolve::{Decision, Facts, resolve};

/// How long a worker may take to read the whole log: thousands of small objects from a slow store.
const READ_TIMEOUT: Duration = Duration::from_mins(2);
/// The same of one that first copies another job's snapshot: 50 GB at 30 MB/s.
const COPY_TIMEOUT: Duration = Duration::from_mins(30);

/// The log is being read.
#[derive(Debug)]
pub(crate) struct Resolving {
    request: u64,
    until: Timestamp,
}

impl Resolving {
    pub(super) fn enter(ctx: &mut Context) -> State {
        ctx.mended(|last| &mut last.workers_ready_at);
        let request = ctx.request();
        ctx.send(ctx.leader(), Command::ReadLog { request });
        let timeout = match ctx.config.wish {
            Wish::Other { .. } => COPY_TIMEOUT,
            Wish::Latest | Wish::Empty { .. } | Wish::Snapshot { .. } => READ_TIMEOUT,
        };
        State::Resolving(Self { request, until: ctx.now.after(timeout) })
    }

    pub(super) fn wake_at(&self) -> Timestamp {
        self.until
    }

    pub(super) fn on(self, ctx: &mut Context, event: &Event) -> State {
        match event {
            Event::Report(_, Report::Log { request, entries, committed })
                if *request == self.request =>
            {
                match History::read(&ctx.config.prefix, entries, committed) {
                    Ok(history) => decide(ctx, history),
                    Err(Failure { kind, message }) => {
                        let message = format!("{}{message}", ctx.config.prefix);
                        ctx.fail(Failure::new(kind, message))
                    }
                }
            }
            Event::Report(_, Report::LogUnread { request, failure })
                if *request == self.request =>
            {
                ctx.fail(failure.clone())
            }
            _ if ctx.now >= self.until => {
                let message = format!("no answer from {} to reading the log", ctx.config.prefix);
                ctx.fail(Failure::new(ErrorKind::Unavailable, message))
            }
            _ => State::Resolving(self),
        }
    }
}

fn decide(ctx: &mut Context, history: History) -> State {
    if history.last() < ctx.seen {
        let message = format!(
            "the log in {} ends at entry {}, but entry {} was there before: it has lost entries",
            ctx.config.prefix,
            history.last(),
            ctx.seen
        );
        return ctx.fail(Failure::new(ErrorKind::Corrupt, message));
    }
    ctx.seen = history.last();
    if let Some(failure) = fenced(ctx, &history) {
        return ctx.fail(failure);
    }
    go_on(ctx, history)
}

/// The log as this coordinator knows it, whose own entry is the last: whoever has written since is
/// met where the claim is appended, and then everything is read again.
pub(super) fn from_memory(ctx: &mut Context) -> State {
    let history = std::mem::take(&mut ctx.history);
    go_on(ctx, history)
}

fn go_on(ctx: &mut Context, history: History) -> State {
    if let Some(failure) = ahead(ctx, &history) {
        return ctx.fail(failure);
    }
    let due = due(ctx, &history);
    // What was promised to become visible does so before a wish turns away from it.
    let owes = due != Wish::Latest && history.is_unmarked();
    let wish = if owes { Wish::Latest } else { due };
    ctx.is_completing = owes;
    ctx.status.acted = acted(ctx, &history, due);
    let facts = Facts {
        wish,
        plan: &ctx.facts().plan,
        program: &ctx.config.spec.program,
        key_groups: ctx.config.key_groups,
        retain: ctx.config.spec.snapshots.retain,
        allow_dropped_state: ctx.config.spec.restore.allow_dropped_state,
        prefix: &ctx.config.prefix,
    };
    let decision = resolve(&history, facts);
    ctx.history = history;
    // Nothing is to begin anew where it goes on.
    if wish == Wish::Latest && adopting::is_possible(ctx, &ctx.history) {
        return Claiming::take_over(ctx);
    }
    match decision {
        Decision::Finished { differs, .. } => {
            ctx.status.finished_with = differs;
            ctx.end(Outcome::Finished { already: true })
        }
        Decision::Refuse(failure) => {
            ctx.status.restore_refused = true;
            ctx.fail(failure)
        }
        // It would be given tasks only to have them taken away.
        _ if ctx.is_left() => waiting::let_go(ctx),
        Decision::Fresh { lineage } => Claiming::enter(ctx, wish, None, lineage),
        Decision::From { seq, lineage, .. } => Claiming::enter(ctx, wish, Some(seq), Some(lineage)),
    }
}

/// Tasks of a run that the log does not know mean that it is not the log they were made from.
fn ahead(ctx: &Context, history: &History) -> Option<Failure> {
    let last = history.highest_run();
    let goings =
        ctx.indexes().map(|worker| (worker, ctx.workers[worker.0 as usize].going.as_ref()));
    let run = |(worker, going): (_, Option<&Box<Going>>)| Some((worker, going?.run));
    let (worker, run) = goings.filter_map(run).find(|(_, run)| *run > last)?;
    let message = format!(
        "worker {worker} has tasks of run {run}, but the log in {} ends with run {last}: it was \
         deleted or has lost entries while the job ran. End the job's workers before it is started \
         again",
        ctx.config.prefix
    );
    Some(Failure::new(ErrorKind::Corrupt, message))
}

/// What speaks against the next spec, of the newest snapshot as it is now.
pub(super) fn refuses_next(ctx: &Context) -> Option<Failure> {
    let (Edit { spec, wish, .. }, next) = ctx.next_facts()?;
    let facts = Facts {
        wish: *wish,
        plan: &next.plan,
        program: &spec.program,
        key_groups: ctx.config.key_groups,
        retain: spec.snapshots.retain,
        allow_dropped_state: spec.restore.allow_dropped_state,
        prefix: &ctx.config.prefix,
    };
    match resolve(&ctx.history, facts) {
        Decision::Refuse(failure) => Some(failure),
        Decision::Finished { .. } | Decision::Fresh { .. } | Decision::From { .. } => None,
    }
}

/// Whoever held the job and finds that another claimed it since does not take it back: the later
/// claim wins, or two coordinators would take it from each other for ever.
fn fenced(ctx: &Context, history: &History) -> Option<Failure> {
    let held = ctx.status.run?;
    let (seq, claim) = history.claims().last()?;
    (claim.run >= held && !ctx.is_own(&claim.nonce)).then(|| ctx.superseded(seq))
}

/// Which run has acted upon the request that this start repeats, if it repeats one.
fn acted(ctx: &Context, history: &History, due: Wish) -> Option<(u64, Run)> {
    let request = ctx.config.wish.request().filter(|_| due == Wish::Latest)?;
    let by = history.in_force().find(|(_, claim)| claim.wish.request() == Some(request));
    by.filter(|(_, claim)| !ctx.is_own(&claim.nonce)).map(|(_, claim)| (request, claim.run))
}

/// The wish that is still to be acted upon: one with a request acts once per log, one without once
/// per coordinator. A claim whose run never began does not count.
pub(super) fn due(ctx: &Context, history: &History) -> Wish {
    let wish = ctx.config.wish;
    let mut claims = history.in_force().map(|(_, claim)| claim);
    let acted = match wish.request() {
        Some(request) => history.has_acted_upon(request),
        None => claims.any(|claim| claim.wish != Wish::Latest && ctx.is_own(&claim.nonce)),
    };
    if acted { Wish::Latest } else { wish }
}
