//! Getting one entry into one slot of the log, whatever becomes of the answers.
//!
//! Received from: the claiming state and a snapshot being published. Handed to: a worker, as
//! `Append` and `ReadEntry`. Invariant: the bytes are fixed before the first attempt and every
//! attempt writes the same; a slot that holds them is success, whoever's attempt it was.

use std::time::Duration;

use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::id::{Epoch, Seq, WorkerIndex};
use millstream_protocol::log::{Began, Claim, Entry, Manifest, Nonce, Tombstone};
use millstream_protocol::session::{AppendOutcome, Command, Report};
use millstream_protocol::time::{GepDuration, Timestamp};

use crate::context::{Context, STORE_ANSWER_TIMEOUT, STORE_RETRY_PAUSE};
use crate::machine::Event;
use crate::status::LogFailure;

/// After this long without success the log is read anew instead. Far beyond any store's hiccup; a
/// restart loses no more than the time since the last snapshot.
const GIVE_UP_AFTER: Duration = Duration::from_mins(10);
/// Why an attempt failed of which nothing was heard.
pub(crate) const NO_ANSWER: &str = "the store does not answer";

/// One entry on its way into the log.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) seq: Seq,
    nonce: Nonce,
    text: String,
    worker: WorkerIndex,
    step: Step,
    started: Timestamp,
    give_up_at: Timestamp,
    /// What it means for the job that the entry is not in the log.
    what: String,
    /// The snapshot that the entry is, if it is one.
    epoch: Option<Epoch>,
}

#[derive(Debug)]
enum Step {
    /// The attempt is under way.
    Asked { until: Timestamp },
    /// Its outcome is unknown and the slot is being read.
    Looking { until: Timestamp },
    /// The slot was free, or the attempt certainly failed: try again then.
    Paused { until: Timestamp },
    /// The slot could not be read: look again then.
    Blind { until: Timestamp },
}

/// What became of an append.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing yet.
    Going,
    /// The entry is in the log.
    Done,
    /// Another entry is in the slot.
    Taken,
    /// Nobody can say, and it has been too long.
    GaveUp(Failure),
}

impl Append {
    /// Fixes the entry's bytes and makes the first attempt.
    pub(crate) fn start(ctx: &mut Context, seq: Seq, nonce: Nonce, entry: &Entry) -> Self {
        let mut append = Self {
            seq,
            nonce,
            text: entry.to_text(&ctx.config.prefix, seq),
            worker: ctx.leader(),
            step: Step::Paused { until: ctx.now },
            started: ctx.now,
            give_up_at: ctx.patience(GIVE_UP_AFTER),
            what: what(entry),
            epoch: entry.as_manifest().map(|manifest| manifest.epoch),
        };
        append.ask(ctx);
        append
    }

    fn ask(&mut self, ctx: &mut Context) {
        let (seq, nonce, text) = (self.seq, self.nonce.clone(), self.text.clone());
        ctx.send(self.worker, Command::Append { seq, nonce, text });
        self.step = Step::Asked { until: ctx.now.after(STORE_ANSWER_TIMEOUT) };
        doubt(ctx, true);
    }

    /// Shows why the entry is not known to be in the log.
    fn failed(&self, ctx: &mut Context, reason: &str, may_be_there: bool) {
        ctx.status.log_failure = Some(LogFailure {
            what: self.what.clone(),
            epoch: self.epoch,
            reason: reason.to_owned(),
            since: self.started,
            may_be_there,
        });
    }

    fn look(&mut self, ctx: &mut Context) {
        ctx.send(self.worker, Command::ReadEntry { seq: self.seq });
        self.step = Step::Looking { until: ctx.now.after(STORE_ANSWER_TIMEOUT) };
    }

    pub(crate) fn wake_at(&self) -> Timestamp {
        match self.step {
            Step::Asked { until }
            | Step::Looking { until }
            | Step::Paused { until }
            | Step::Blind { until } => until.min(self.give_up_at),
        }
    }

