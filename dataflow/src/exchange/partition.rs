//! The edges that do not look at keys: forward and global, rebalance, broadcast.

use super::router::{Outlets, Partition};
use crate::batch::Batch;
use crate::error::Result;

/// Everything to one receiver: forward edges (task i to task i) and global ones (to task 0) know no
/// other.
pub(crate) struct ToOne;

impl<T: Send + 'static> Partition<T> for ToOne {
    fn partition(&mut self, batch: Batch<T>, outlets: &mut Outlets<T>) -> Result<()> {
        outlets.pass(0, batch);
        Ok(())
    }
}

/// Whole batches in turn. Senders start at different receivers, so that they do not move in step.
pub(crate) struct RoundRobin {
    pub(crate) next: usize,
}

impl<T: Send + 'static> Partition<T> for RoundRobin {
    fn partition(&mut self, batch: Batch<T>, outlets: &mut Outlets<T>) -> Result<()> {
        let receiver = self.next % outlets.len();
        self.next = receiver + 1;
        outlets.pass(receiver, batch);
        Ok(())
    }
}

/// A copy to every receiver.
pub(crate) struct ToAll;

impl<T: Clone + Send + 'static> Partition<T> for ToAll {
    fn partition(&mut self, batch: Batch<T>, outlets: &mut Outlets<T>) -> Result<()> {
        for receiver in 1..outlets.len() {
            outlets.pass(receiver, batch.clone());
        }
        outlets.pass(0, batch);
        Ok(())
    }
}
