//! One epoch in flight, from its barrier to the end of its retention.
//!
//! Received from: the running and the stopping state, which begin it. Handed to: the workers as
//! commands, and back to the state as [`Progress`].
//!
//! # Flow Barrier to all -> all parts uploaded -> append the manifest -> published -> commit -> all
//! committed
//! -> `committed/<seq>` -> tombstones and deletes.
//!
//! # Guarantees Nothing is committed before it is published. An epoch is aborted only while no
//! attempt to write its manifest was made. Nothing is deleted before the newer snapshot is
//! committed.
//!
//! # Caveats
//! Retention that fails is left for the next time: it costs space, never data.

mod retaining;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, Run, Seq, WorkerIndex};
use millstream_protocol::log::{Entry, Manifest};
use millstream_protocol::session::{Command, Report};
use millstream_protocol::share::{Cut, Previous, TaskShare, extend};
use millstream_protocol::time::{GepDuration, Timestamp};

use crate::append::{self, Append, NO_ANSWER};
use crate::context::{ANSWER_TIMEOUT, Context, STORE_ANSWER_TIMEOUT, STORE_RETRY_PAUSE};
use crate::machine::Event;
use crate::retain::Retention;
use crate::status::{LogFailure, SnapshotStatus};

/// After this long without a word that the output is visible, the run starts again and recovers its
/// sinks. Longer than a broker's own transaction time-outs.
const COMMIT_TIMEOUT: Duration = Duration::from_mins(10);
/// How long retention may hold up the next epoch.
const RETAIN_TIMEOUT: Duration = Duration::from_mins(1);

/// What a barrier is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The job goes on behind it.
    Periodic,
    /// The job stops behind it.
    Suspend,
    /// The tasks stop behind it, and others take their place.
    Edit,
    /// The tasks stop behind it, because a worker is about to end.
    Drain,
    /// All tasks have ended.
    Final,
}

/// One epoch in flight.
#[derive(Debug)]
pub(crate) struct Snapshot {
    run: Run,
    epoch: Epoch,
    purpose: Purpose,
    /// The request for a savepoint that it answers.
    savepoint: Option<u64>,
    started: Timestamp,
    new_bytes: u64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Uploading { shares: BTreeMap<WorkerIndex, Vec<TaskShare>>, until: Timestamp },
    Publishing { append: Append, manifest: Box<Manifest> },
    Committing { seq: Seq, missing: BTreeSet<WorkerIndex>, again: Timestamp, until: Timestamp },
    Marking { seq: Seq, again: Timestamp, until: Timestamp },
    Listing { until: Timestamp },
    Retaining { retention: Retention, until: Timestamp },
}

/// What became of an epoch.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It goes on.
    Going(Snapshot),
    /// It is committed, and what is old is gone.
    Done,
    /// It is given up; the job goes on.
    Aborted,
    /// The run cannot go on.
    Failed(Failure),
}

impl Snapshot {
    /// Takes the next epoch and sends its barrier to all workers.
    pub(crate) fn start(ctx: &mut Context, purpose: Purpose) -> Self {
        let reign = ctx.reign();
        reign.epoch = reign.epoch.next();
        let (run, epoch) = (reign.run, reign.epoch);
        ctx.send_all(&Command::Barrier { run, epoch, stopping: purpose != Purpose::Periodic });
        let until = ctx.now.after(ctx.config.spec.snapshots.timeout.0);
        let stage = Stage::Uploading { shares: BTreeMap::new(), until };
        let savepoint = ctx.savepoint.map(|wanted| wanted.request);
        Self { run, epoch, purpose, savepoint, started: ctx.now, new_bytes: 0, stage }
    }

