//! Taking the job: the claim that starts the next run.
//!
//! Received from: [`Resolving`], the base. Handed to: [`Deploying`]; back to [`Resolving`] where
//! the slot is taken. Invariant: no task of a run is deployed before its claim is in the log.

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Seq, Term, WorkerIndex};
use millstream_protocol::log::{Claim, Entry, Lineage, ProgramMark};
use millstream_protocol::session::PROTOCOL_VERSION;
use millstream_protocol::time::Timestamp;
use millstream_protocol::wish::Wish;

use super::{Adopting, Deploying, Resolving, State};
use crate::append::{Append, Progress};
use crate::context::{Context, Reign};
use crate::machine::Event;
use crate::status::{Phase, Totals};

/// A claim is on its way.
#[derive(Debug)]
pub(crate) struct Claiming {
    append: Append,
    claim: Claim,
    /// The tasks of the run go on.
    takes_over: bool,
}

impl Claiming {
    pub(super) fn enter(
        ctx: &mut Context,
        wish: Wish,
        base: Option<Seq>,
        lineage: Option<Lineage>,
    ) -> State {
        let phase = if base.is_some() { Phase::Restoring } else { Phase::Starting };
        ctx.status.phase = ctx.editing.unwrap_or(phase);
        let nonce = ctx.nonce();
        let claim = Claim {
            nonce: nonce.clone(),
            run: ctx.history.highest_run().next(),
            term: Term(1),
            base,
            wish,
            // The nonce is new and nobody else's: just what a new history's name must be.
            lineage: lineage.unwrap_or_else(|| Lineage(nonce.0.clone())),
            sink_parallelism: ctx.sink_parallelism(),
            protocol: PROTOCOL_VERSION,
            program: Some(ProgramMark::of(&ctx.config.spec.program)),
            retain: Some(ctx.config.spec.snapshots.retain),
            at: ctx.now,
        };
        let seq = ctx.history.last().next();
        let append = Append::start(ctx, seq, nonce, &Entry::Claim(claim.clone()));
        State::Claiming(Self { append, claim, takes_over: false })
    }

    /// Claims the run that goes on, in the next term.
    pub(super) fn take_over(ctx: &mut Context) -> State {
        let in_force = ctx.history.in_force().next_back();
        let (_, first) = in_force.expect("a run that goes on was claimed");
        let terms = ctx.history.claims().filter(|(_, claim)| claim.run == first.run);
        let term = terms.map(|(_, claim)| claim.term.0).max().unwrap_or_default();
        let claim = Claim { term: Term(term + 1), ..first.clone() };
        let claim = Claim {
            nonce: ctx.nonce(),
            base: ctx.history.restorable(),
            // That of the run was acted upon when it began.
            wish: Wish::Latest,
            retain: Some(ctx.config.spec.snapshots.retain),
            at: ctx.now,
            ..claim
        };
        let seq = ctx.history.last().next();
        let append = Append::start(ctx, seq, claim.nonce.clone(), &Entry::Claim(claim.clone()));
        State::Claiming(Self { append, claim, takes_over: true })
    }

    pub(super) fn wake_at(&self) -> Timestamp {
        self.append.wake_at()
    }

    pub(super) fn on(mut self, ctx: &mut Context, event: &Event) -> State {
        match self.append.on(ctx, event) {
            Progress::Going => State::Claiming(self),
            Progress::Taken => Resolving::enter(ctx),
            Progress::GaveUp(failure) => ctx.fail(failure),
            Progress::Done => self.claimed(ctx),
        }
    }

    fn claimed(self, ctx: &mut Context) -> State {
        let Self { append: Append { seq, .. }, claim, takes_over } = self;
        let facts = ctx.facts();
        ctx.reign = Some(Reign {
            run: claim.run,
            term: claim.term,
            lineage: claim.lineage.clone(),
            plan: facts.plan.clone(),
            fingerprint: facts.fingerprint.clone(),
            last: seq,
            parent: claim.base,
            epoch: ctx.history.highest_epoch(),
            sweep: true,
            retain: claim.retain.unwrap_or(ctx.config.spec.snapshots.retain),
        });
        ctx.status.run = Some(claim.run);
        ctx.held = Some((claim.run, claim.term));
        ctx.status.totals = Totals::default();
        ctx.status.taken_over = takes_over;
        ctx.seen = ctx.seen.max(seq);
        ctx.history.insert(seq, Entry::Claim(claim));
        if takes_over {
            let going = |worker: &WorkerIndex| ctx.workers[worker.0 as usize].going.is_some();
            if let Some(worker) = ctx.indexes().find(|worker| !going(worker)) {
                let message = format!("tasks of worker {worker} have failed meanwhile");
                return ctx.fail(Failure::new(ErrorKind::Unavailable, message));
            }
            return Adopting::enter(ctx);
        }
        Deploying::enter(ctx)
    }
}
