//! Sources: where records come from.
//!
//! A [`Source`] is a description, cloned into every task; it opens a [`Reader`], which is polled by
//! a source task of [`crate::task`]. The unit of a source is the split: a file, a partition, a
//! share of a generator.

mod backlog;
mod emit;
mod malformed;

use std::sync::Arc;

use millstream_protocol::id::Epoch;
use millstream_protocol::plan::StateSchema;
use xxhash_rust::xxh3::xxh3_64;

pub use backlog::Backlog;
pub use emit::{Emit, SplitIndex};
pub(crate) use emit::{Quiet, Word};
pub use malformed::{Malformed, OnMalformed, Place};

use crate::data::Data;
use crate::error::Result;
use crate::state::schema_of;
use crate::task::{Doorbell, TaskInfo};
use crate::time::Timestamp;

/// Where records come from, as a program describes it.
pub trait Source: Clone + Send + 'static {
    /// The records.
    type Item: Data;
    /// Where in a split to go on.
    type Position: Data;
    /// What reads on one task.
    type Reader: Reader<Item = Self::Item, Position = Self::Position>;

    /// Opens the reader of one task. May read and write files and ask a broker; is not called
    /// again.
    fn open(&self, ctx: SourceContext<Self::Position>) -> Result<Self::Reader>;

    /// The largest parallelism that makes sense, where there is one: standard input has one reader.
    fn parallelism_max(&self) -> Option<u32> {
        None
    }

    /// The task that owns a split. Depends on the split's id alone, never on its place in a
    /// listing, so that every task finds its own again after a restore at another parallelism. A
    /// version of the program that divides splits in another way, at the same parallelism, is
    /// refused: a task reads back what it kept, and nobody else's positions.
    fn owner(&self, split: &str, parallelism: u32) -> u32 {
        (xxh3_64(split.as_bytes()) % u64::from(parallelism)) as u32
    }

    /// The shape of its positions, for the plan.
    fn schema(&self) -> StateSchema {
        StateSchema {
            name: "positions".into(),
            kind: "positions".into(),
            schema: schema_of::<Self::Position>(),
        }
    }
}

/// What a reader is told when it opens.
pub struct SourceContext<P> {
    /// The task it reads for.
    pub info: TaskInfo,
    /// Where to go on, for each split that a snapshot knows and this task owns.
    pub restored: Vec<(String, P)>,
    /// Whether the job goes on from a snapshot: splits that are not in `restored` are new then.
    pub is_restored: bool,
    /// Wakes the task: ring it when records arrive after [`Poll::Pending`].
    pub doorbell: Doorbell,
}

impl<P> SourceContext<P> {
    /// Whether this task owns a split of the source.
    pub fn owns(&self, source: &impl Source, split: &str) -> bool {
        source.owner(split, self.info.parallelism) == self.info.task.0
    }
}

/// The owner of a split with a number at its end: splits in turn, so that equal shares stay equal.
pub(crate) fn owner_by_number(split: &str, parallelism: u32) -> u32 {
    let number = split.rsplit('-').next().and_then(|number| number.parse::<u32>().ok());
    number.map_or(0, |number| number % parallelism)
}

/// What came of a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// Poll again at once: there is or may be more.
    Ready,
    /// Nothing now; the doorbell will ring.
    Pending,
    /// Nothing before this processing time; the doorbell does not hasten it.
    Until(Timestamp),
    /// Nothing ever again.
    Finished,
}

/// What reads on one task.
pub trait Reader: Send + 'static {
    /// The records.
    type Item: Data;
    /// Where in a split to go on.
    type Position: Data;

    /// Emits up to `emit.room()` records. Never blocks: what waits for a disk or a network does so
    /// on a thread of its own and rings the doorbell.
    fn poll(&mut self, emit: &mut Emit<Self::Item>) -> Result<Poll>;

    /// Whether its polls leave out the splits that [`Emit::is_held`], which are too far ahead of
    /// others ([`crate::Job::max_drift`]). One that does not is polled until all its splits are,
    /// and then not at all.
    fn holds_splits(&self) -> bool {
        false
    }

    /// Where each split stands: behind the last record emitted.
    fn positions(&self) -> Vec<(Arc<str>, Self::Position)>;

    /// The snapshot of this epoch holds the positions that were just asked for.
    fn cut(&mut self, _: Epoch) {}

    /// The snapshot of this epoch was published: for those who tell others how far they are. May
    /// stay away for the last snapshot of a run.
    fn published(&mut self, _: Epoch) {}
}