    pub(crate) fn on(&mut self, ctx: &mut Context, event: &Event) -> Progress {
        if matches!(event, Event::Stop(_)) {
            self.give_up_at = self.give_up_at.min(ctx.patience(GIVE_UP_AFTER));
        }
        let progress = self.go_on(ctx, event);
        if matches!(progress, Progress::Done | Progress::Taken) {
            ctx.status.log_failure = None;
        }
        progress
    }

    fn go_on(&mut self, ctx: &mut Context, event: &Event) -> Progress {
        match event {
            Event::Report(_, Report::Appended { seq, nonce, outcome })
                if *seq == self.seq && *nonce == self.nonce =>
            {
                return self.on_outcome(ctx, outcome);
            }
            // A free slot read for an earlier attempt says nothing about this one.
            Event::Report(_, Report::Slot { seq, content })
                if *seq == self.seq && matches!(self.step, Step::Looking { .. }) =>
            {
                match content {
                    Ok(Some(text)) => return self.compare(text),
                    // Not at once: what failed in no time would be tried without end.
                    Ok(None) => {
                        doubt(ctx, false);
                        self.step = Step::Paused { until: ctx.now.after(STORE_RETRY_PAUSE) };
                    }
                    Err(failure) => {
                        self.failed(ctx, &failure.message, true);
                        self.step = Step::Blind { until: ctx.now.after(STORE_RETRY_PAUSE) };
                    }
                }
            }
            _ => {}
        }
        if ctx.now >= self.give_up_at {
            return Progress::GaveUp(self.give_up(ctx));
        }
        match self.step {
            Step::Paused { until } if ctx.now >= until => self.ask(ctx),
            Step::Asked { until } | Step::Looking { until } if ctx.now >= until => {
                self.failed(ctx, NO_ANSWER, true);
                self.look(ctx);
            }
            Step::Blind { until } if ctx.now >= until => self.look(ctx),
            _ => {}
        }
        Progress::Going
    }

    /// Why nothing more is tried.
    fn give_up(&self, ctx: &mut Context) -> Failure {
        if ctx.status.log_failure.is_none() {
            self.failed(ctx, NO_ANSWER, true);
        }
        let reason = ctx.status.log_failure.as_ref().map_or(NO_ANSWER, |it| &it.reason);
        let tried = GepDuration::from_secs(ctx.now.since(self.started).as_secs());
        let message = format!("{}: {reason} (tried for {tried})", self.what);
        Failure::new(ErrorKind::Unavailable, message)
    }

    fn on_outcome(&mut self, ctx: &mut Context, outcome: &AppendOutcome) -> Progress {
        match outcome {
            AppendOutcome::Created => return Progress::Done,
            AppendOutcome::Exists(text) => return self.compare(text),
            AppendOutcome::Unknown(reason) => {
                self.failed(ctx, reason, true);
                self.look(ctx);
            }
            AppendOutcome::Failed(failure)
                if matches!(failure.kind, ErrorKind::Invalid | ErrorKind::Corrupt) =>
            {
                return Progress::GaveUp(failure.clone());
            }
            // An earlier attempt may have succeeded all the same, so nothing but the slot can tell.
            AppendOutcome::Failed(failure) => {
                self.failed(ctx, &failure.message, true);
                self.step = Step::Paused { until: ctx.now.after(STORE_RETRY_PAUSE) };
            }
        }
        Progress::Going
    }

    fn compare(&self, text: &str) -> Progress {
        if *text == self.text { Progress::Done } else { Progress::Taken }
    }
}

/// What it means for the job that this entry is not in the log.
fn what(entry: &Entry) -> String {
    match entry {
        Entry::Claim(Claim { run, .. }) | Entry::Began(Began { run, .. }) => {
            format!("the start of run {run} cannot be noted in the log")
        }
        Entry::Manifest(Manifest { epoch, .. }) | Entry::Tombstone(Tombstone { epoch, .. }) => {
            format!("snapshot {epoch} cannot be published")
        }
    }
}

/// Notes whether an entry that could not be written may be in the log all the same.
fn doubt(ctx: &mut Context, may_be_there: bool) {
    if let Some(failure) = &mut ctx.status.log_failure {
        failure.may_be_there = may_be_there;
    }
}
