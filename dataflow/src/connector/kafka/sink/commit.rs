//! [`KafkaCommitter`]: makes the outbox of a published snapshot visible, in one transaction with
//! the token that says so.
//!
//! Receives what [`super::write`] prepared, from the engine after the snapshot is published or,
//! after a restore, out of the snapshot ([`super::recover`]). Invariants: nothing is sent before
//! its snapshot is published; after a failure whose outcome nobody knows, the token is looked at
//! before anything is sent again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use millstream_protocol::id::Epoch;
use rdkafka::producer::BaseProducer;
use tokio::sync::Mutex;

use super::KafkaPending;
use super::destination::Destination;
use super::flight::Outgoing;
use super::outbox::Content;
use super::stop::blocking;
use super::token::{Doubtful, Token, Verdict};
use super::transactor::Transactor;
use crate::error::{Error, Kind, Result};
use crate::sink::{Committer, Recovery, SinkContext};

/// How old a token may get before it is written again: brokers remove the offsets of a group that
/// commits none, after seven days by default.
const TOKEN_AGE_MAX_MS: i64 = 24 * 60 * 60 * 1000;
/// How often a commit that fails is recovered before the job restarts.
const RECOVERIES: u32 = 3;

/// What the two halves of a task share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The epoch of the token that is in the cluster.
    pub(super) token: AtomicU64,
    /// How many partitions the topic had when it was last looked at.
    pub(super) partitions: AtomicU32,
}

impl Shared {
    pub(super) fn token(&self) -> Epoch {
        Epoch(self.token.load(Ordering::SeqCst))
    }

    pub(super) fn set_token(&self, epoch: Epoch) {
        self.token.store(epoch.0, Ordering::SeqCst);
    }
}

/// Makes the output of one task visible.
pub struct KafkaCommitter {
    pub(super) to: Arc<Destination>,
    pub(super) ctx: SinkContext,
    /// The producer of a sink without transactions.
    pub(super) direct: Option<Arc<BaseProducer<Outgoing>>>,
    pub(super) shared: Arc<Shared>,
    pub(super) now: Mutex<Now>,
}

/// What a committer has at hand.
#[derive(Default)]
pub(super) struct Now {
    /// None after a failure.
    pub(super) transactor: Option<Arc<Transactor>>,
    /// When the token was written, by the job's clock; none where that is not known.
    pub(super) written_at: Option<i64>,
}

impl KafkaCommitter {
    pub(super) fn token_of(&self, epoch: Epoch) -> Token {
        Token { epoch, lineage: self.ctx.history.lineage.clone() }
    }

    /// Fails where another process has claimed a newer run.
    pub(super) async fn check_newest(&self) -> Result<()> {
        let (run, newest) = (self.ctx.run, self.ctx.history.runs.highest().await?);
        if newest > run {
            let message = format!("run {newest} of the job is in its log: run {run} is over");
            return Err(Error::new(Kind::Fenced, message));
        }
        Ok(())
    }

    /// Takes over a task's transactional id, and makes sure that this run may.
    pub(super) async fn take_over(&self, task: u32) -> Result<Arc<Transactor>> {
        let (to, run) = (self.to.clone(), self.ctx.run);
        let transactor = blocking(move |stop| Transactor::open(&to, task, run, stop)).await?;
        // After it, not before: a newer run that claims from here on takes the id over in its turn.
        self.check_newest().await?;
        Ok(Arc::new(transactor))
    }

    /// One transaction, with whoever may make it.
    pub(super) async fn transact(
        &self,
        transactor: &Arc<Transactor>,
        topic: String,
        content: Content,
        epoch: Epoch,
    ) -> Result<()> {
        let (own, token) = (transactor.clone(), self.token_of(epoch));
        let done = blocking(move |stop| own.transact(&topic, &content, &token, stop)).await;
        done.map_err(|error| {
            if error.kind() == Kind::Fenced && transactor.is_superseded() {
                Error::unavailable(format!("{error}: a newer run of this process has taken over"))
            } else {
                error
            }
        })
    }

