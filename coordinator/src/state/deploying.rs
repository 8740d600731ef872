//! Bringing the tasks of a run into being: old tasks away, state restored, sinks recovered.
//!
//! Received from: [`super::Claiming`]. Handed to: [`Running`]; or [`Stopping`], where nothing is
//! left to run; or [`super::waiting`], where the output of the base was all that was to be
//! completed before a wish is acted upon, or a worker is about to end. Invariants: no task is
//! deployed while one of an earlier run may still reach a sink; none starts before all sinks are
//! recovered and the base is marked as committed; none of a run that a wish asked for before the
//! log says that it began.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Run, Seq, WorkerIndex};
use millstream_protocol::log::{Began, Entry};
use millstream_protocol::session::{Command, Deploy, Report, Restore};
use millstream_protocol::time::Timestamp;
use millstream_protocol::wish::Wish;

use super::{Running, State, Stopping, resolving, waiting};
use crate::append::{Append, Progress};
use crate::context::{ANSWER_TIMEOUT, Context, STORE_ANSWER_TIMEOUT, STORE_RETRY_PAUSE};
use crate::machine::Event;
use crate::status::{Restored, SnapshotStatus};

/// How long tasks may take to let go. User code is interrupted between records only.
const DROP_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a restore may take: a terabyte over a slow network, with room to spare. A worker that
/// dies meanwhile is noticed by its session.
const DEPLOY_TIMEOUT: Duration = Duration::from_hours(1);
/// How long the mark of the base may take.
const MARK_TIMEOUT: Duration = Duration::from_mins(10);

/// Tasks are coming up.
#[derive(Debug)]
pub(crate) struct Deploying {
    restore: Option<Restore>,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// Tasks of an earlier run are being dropped.
    Clearing { again: Timestamp, until: Timestamp },
    /// These workers have not yet deployed.
    Building { missing: BTreeSet<WorkerIndex>, until: Timestamp },
    /// The recovered base is being marked as committed.
    Marking { seq: Seq, again: Timestamp, until: Timestamp },
    /// The log is told that the run begins.
    Beginning { append: Append, began: Began },
}

impl Deploying {
    pub(super) fn enter(ctx: &mut Context) -> State {
        let base = ctx.reign().parent;
        let restore = base.map(|seq| Restore {
            seq,
            manifest: ctx.history.manifest(seq).expect("the base was resolved from it").clone(),
            committed: ctx.history.is_committed(seq),
        });
        // Asked of all: a worker that was cut off and came back may still have tasks of any run.
        let before = Run(ctx.reign().run.0 - 1);
        ctx.drop_up_to(before);
        let (again, until) = (ctx.now.after(ANSWER_TIMEOUT), ctx.now.after(DROP_TIMEOUT));
        let deploying = Self { restore, step: Step::Clearing { again, until } };
        deploying.go_on(ctx)
    }

    pub(super) fn wake_at(&self) -> Timestamp {
        match &self.step {
            Step::Building { until, .. } => *until,
            Step::Clearing { again, until } | Step::Marking { again, until, .. } => {
                *again.min(until)
            }
            Step::Beginning { append, .. } => append.wake_at(),
        }
    }

