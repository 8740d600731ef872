//! What a committer does before the first record of a run: lock earlier runs out, then make visible
//! what the snapshot holds and nobody has.
//!
//! # Flow
//! For every transactional id that a run of the job may ever have used, in turn: take it over,
//! which ends its open transaction; make sure that no newer run is in the log; read the token; send
//! what it does not cover. Task `j % parallelism` looks after task j.
//!
//! # Guarantees
//! What was sent is not sent again, and what cannot be known is refused.
//!
//! # Caveats
//! Where the output of the snapshot is known to be visible, no token is read, and a new one
//! written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use millstream_protocol::id::Epoch;
use rdkafka::producer::BaseProducer;

use super::KafkaPending;
use super::commit::KafkaCommitter;
use super::flight::Outgoing;
use super::outbox::Content;
use super::stop::blocking;
use super::token::Token;
use super::transactor::Transactor;
use crate::error::{Error, Kind, Result};
use crate::sink::Recovery;

/// What is found of a task's tokens, by topic: it may have been given another.
type Found = BTreeMap<String, Option<Token>>;

impl KafkaCommitter {
    pub(super) async fn recover_all(&self, from: Recovery<KafkaPending>) -> Result<()> {
        let Recovery { epoch, committed, pending } = from;
        if let Some(producer) = self.direct.clone() {
            // What an exactly-once sink of the same id has left is still made visible as it
            // promised.
            self.look_at_topic(producer).await?;
            if pending.is_empty() {
                return Ok(());
            }
        }
        let mut by_task: BTreeMap<u32, Vec<KafkaPending>> = BTreeMap::new();
        for pending in pending {
            by_task.entry(pending.task).or_default().push(pending);
        }
        let info = &self.ctx.info;
        let ever = self.ctx.tasks_ever().max(by_task.keys().next_back().map_or(0, |last| last + 1));
        let own = (0..ever).filter(|task| task % info.parallelism == info.task.0);
        for task in own {
            let pending = by_task.remove(&task).unwrap_or_default();
            let transactor = self.take_over(task).await?;
            if committed {
                if task == info.task.0 {
                    self.begin(&transactor, Some(self.token_of(epoch)), epoch, true).await?;
                }
            } else {
                let found = self.settle(&transactor, pending).await?;
                if task == info.task.0 {
                    self.begin(&transactor, found, epoch, false).await?;
                }
            }
            if task == info.task.0 {
                self.now.lock().await.transactor = Some(transactor);
            }
        }
        Ok(())
    }

    /// Sends what the token does not cover. Returns the token of the sink's topic.
    async fn settle(
        &self,
        transactor: &Arc<Transactor>,
        mut pending: Vec<KafkaPending>,
    ) -> Result<Option<Token>> {
        let mut found = Found::new();
        pending.sort_by_key(|pending| pending.epoch);
        for pending in &pending {
            let topic = &pending.topic;
            let token = self.look(&mut found, transactor, topic).await?;
            if !self.judge(pending, pending.previous, token.as_ref())? || pending.content.is_empty()
            {
                continue;
            }
            let content = pending.content.clone();
            self.transact_first(transactor, topic.clone(), content, pending.epoch).await?;
            found.insert(topic.clone(), Some(self.token_of(pending.epoch)));
        }
        self.look(&mut found, transactor, &self.to.topic).await
    }

    /// A transaction before the run begins. A process of an earlier run that was held up may take
    /// the id over in between, before it looks at the log and stops: that ends this attempt, and
    /// not the job.
    async fn transact_first(
        &self,
        transactor: &Arc<Transactor>,
        topic: String,
        content: Content,
        epoch: Epoch,
    ) -> Result<()> {
        let Err(error) = self.transact(transactor, topic, content, epoch).await else {
            return Ok(());
        };
        if error.kind() != Kind::Fenced {
            return Err(error);
        }
        self.check_newest().await?;
        Err(Error::unavailable(format!("{error}: a process of an earlier run did so")))
    }

    /// The token of a topic, read once.
    async fn look(
        &self,
        found: &mut Found,
        transactor: &Arc<Transactor>,
        topic: &str,
    ) -> Result<Option<Token>> {
        if let Some(token) = found.get(topic) {
            return Ok(token.clone());
        }
        let (own, of) = (transactor.clone(), topic.to_owned());
        let token = blocking(move |stop| own.token(&of, stop)).await?;
        found.insert(topic.to_owned(), token.clone());
        Ok(token)
    }

    /// Makes sure that the topic is there, and counts its partitions.
    async fn look_at_topic(&self, producer: Arc<BaseProducer<Outgoing>>) -> Result<()> {
        let to = self.to.clone();
        let partitions = blocking(move |stop| to.partitions(&producer, stop)).await?;
        self.shared.partitions.store(partitions, Ordering::SeqCst);
        Ok(())
    }

    /// Makes this task ready for its first record: from here on there is a token of this history,
    /// so that one that is missing was lost.
    async fn begin(
        &self,
        transactor: &Arc<Transactor>,
        token: Option<Token>,
        epoch: Epoch,
        write: bool,
    ) -> Result<()> {
        self.look_at_topic(transactor.producer()).await?;
        let token = token.filter(|token| token.lineage == self.ctx.history.lineage);
        if let Some(token) = token.filter(|_| !write) {
            self.shared.set_token(token.epoch);
            return Ok(());
        }
        let topic = self.to.topic.clone();
        self.transact_first(transactor, topic, Content::default(), epoch).await?;
        self.shared.set_token(epoch);
        self.now.lock().await.written_at = Some(self.ctx.clock.now().0);
        Ok(())
    }
}
