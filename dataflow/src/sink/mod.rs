//! Sinks: where records go.
//!
//! A [`Sink`] is a description, cloned into every task; it opens a [`Writer`], which an operator of
//! the engine drives, and a [`Committer`], which makes the output of a published snapshot visible,
//! beside the engine.

mod attach;
mod commit;
mod history;
mod operator;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_protocol::id::{Epoch, OperatorId, Run};
use millstream_protocol::plan::Guarantee;

pub(crate) use commit::{Base, Commits, Register};
pub use history::{History, Runs};
pub(crate) use operator::{SinkOperator, pending_schema};

use crate::batch::Batch;
use crate::clock::Clock;
use crate::data::Data;
use crate::error::Result;
use crate::snapshot::Durable;
use crate::task::TaskInfo;

/// Where records go, as a program describes it.
pub trait Sink: Clone + Send + 'static {
    /// The records.
    type Item: Send + 'static;
    /// What a snapshot keeps of output that is not visible yet: enough to make it visible from
    /// anywhere.
    type Pending: Data;
    /// What writes on one task.
    type Writer: Writer<Item = Self::Item, Pending = Self::Pending>;
    /// What makes output visible.
    type Committer: Committer<Pending = Self::Pending>;

    /// What it promises when the job replays.
    fn guarantee(&self) -> Guarantee;

    /// Opens the two halves of one task. Recovery runs between this and the first record.
    fn open(&self, ctx: SinkContext) -> Result<(Self::Writer, Self::Committer)>;

    /// The largest parallelism that makes sense, where there is one.
    fn parallelism_max(&self) -> Option<u32> {
        None
    }
}

/// What a sink is told when it opens.
#[derive(Clone)]
pub struct SinkContext {
    /// The task it writes for.
    pub info: TaskInfo,
    /// The incarnation of the job: names of pending output hold it, so that no two runs share one.
    pub run: Run,
    /// Names the job: `namespace/name`.
    pub job: Arc<str>,
    /// What is known of the runs before this one.
    pub history: Arc<History>,
    /// Where the time is read.
    pub clock: Arc<dyn Clock>,
}

impl SinkContext {
    /// How many tasks this sink has, or ever had in a run of the job, whichever is more.
    pub fn tasks_ever(&self) -> u32 {
        let ever = self.history.sinks_ever.get(&OperatorId::from(&*self.info.operator));
        ever.copied().unwrap_or(0).max(self.info.parallelism)
    }
}

/// The snapshot that a run goes on from, as far as a sink task has to do with it.
#[derive(Clone, Debug)]
pub struct Recovery<P> {
    /// Its epoch; 0 where the run goes on from nothing.
    pub epoch: Epoch,
    /// Whether all its output is known to be visible.
    pub committed: bool,
    /// What it holds as pending, of the tasks that this one looks after.
    pub pending: Vec<P>,
}

/// The pending output of an epoch.
pub struct Prepared<P> {
    /// What the snapshot keeps of it; `None` where nothing was written.
    pub pending: Option<P>,
    /// What must be done, off the engine thread, before the snapshot may be published.
    pub durable: Option<Durable>,
}

impl<P> Prepared<P> {
    /// Nothing to commit.
    pub fn nothing() -> Self {
        Self { pending: None, durable: None }
    }
}

/// Whether a writer takes more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It does.
    Enough,
    /// Only those before a barrier that is on its way: a commit will make room, and it follows a
    /// barrier, which may stand behind records. What a writer takes all the same is little: what
    /// the channels before it hold.
    UntilBarrier,
    /// Not for the moment.
    None,
}

/// Takes records in. Synchronous; never waits for a network.
pub trait Writer: Send + 'static {
    /// The records.
    type Item: Send + 'static;
    /// What a snapshot keeps of output that is not visible yet.
    type Pending: Data;

    /// Takes records in.
    fn write(&mut self, batch: Batch<Self::Item>) -> Result<()>;

    /// The cut: everything written so far belongs to this epoch. What is pending is put into bytes
    /// off the engine thread, so that it may be large as long as its clones are cheap.
    fn prepare(&mut self, epoch: Epoch) -> Result<Prepared<Self::Pending>>;

    /// The input ran dry: a sink without commits shows what it has.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether it takes more records. Asked before each step of its task and after each batch;
    /// where there is no room, the input waits, and it is asked again a few milliseconds later.
    fn room(&mut self) -> Result<Room> {
        Ok(Room::Enough)
    }

    /// Whether an early snapshot would make room. Asked as often as [`Writer::room`].
    fn wants_snapshot(&self) -> bool {
        false
    }

    /// The snapshot was published, or given up: what was prepared for it then rides with the next.
    fn settled(&mut self, epoch: Epoch, published: bool) {
        let _ = (epoch, published);
    }
}

/// Makes output visible, and cleans up after earlier runs. Runs beside the engine.
#[async_trait]
pub trait Committer: Send + Sync + 'static {
    /// What a snapshot kept.
    type Pending: Data;

    /// Makes the output of a published snapshot visible. May be called again for the same: then it
    /// does nothing.
    async fn commit(&self, epoch: Epoch, pending: Self::Pending) -> Result<()>;

    /// Before the first record of a run: commits what the snapshot holds as pending (its commit may
    /// or may not have happened), then removes what earlier runs left and no snapshot names.
    async fn recover(&self, from: Recovery<Self::Pending>) -> Result<()>;
}