    /// Where it stands, for the table of all states and events.
    #[cfg(test)]
    pub(super) fn step(&self) -> &'static str {
        match &self.step {
            Step::Clearing { .. } => "clearing",
            Step::Building { .. } => "building",
            Step::Marking { .. } => "marking",
            Step::Beginning { .. } => "beginning",
        }
    }

    pub(super) fn on(mut self: Box<Self>, ctx: &mut Context, event: &Event) -> State {
        if let Step::Beginning { append, began } = &mut self.step {
            return match append.on(ctx, event) {
                Progress::Going => State::Deploying(self),
                Progress::GaveUp(failure) => ctx.fail(failure),
                Progress::Taken => {
                    let failure = ctx.superseded(append.seq);
                    ctx.fail(failure)
                }
                Progress::Done => {
                    let (seq, began) = (append.seq, began.clone());
                    ctx.own(seq, Entry::Began(began));
                    self.start(ctx)
                }
            };
        }
        match (event, &mut self.step) {
            (
                Event::Report(worker, Report::Deployed { run, .. }),
                Step::Building { missing, .. },
            ) if *run == ctx.reign().run => {
                missing.remove(worker);
            }
            (
                Event::Report(_, Report::CommittedWritten { seq: written, result }),
                Step::Marking { seq, again, .. },
            ) if written == seq => {
                if result.is_ok() {
                    ctx.history.commit(*seq);
                    return self.begin(ctx);
                }
                *again = ctx.now.after(STORE_RETRY_PAUSE);
            }
            _ => {}
        }
        self.go_on(ctx)
    }

    fn go_on(mut self, ctx: &mut Context) -> State {
        let is_early = matches!(self.step, Step::Clearing { .. } | Step::Building { .. });
        if is_early && ctx.is_left() {
            return waiting::let_go(ctx);
        }
        let late = |message: String| Failure::new(ErrorKind::Unavailable, message);
        match &mut self.step {
            Step::Beginning { .. } => {}
            Step::Clearing { again, until } => {
                let busy = ctx.indexes().find(|w| ctx.workers[w.0 as usize].dropping.is_some());
                let Some(busy) = busy else { return self.build(ctx) };
                if ctx.now >= *until {
                    return ctx.fail(late(format!("worker {busy} does not drop its old tasks")));
                }
                if ctx.now >= *again {
                    *again = ctx.now.after(ANSWER_TIMEOUT);
                    drop_again(ctx);
                }
            }
            Step::Building { missing, until } => match missing.first() {
                None => return self.mark(ctx),
                Some(worker) if ctx.now >= *until => {
                    let message = format!("worker {worker} does not deploy its tasks");
                    return ctx.fail(late(message));
                }
                Some(_) => {}
            },
            Step::Marking { seq, again, until } => {
                if ctx.now >= *until {
                    let message = format!("cannot mark manifest {seq} as committed");
                    return ctx.fail(late(message));
                }
                if ctx.now >= *again {
                    *again = ctx.now.after(STORE_ANSWER_TIMEOUT);
                    ctx.send(ctx.leader(), Command::WriteCommitted { seq: *seq });
                }
            }
        }
        State::Deploying(Box::new(self))
    }

    fn build(mut self, ctx: &mut Context) -> State {
        let all = || ctx.indexes().map(|worker| &ctx.workers[worker.0 as usize]);
        let facts = || all().filter_map(|worker| worker.facts.as_ref());
        let threads = facts().map(|facts| facts.threads).collect();
        let peers = facts().map(|facts| facts.address.clone().unwrap_or_default()).collect();
        let sinks_ever = ctx.history.sinks_ever();
        let spec = ctx.config.spec.clone();
        let reign = ctx.reign();
        let deploy = Deploy {
            run: reign.run,
            term: reign.term,
            lineage: reign.lineage.clone(),
            spec,
            threads,
            peers,
            restore: self.restore.clone(),
            sinks_ever,
        };
        ctx.send_all(&Command::Deploy(Box::new(deploy)));
        let missing = ctx.indexes().collect();
        self.step = Step::Building { missing, until: ctx.now.after(DEPLOY_TIMEOUT) };
        State::Deploying(Box::new(self))
    }

    /// All sinks are recovered: what the base had pending is visible, and that is worth a mark.
    fn mark(mut self, ctx: &mut Context) -> State {
        ctx.mended(|last| &mut last.restored_at);
        match &self.restore {
            Some(restore) if !restore.committed => {
                let seq = restore.seq;
                ctx.send(ctx.leader(), Command::WriteCommitted { seq });
                let again = ctx.now.after(STORE_ANSWER_TIMEOUT);
                self.step = Step::Marking { seq, again, until: ctx.now.after(MARK_TIMEOUT) };
                State::Deploying(Box::new(self))
            }
            Some(_) | None => self.begin(ctx),
        }
    }

    /// What a wish asked for counts from here on: whatever failed before has changed nothing.
    fn begin(mut self, ctx: &mut Context) -> State {
        let due = resolving::due(ctx, &ctx.history);
        if due == Wish::Latest {
            return self.start(ctx);
        }
        let (run, last) = (ctx.reign().run, ctx.reign().last);
        let wished = ctx.history.entry(last).and_then(Entry::as_claim).map(|claim| claim.wish);
        if wished != Some(due) {
            // The output of the base is visible, which is all that this run was for.
            ctx.drop_tasks();
            return waiting::enter(ctx);
        }
        let began = Began { nonce: ctx.nonce(), run, at: ctx.now };
        let (nonce, entry) = (began.nonce.clone(), Entry::Began(began.clone()));
        let append = Append::start(ctx, last.next(), nonce, &entry);
        self.step = Step::Beginning { append, began };
        State::Deploying(Box::new(self))
    }

    fn start(self, ctx: &mut Context) -> State {
        if self.restore.as_ref().is_some_and(|restore| restore.manifest.is_final) {
            return Stopping::clear_up(ctx);
        }
        // What has been marked, or begun, stays so.
        if ctx.is_left() {
            return waiting::let_go(ctx);
        }
        // It may be one of which this coordinator never heard that it was published.
        if let Some(Restore { seq, manifest, .. }) = &self.restore
            && let Some(last) = &mut ctx.status.last_snapshot
            && last.seq < *seq
        {
            *last = SnapshotStatus::of(&ctx.config.prefix, *seq, manifest);
        }
        ctx.status.restored = self.restore.map(|Restore { seq, manifest, .. }| Restored {
            from: ctx.config.prefix.snapshot_uri(seq),
            epoch: manifest.epoch,
            at: ctx.now,
        });
        let run = ctx.reign().run;
        ctx.send_all(&Command::Start { run });
        Running::enter(ctx)
    }
}

fn drop_again(ctx: &mut Context) {
    for index in ctx.indexes() {
        if let Some(run) = ctx.workers[index.0 as usize].dropping {
            ctx.send(index, Command::Drop { run });
        }
    }
}
