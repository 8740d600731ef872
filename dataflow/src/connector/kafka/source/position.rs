//! [`KafkaPosition`], and the names of splits.
//!
//! A split is a partition, `<topic>-<partition>` as Kafka's own tools write it. Positions are made
//! by [`super::resolve`], moved by the reader, and kept in snapshots.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// Where in a partition to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaPosition {
    /// The offset of the next record.
    pub next: i64,
    /// Where a bounded source ends: the first offset that is not read.
    pub end: Option<i64>,
    /// The topic's id: one that was deleted and created again has another. 0 where the broker gives
    /// none (before Kafka 2.8).
    pub topic_id: u128,
    /// The leader's epoch of the last record read, by which a broker knows whether it has lost
    /// records since; -1 before the first.
    pub leader_epoch: i32,
}

impl KafkaPosition {
    pub(super) fn is_at_end(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: i32,
}

impl Partition {
    pub(super) fn new(topic: &Arc<str>, number: i32) -> Self {
        Self { topic: topic.clone(), number }
    }

    /// The id of its split.
    pub(super) fn id(&self) -> Arc<str> {
        format!("{}-{}", self.topic, self.number).into()
    }
}

/// Topic and number of a split.
pub(super) fn parse(split: &str) -> Option<(&str, i32)> {
    let (topic, number) = split.rsplit_once('-')?;
    Some((topic, number.parse().ok().filter(|number| *number >= 0)?))
}

/// The task that owns a partition: those of a topic go round, from a task that follows from the
/// topic's name, so that shares are even and do not all begin at the first task.
pub(super) fn owner(topic: &str, number: i32, parallelism: u32) -> u32 {
    let at = xxh3_64(topic.as_bytes()).wrapping_add(number.unsigned_abs().into());
    (at % u64::from(parallelism)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_is_named_as_kafka_does_and_read_back() {
        let partition = Partition::new(&"my-topic-1".into(), 12);
        assert_eq!(&*partition.id(), "my-topic-1-12");
        assert_eq!(parse("my-topic-1-12"), Some(("my-topic-1", 12)));
        assert_eq!((parse("topic"), parse("a-b"), parse("a--1")), (None, None, Some(("a-", 1))));
    }

    #[test]
    fn the_partitions_of_a_topic_are_dealt_out_evenly() {
        for parallelism in 1..7 {
            let mut shares = vec![0; parallelism as usize];
            (0..60).for_each(|number| shares[owner("orders", number, parallelism) as usize] += 1);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{shares:?}");
        }
        // Written down once: a snapshot's splits must find their task again.
        assert_eq!(owner("orders", 0, 1000), (xxh3_64(b"orders") % 1000) as u32);
    }
}