    /// Sends an outbox, unless it turns out to be done.
    async fn commit_pending(&self, now: &mut Now, pending: &KafkaPending) -> Result<()> {
        let (task, mut recoveries) = (self.ctx.info.task.0, 0);
        loop {
            if now.transactor.is_none() && !self.recover_commit(now, pending, task).await? {
                return Ok(());
            }
            let Some(transactor) = now.transactor.take() else {
                return Err(Error::bug("a recovery has left no producer"));
            };
            let (topic, content) = (pending.topic.clone(), pending.content.clone());
            let error = match self.transact(&transactor, topic, content, pending.epoch).await {
                Ok(()) => {
                    now.transactor = Some(transactor);
                    return Ok(());
                }
                Err(error) => error,
            };
            recoveries += 1;
            let superseded = transactor.is_superseded();
            // It waits for its threads, as it does for brokers.
            blocking(move |_| {
                drop(transactor);
                Ok(())
            })
            .await?;
            let may_go_on = matches!(error.kind(), Kind::Unavailable | Kind::Fenced | Kind::Bug);
            if !may_go_on || superseded || recoveries > RECOVERIES {
                return Err(error);
            }
            // Somebody who took the job over must not be locked out by our taking over again.
            self.check_newest().await?;
            tracing::warn!(
                "epoch {} of {}: {error}: looking",
                pending.epoch,
                self.ctx.info.operator
            );
        }
    }

    /// After a failure whose outcome nobody knows. False where the commit had happened.
    async fn recover_commit(
        &self,
        now: &mut Now,
        pending: &KafkaPending,
        task: u32,
    ) -> Result<bool> {
        let transactor = self.take_over(task).await?;
        let (own, topic) = (transactor.clone(), pending.topic.clone());
        let found = blocking(move |stop| own.token(&topic, stop)).await?;
        now.transactor = Some(transactor);
        self.judge(pending, self.shared.token(), found.as_ref())
    }

    /// Whether an outbox has to be sent, by the token that was found.
    pub(super) fn judge(
        &self,
        pending: &KafkaPending,
        previous: Epoch,
        found: Option<&Token>,
    ) -> Result<bool> {
        let doubtful = Doubtful {
            epoch: pending.epoch,
            previous,
            lineage: &self.ctx.history.lineage,
            is_empty: pending.content.is_empty(),
        };
        match doubtful.judge(found) {
            Verdict::Done => Ok(false),
            Verdict::Send => Ok(true),
            Verdict::Unknown(why) => Err(self.unknown(pending, &why)),
        }
    }

    #[cold]
    fn unknown(&self, pending: &KafkaPending, why: &str) -> Error {
        let KafkaPending { task, epoch, topic, content, .. } = pending;
        Error::invalid(format!(
            "nobody can say whether the {} records of epoch {epoch} are in topic {topic} already: \
             the answer was in group {}, but {why}. Look into the topic, then say so by \
             `snapshots mark`, and start again: as it is where the records are there, from the \
             snapshot before (restore.uri) where they are not",
            content.records(),
            self.to.names.group(*task)
        ))
    }

    fn is_token_old(&self, now: &Now) -> bool {
        let since = now.written_at;
        since.is_none_or(|since| self.ctx.clock.now().0.saturating_sub(since) >= TOKEN_AGE_MAX_MS)
    }
}

#[async_trait]
impl Committer for KafkaCommitter {
    type Pending = KafkaPending;

    async fn commit(&self, _: Epoch, pending: KafkaPending) -> Result<()> {
        let mut now = self.now.lock().await;
        if pending.epoch <= self.shared.token() {
            return Ok(());
        }
        if pending.content.is_empty() && !self.is_token_old(&now) {
            return Ok(());
        }
        self.commit_pending(&mut now, &pending).await?;
        self.shared.set_token(pending.epoch);
        now.written_at = Some(self.ctx.clock.now().0);
        Ok(())
    }

    async fn recover(&self, from: Recovery<KafkaPending>) -> Result<()> {
        self.recover_all(from).await
    }
}
