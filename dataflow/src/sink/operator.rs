//! [`SinkOperator`]: a writer as an operator.

use millstream_protocol::id::Epoch;
use millstream_protocol::plan::StateSchema;

use super::{Committer, Register, Room, Writer};
use crate::batch::Batch;
use crate::error::{Context as _, Error, Result};
use crate::operator::{self, Operator, Progress, Saved};
use crate::snapshot::{Late, RestoredList};
use crate::state::schema_of;
use crate::task::{Barrier, TaskInfo};

const PENDING: &str = "pending";
/// How long a task waits before it asks a full writer again. Writers are emptied by networks, whose
/// answers take as long.
const ROOM_WAIT_MS: i64 = 2;

/// What the plan says of a sink's pending output.
pub(crate) fn pending_schema<P: crate::data::Data>() -> StateSchema {
    StateSchema { name: PENDING.into(), kind: PENDING.into(), schema: schema_of::<P>() }
}

/// A writer as the last operator of a chain.
pub(crate) struct SinkOperator<W, C>
where
    W: Writer,
    C: Committer<Pending = W::Pending>,
{
    writer: W,
    register: Register<C>,
    dirty: bool,
}

impl<W, C> SinkOperator<W, C>
where
    W: Writer,
    C: Committer<Pending = W::Pending>,
{
    pub(crate) fn new(writer: W, register: Register<C>) -> Self {
        Self { writer, register, dirty: false }
    }

    /// Blocks the task's input where the writer has no room.
    fn look_for_room(&mut self, ctx: &mut operator::Context<'_, ()>) -> Result<()> {
        let step = &mut *ctx.step;
        let blocked = match self.writer.room()? {
            Room::Enough => false,
            Room::UntilBarrier => !step.barrier_due,
            Room::None => true,
        };
        if blocked {
            step.blocked = true;
            step.wake_by(step.now.saturating_add(ROOM_WAIT_MS));
        }
        // One that is on its way is the snapshot that is wanted.
        step.snapshot_wanted |= !step.barrier_due && self.writer.wants_snapshot();
        Ok(())
    }
}

impl<W, C> Operator for SinkOperator<W, C>
where
    W: Writer,
    C: Committer<Pending = W::Pending>,
{
    type In = W::Item;
    type Out = ();
    type Side = ();

    fn on_batch(
        &mut self,
        ctx: &mut operator::Context<'_, ()>,
        batch: Batch<W::Item>,
    ) -> Result<()> {
        self.dirty = true;
        self.writer.write(batch)?;
        self.look_for_room(ctx)
    }

    fn on_tick(&mut self, ctx: &mut operator::Context<'_, ()>) -> Result<Progress> {
        if self.dirty && ctx.step.flush {
            self.dirty = false;
            self.writer.flush()?;
        }
        self.look_for_room(ctx)?;
        Ok(Progress::Done)
    }

    fn on_end(&mut self, _: &mut operator::Context<'_, ()>) -> Result<()> {
        self.writer.flush()
    }

    fn save(&mut self, barrier: Barrier) -> Result<Saved> {
        let prepared = self.writer.prepare(barrier.epoch)?;
        if let Some(pending) = prepared.pending {
            self.register.prepared(barrier.epoch, pending);
        }
        // What was prepared for snapshots that were given up rides with this one.
        let uncommitted = self.register.uncommitted();
        let pending_commit = !uncommitted.is_empty();
        let encode = |pending: W::Pending| -> Late {
            Box::new(move || {
                let bytes = postcard::to_stdvec(&pending);
                bytes.context(|| "pending output cannot be encoded".to_owned())
            })
        };
        let late = vec![(PENDING.to_owned(), uncommitted.into_iter().map(encode).collect())];
        let durable = prepared.durable;
        Ok(Saved { late, durable, pending_commit, ..Saved::default() })
    }

    fn settled(&mut self, epoch: Epoch, published: bool) {
        self.writer.settled(epoch, published);
    }

    fn restore_lists(&mut self, info: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        let mine = lists.into_iter().filter(|list| list.task % info.parallelism == info.task.0);
        let items = mine.flat_map(|list| list.items);
        let pending = items.map(|item| {
            postcard::from_bytes(&item)
                .map_err(|error| Error::corrupt(format!("pending output does not decode: {error}")))
        });
        self.register.restored(pending.collect::<Result<_>>()?);
        Ok(())
    }
}