    /// The newest snapshot of a run that was taken over: it is published, but perhaps the workers
    /// do not know, and its output is perhaps not visible.
    pub(crate) fn again(ctx: &mut Context, seq: Seq, manifest: &Manifest) -> Option<Self> {
        let (run, epoch) = (manifest.run, manifest.epoch);
        ctx.status.last_snapshot = Some(SnapshotStatus::of(&ctx.config.prefix, seq, manifest));
        let parts = manifest.operators.iter().flat_map(|operator| &operator.parts);
        let objects = parts.map(|part| part.object.clone()).collect();
        ctx.send_all(&Command::Published { run, epoch, objects });
        if ctx.history.is_committed(seq) {
            return None;
        }
        let purpose = Purpose::Periodic;
        let stage = Stage::Listing { until: ctx.now };
        let now = ctx.now;
        let snapshot =
            Self { run, epoch, purpose, savepoint: None, started: now, new_bytes: 0, stage };
        let progress = snapshot.commit(ctx, seq, manifest.pending_commits);
        match progress {
            Progress::Going(snapshot) => Some(snapshot),
            Progress::Done | Progress::Aborted | Progress::Failed(_) => None,
        }
    }

    /// Where it stands, for the table of all states and events.
    #[cfg(test)]
    pub(crate) fn step(&self) -> &'static str {
        match &self.stage {
            Stage::Uploading { .. } => "uploading",
            Stage::Publishing { .. } => "publishing",
            Stage::Committing { .. } => "committing",
            Stage::Marking { .. } => "marking",
            Stage::Listing { .. } => "listing",
            Stage::Retaining { .. } => "retaining",
        }
    }

    pub(crate) fn wake_at(&self) -> Timestamp {
        match &self.stage {
            Stage::Uploading { until, .. }
            | Stage::Listing { until }
            | Stage::Retaining { until, .. } => *until,
            Stage::Publishing { append, .. } => append.wake_at(),
            Stage::Committing { again, until, .. } | Stage::Marking { again, until, .. } => {
                *again.min(until)
            }
        }
    }

    pub(crate) fn on(mut self, ctx: &mut Context, event: &Event) -> Progress {
        let stage = std::mem::replace(&mut self.stage, Stage::Listing { until: ctx.now });
        match stage {
            Stage::Uploading { shares, until } => self.uploading(ctx, event, shares, until),
            Stage::Publishing { append, manifest } => self.publishing(ctx, event, append, manifest),
            Stage::Committing { seq, missing, again, until } => {
                self.committing(ctx, event, seq, (missing, again, until))
            }
            Stage::Marking { seq, again, until } => self.marking(ctx, event, seq, (again, until)),
            Stage::Listing { until } => self.listing(ctx, event, until),
            Stage::Retaining { retention, until } => self.retaining(ctx, event, retention, until),
        }
    }

    fn going(mut self, stage: Stage) -> Progress {
        self.stage = stage;
        Progress::Going(self)
    }

    fn uploading(
        self,
        ctx: &mut Context,
        event: &Event,
        mut shares: BTreeMap<WorkerIndex, Vec<TaskShare>>,
        until: Timestamp,
    ) -> Progress {
        match event {
            Event::Report(worker, Report::PartUploaded { run, epoch, shares: own })
                if (*run, *epoch) == (self.run, self.epoch) =>
            {
                shares.insert(*worker, own.clone());
            }
            Event::Report(worker, Report::Declined { run, epoch, reason })
                if (*run, *epoch) == (self.run, self.epoch) =>
            {
                return self.abort(ctx, &format!("worker {worker} declined: {reason}"));
            }
            _ => {}
        }
        if ctx.indexes().all(|worker| shares.contains_key(&worker)) {
            return self.publish(ctx, shares.into_values().flatten().collect());
        }
        if ctx.now >= until {
            let missing = ctx.indexes().find(|worker| !shares.contains_key(worker));
            let timeout = ctx.config.spec.snapshots.timeout;
            return self.abort(
                ctx,
                &format!("worker {} uploaded nothing for {timeout}", missing.unwrap_or_default()),
            );
        }
        self.going(Stage::Uploading { shares, until })
    }

    fn abort(self, ctx: &mut Context, reason: &str) -> Progress {
        ctx.send_all(&Command::Abort { run: self.run, epoch: self.epoch });
        ctx.status.snapshot_failure = Some(format!("epoch {}: {reason}", self.epoch));
        if let Some(request) = self.savepoint {
            ctx.not_saved(request, reason);
        }
        ctx.reign().sweep = true;
        Progress::Aborted
    }

    fn publish(mut self, ctx: &mut Context, shares: Vec<TaskShare>) -> Progress {
        let last_for = ctx.savepoint_at(self.purpose);
        let (nonce, now, key_groups) = (ctx.nonce(), ctx.now, ctx.config.key_groups);
        let reign = ctx.reign.as_ref().expect("an epoch runs under a claim");
        let parent = reign.parent.and_then(|seq| ctx.history.manifest(seq));
        let previous =
            parent.map(|parent| Previous { epoch: parent.epoch, operators: &parent.operators });
        let cut = Cut { epoch: self.epoch, plan: &reign.plan, key_groups };
        let operators = match extend(previous, &shares, cut) {
            Ok(operators) => operators,
            Err(error) => {
                return Progress::Failed(Failure::new(ErrorKind::Bug, error.to_string()));
            }
        };
        let data = shares.iter().filter_map(|share| share.data.as_ref());
        self.new_bytes = data.map(|data| data.length).sum();
        self.savepoint = self.savepoint.or(last_for);
        let manifest = Manifest {
            nonce: nonce.clone(),
            run: self.run,
            epoch: self.epoch,
            lineage: reign.lineage.clone(),
            parent: reign.parent,
            fingerprint: reign.fingerprint.clone(),
            plan: reign.plan.clone(),
            key_groups,
            operators,
            pending_commits: shares.iter().any(|share| share.pending_commit),
            is_final: self.purpose == Purpose::Final,
            savepoint: self.savepoint.is_some(),
            at: now,
        };
        let seq = reign.last.next();
        let entry = Entry::Manifest(manifest);
        let append = Append::start(ctx, seq, nonce, &entry);
        let Entry::Manifest(manifest) = entry else { unreachable!("it was made one line above") };
        self.going(Stage::Publishing { append, manifest: Box::new(manifest) })
    }

    fn publishing(
        self,
        ctx: &mut Context,
        event: &Event,
        mut append: Append,
        manifest: Box<Manifest>,
    ) -> Progress {
        match append.on(ctx, event) {
            append::Progress::Going => self.going(Stage::Publishing { append, manifest }),
            append::Progress::GaveUp(failure) => Progress::Failed(failure),
            append::Progress::Taken => Progress::Failed(ctx.superseded(append.seq)),
            append::Progress::Done => self.published(ctx, append.seq, *manifest),
        }
    }

    fn published(self, ctx: &mut Context, seq: Seq, manifest: Manifest) -> Progress {
        let (run, epoch) = (self.run, self.epoch);
        ctx.status.snapshot_failure = None;
        ctx.status.last_snapshot = Some(SnapshotStatus {
            epoch,
            seq,
            uri: ctx.config.prefix.snapshot_uri(seq),
            completed_at: ctx.now,
            duration: ctx.now.since(self.started),
            bytes: manifest.bytes(),
            new_bytes: self.new_bytes,
        });
        let pending = manifest.pending_commits;
        let parts = manifest.operators.iter().flat_map(|operator| &operator.parts);
        let objects = parts.map(|part| part.object.clone()).collect();
        ctx.own(seq, Entry::Manifest(manifest));
        ctx.reign().parent = Some(seq);
        ctx.send_all(&Command::Published { run, epoch, objects });
        self.commit(ctx, seq, pending)
    }

    /// Makes its output visible.
    fn commit(self, ctx: &mut Context, seq: Seq, pending: bool) -> Progress {
        let (run, epoch) = (self.run, self.epoch);
        if !pending {
            return self.mark(ctx, seq);
        }
        ctx.send_all(&Command::Commit { run, epoch, seq });
        let missing = ctx.indexes().collect();
        let (again, until) = (ctx.now.after(ANSWER_TIMEOUT), ctx.now.after(COMMIT_TIMEOUT));
        self.going(Stage::Committing { seq, missing, again, until })
    }

    fn committing(
        self,
        ctx: &mut Context,
        event: &Event,
        seq: Seq,
        (mut missing, mut again, until): (BTreeSet<WorkerIndex>, Timestamp, Timestamp),
    ) -> Progress {
        let (run, epoch) = (self.run, self.epoch);
        if let Event::Report(worker, Report::Committed { run: of, epoch: up_to }) = event
            && *of == run
            && *up_to >= epoch
        {
            missing.remove(worker);
        }
        if missing.is_empty() {
            return self.mark(ctx, seq);
        }
        if ctx.now >= until {
            let waited = GepDuration(COMMIT_TIMEOUT);
            let message = format!("the output of epoch {epoch} is not visible after {waited}");
            return Progress::Failed(Failure::new(ErrorKind::Unavailable, message));
        }
        if ctx.now >= again {
            for worker in &missing {
                ctx.send(*worker, Command::Commit { run, epoch, seq });
            }
            again = ctx.now.after(ANSWER_TIMEOUT);
        }
        self.going(Stage::Committing { seq, missing, again, until })
    }

    fn mark(self, ctx: &mut Context, seq: Seq) -> Progress {
        ctx.send(ctx.leader(), Command::WriteCommitted { seq });
        let (again, until) = (ctx.now.after(STORE_ANSWER_TIMEOUT), ctx.patience(COMMIT_TIMEOUT));
        self.going(Stage::Marking { seq, again, until })
    }

    fn marking(
        self,
        ctx: &mut Context,
        event: &Event,
        seq: Seq,
        (mut again, mut until): (Timestamp, Timestamp),
    ) -> Progress {
        match event {
            Event::Report(_, Report::CommittedWritten { seq: written, result })
                if *written == seq =>
            {
                let Err(failure) = result else {
                    ctx.status.log_failure = None;
                    ctx.history.commit(seq);
                    if let (Some(request), Some(last)) = (self.savepoint, &ctx.status.last_snapshot)
                    {
                        let last = last.clone();
                        ctx.saved(request, last);
                    }
                    return self.retain(ctx);
                };
                self.unmarked(ctx, &failure.message);
                again = ctx.now.after(STORE_RETRY_PAUSE);
            }
            Event::Stop(_) => until = until.min(ctx.patience(COMMIT_TIMEOUT)),
            _ => {}
        }
        if ctx.now >= until.min(again) && ctx.status.log_failure.is_none() {
            self.unmarked(ctx, NO_ANSWER);
        }
        if ctx.now >= until {
            let why = ctx.status.log_failure.as_ref().map(ToString::to_string);
            return Progress::Failed(Failure::new(ErrorKind::Unavailable, why.unwrap_or_default()));
        }
        if ctx.now >= again {
            ctx.send(ctx.leader(), Command::WriteCommitted { seq });
            again = ctx.now.after(STORE_ANSWER_TIMEOUT);
        }
        self.going(Stage::Marking { seq, again, until })
    }

    /// Shows why the mark is not written.
    fn unmarked(&self, ctx: &mut Context, reason: &str) {
        let since = ctx.status.log_failure.as_ref().map_or(ctx.now, |failure| failure.since);
        ctx.status.log_failure = Some(LogFailure {
            what: format!("snapshot {} cannot be marked as complete", self.epoch),
            epoch: Some(self.epoch),
            reason: reason.to_owned(),
            since,
            may_be_there: true,
        });
    }
}
