//! [`Part`]: a partition as the thread knows it.
//!
//! Kept by [`super::thread`], lent to those who ask and tell of partitions beside it.

use super::position::{KafkaPosition, Partition};

/// A partition as the thread knows it.
pub(super) struct Part {
    pub(super) partition: Partition,
    /// The offset of the next record.
    pub(super) next: i64,
    pub(super) end: Option<i64>,
    pub(super) leader_epoch: i32,
    pub(super) ended: bool,
    /// The engine does not want it now.
    pub(super) held: bool,
    /// Where the broker has said that there is nothing more.
    pub(super) empty_at: i64,
}

impl Part {
    pub(super) fn new(partition: Partition, position: KafkaPosition) -> Self {
        let KafkaPosition { next, end, leader_epoch, .. } = position;
        let ended = position.is_at_end();
        Self { partition, next, end, leader_epoch, ended, held: false, empty_at: -1 }
    }

    /// Whether nothing was read since the broker said that there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        !self.ended && self.empty_at == self.next
    }
}
