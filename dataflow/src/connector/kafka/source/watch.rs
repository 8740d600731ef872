//! [`Watch`]: looks, while topics are read, whether they are still there and the same, and whether
//! they have new partitions.
//!
//! Asked by [`super::thread`] between reads; asks the cluster by [`Look`] and waits for nothing.
//! Invariant: a topic that was created again is never taken for the one that was read.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode as Code;

use super::queue::Client;
use super::topics::{Described, Look, Topic};
use crate::clock::{Clock, SystemClock};
use crate::connector::kafka::fault::{explain, kind_of};
use crate::error::{Error, Kind, Result};

/// A topic that is gone for so long was deleted. Brokers that start may not know all topics yet,
/// for a second or two.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// Between two looks when something is amiss.
const HASTE: Duration = Duration::from_secs(1);

/// Watches the topics of a task.
pub(super) struct Watch {
    client: Arc<Client>,
    names: Vec<Arc<str>>,
    topics: Vec<Watched>,
    every: Duration,
    look: Option<Look>,
    clock: SystemClock,
    /// When to look next, in the clock's nanoseconds.
    due: u64,
    /// When the last look was asked for.
    asked: u64,
}

/// A topic, and what is known of it.
#[derive(Clone, Debug)]
struct Watched {
    name: Arc<str>,
    topic: Topic,
    /// Since when it is not there.
    gone_since: Option<u64>,
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Watch {
    pub(super) fn new(client: &Arc<Client>, topics: &[(Arc<str>, Topic)], every: Duration) -> Self {
        let clock = SystemClock::new();
        let watched = |(name, topic): &(Arc<str>, Topic)| Watched {
            name: name.clone(),
            topic: *topic,
            gone_since: None,
        };
        Self {
            client: client.clone(),
            names: topics.iter().map(|(name, _)| name.clone()).collect(),
            topics: topics.iter().map(watched).collect(),
            every,
            look: None,
            due: clock.monotonic_ns().saturating_add(nanos(every)),
            asked: 0,
            clock,
        }
    }

    /// New partitions of a topic, from this number on, could not be taken up: finds them again,
    /// soon.
    pub(super) fn find_again(&mut self, topic: usize, first: i32) {
        self.topics[topic].topic.partitions = first;
        self.hasten();
    }

    /// Something is amiss with a topic: looks soon.
    pub(super) fn hasten(&mut self) {
        self.due = self.due.min(self.asked.saturating_add(nanos(HASTE)));
    }

    /// Looks at once, and waits for the answer: before a partition that has lost records is
    /// reported, whose topic may have been created again.
    pub(super) fn look_now(&mut self, wait: Duration) -> Result<()> {
        let look = Look::at(&self.client, &self.names)?;
        match look.answer(wait) {
            Some(Ok(described)) => self.judge_all(&described).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// New partitions, by the place of their topic and their numbers.
    pub(super) fn poll(&mut self) -> Result<Vec<(usize, Range<i32>)>> {
        let now = self.clock.monotonic_ns();
        if self.look.is_none() {
            if now < self.due {
                return Ok(Vec::new());
            }
            self.asked = now;
            self.look = Some(Look::at(&self.client, &self.names)?);
        }
        let Some(answer) = self.look.as_ref().and_then(|look| look.answer(Duration::ZERO)) else {
            return Ok(Vec::new());
        };
        self.look = None;
        self.due = now.saturating_add(nanos(self.every));
        match answer {
            Ok(described) => self.judge_all(&described),
            Err((code, reason)) => {
                tracing::debug!("cannot look at the topics: {code}: {reason}");
                Ok(Vec::new())
            }
        }
    }

    fn judge_all(&mut self, described: &[Described]) -> Result<Vec<(usize, Range<i32>)>> {
        let now = self.clock.monotonic_ns();
        let mut found = Vec::new();
        for (index, watched) in self.topics.iter_mut().enumerate() {
            let state = described.iter().find(|it| it.topic == *watched.name).map(|it| it.state);
            let new = watched.judge(state, now)?;
            if !new.is_empty() {
                found.push((index, new));
            }
            if watched.gone_since.is_some() {
                self.due = self.due.min(now.saturating_add(nanos(HASTE)));
            }
        }
        Ok(found)
    }
}

impl Watched {
    /// What the cluster's words mean: new partitions, or that the topic is no longer what was read.
    fn judge(&mut self, state: Option<Result<Topic, Code>>, now: u64) -> Result<Range<i32>> {
        match state {
            None => Ok(0..0),
            Some(Ok(topic)) => {
                if topic.id != 0 && self.topic.id != 0 && topic.id != self.topic.id {
                    return Err(recreated(&self.name));
                }
                let known = self.topic.partitions;
                (self.gone_since, self.topic.partitions) = (None, known.max(topic.partitions));
                Ok(known..topic.partitions)
            }
            Some(Err(
                Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId,
            )) => {
                let since = *self.gone_since.get_or_insert(now);
                if now.saturating_sub(since) < nanos(GONE_AFTER) {
                    return Ok(0..0);
                }
                Err(Error::invalid(format!(
                    "topic {} was deleted while it was read: read another, by a source with \
                     another id",
                    self.name
                )))
            }
            Some(Err(code)) if kind_of(code, "") == Kind::Unavailable => Ok(0..0),
            Some(Err(code)) => Err(explain(format!("cannot read topic {}", self.name), code, "")),
        }
    }
}

/// The error for a topic that is another than the one that was read.
pub(super) fn recreated(topic: &str) -> Error {
    Error::invalid(format!(
        "topic {topic} was deleted and created again since it was read: offsets of the old one \
         mean nothing in it; begin anew with --fresh, or with another id of the source"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        let topic = Topic { id: 7, partitions: 2 };
        Watched { name: "orders".into(), topic, gone_since: None }
    }

    type State = Result<Topic, Code>;

    fn judge(watched: &mut Watched, state: State, now: u64) -> Result<Range<i32>> {
        watched.judge(Some(state), now)
    }

    fn there(watched: &mut Watched, id: u128, partitions: i32) -> Result<Range<i32>> {
        judge(watched, Ok(Topic { id, partitions }), 0)
    }

    #[test]
    fn new_partitions_are_found_once() {
        let mut watched = watched();
        assert_eq!(there(&mut watched, 7, 2).unwrap(), 2..2);
        assert_eq!(there(&mut watched, 7, 5).unwrap(), 2..5);
        assert!(there(&mut watched, 7, 5).unwrap().is_empty());
        assert!(there(&mut watched, 7, 4).unwrap().is_empty(), "an old answer");
        assert!(watched.judge(None, 0).unwrap().is_empty());
    }

    #[test]
    fn another_id_is_another_topic_unless_there_are_no_ids() {
        let error = there(&mut watched(), 8, 2).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains("topic orders was deleted and created again"));
        assert!(there(&mut watched(), 0, 2).unwrap().is_empty());
    }

    #[test]
    fn a_topic_that_is_gone_for_a_moment_was_not_deleted() {
        let mut watched = watched();
        let gone = Err(Code::UnknownTopicOrPartition);
        let after = nanos(GONE_AFTER);
        judge(&mut watched, gone, 1).unwrap();
        judge(&mut watched, gone, after).unwrap();
        there(&mut watched, 7, 2).unwrap();
        judge(&mut watched, gone, after + 1).unwrap();
        let error = judge(&mut watched, gone, 2 * after + 1).unwrap_err();
        assert!(error.to_string().contains("topic orders was deleted while"), "{error}");
    }

    #[test]
    fn a_broker_that_is_busy_is_asked_again_and_a_denial_is_told() {
        assert!(judge(&mut watched(), Err(Code::LeaderNotAvailable), 0).is_ok());
        let denied = Err(Code::TopicAuthorizationFailed);
        assert!(judge(&mut watched(), denied, 0).unwrap_err().to_string().contains("ACL"));
    }
}
