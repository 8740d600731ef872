//! [`Node`]: a place in a chain. Each receives from the one before it and pushes to the one behind.

use millstream_protocol::id::Epoch;

use crate::batch::Batch;
use crate::error::Result;
use crate::snapshot::Restore;
use crate::task::step::Step;
use crate::time::Timestamp;

/// A barrier as it travels with the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// The snapshot that it cuts.
    pub epoch: Epoch,
    /// Sources emit nothing behind it.
    pub stopping: bool,
}

/// What passes through a chain besides records. A node acts on each and hands it on.
pub(crate) trait Control: Send {
    /// No record with a smaller time will come. The node hands it on when its own timers have
    /// fired.
    fn watermark(&mut self, step: &mut Step, time: Timestamp) -> Result<()>;

    /// All inputs are idle: whoever waits for the smallest watermark should not wait for this task.
    fn idle(&mut self, step: &mut Step) -> Result<()>;

    /// The cut of a snapshot: capture what you hold, hand the barrier on.
    fn barrier(&mut self, step: &mut Step, barrier: Barrier) -> Result<()>;

    /// No more input. Follows the watermark [`Timestamp::MAX`] where the stream was bounded.
    fn end(&mut self, step: &mut Step) -> Result<()>;

    /// Go on with what is unfinished: timers, captures, buffered output.
    fn poll(&mut self, step: &mut Step) -> Result<()>;

    /// The snapshot was published (true) or given up (false).
    fn settled(&mut self, epoch: Epoch, published: bool);

    /// Before everything else: take back what the snapshot holds of this node.
    fn restore(&mut self, restore: &Restore) -> Result<()>;
}

/// A place in a chain that takes records of type `T`.
pub(crate) trait Node<T>: Control {
    fn batch(&mut self, step: &mut Step, batch: Batch<T>) -> Result<()>;
}

pub(crate) type BoxNode<T> = Box<dyn Node<T>>;

/// The end of an output that nobody reads.
pub(crate) struct Discard;

impl Control for Discard {
    fn watermark(&mut self, _: &mut Step, _: Timestamp) -> Result<()> {
        Ok(())
    }

    fn idle(&mut self, _: &mut Step) -> Result<()> {
        Ok(())
    }

    fn barrier(&mut self, _: &mut Step, _: Barrier) -> Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut Step) -> Result<()> {
        Ok(())
    }

    fn poll(&mut self, _: &mut Step) -> Result<()> {
        Ok(())
    }

    fn settled(&mut self, _: Epoch, _: bool) {}

    fn restore(&mut self, _: &Restore) -> Result<()> {
        Ok(())
    }
}

impl<T> Node<T> for Discard {
    fn batch(&mut self, _: &mut Step, _: Batch<T>) -> Result<()> {
        Ok(())
    }
}

/// An output that several nodes read: each gets a copy.
pub(crate) struct Tee<T>(pub(crate) Vec<BoxNode<T>>);

impl<T: Clone + Send> Control for Tee<T> {
    fn watermark(&mut self, step: &mut Step, time: Timestamp) -> Result<()> {
        self.0.iter_mut().try_for_each(|node| node.watermark(step, time))
    }

    fn idle(&mut self, step: &mut Step) -> Result<()> {
        self.0.iter_mut().try_for_each(|node| node.idle(step))
    }

    fn barrier(&mut self, step: &mut Step, barrier: Barrier) -> Result<()> {
        self.0.iter_mut().try_for_each(|node| node.barrier(step, barrier))
    }

    fn end(&mut self, step: &mut Step) -> Result<()> {
        self.0.iter_mut().try_for_each(|node| node.end(step))
    }

    fn poll(&mut self, step: &mut Step) -> Result<()> {
        self.0.iter_mut().try_for_each(|node| node.poll(step))
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        self.0.iter_mut().for_each(|node| node.settled(epoch, published));
    }

    fn restore(&mut self, restore: &Restore) -> Result<()> {
        self.0.iter_mut().try_for_each(|node| node.restore(restore))
    }
}

impl<T: Clone + Send> Node<T> for Tee<T> {
    fn batch(&mut self, step: &mut Step, batch: Batch<T>) -> Result<()> {
        let Some((last, others)) = self.0.split_last_mut() else { return Ok(()) };
        for node in others {
            node.batch(step, batch.clone())?;
        }
        last.batch(step, batch)
    }
}
