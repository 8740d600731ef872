//! Operators: the trait in terms of which each is written, and the ones that Millstream brings.
//!
//! Run by a stage of [`crate::task`]. An operator lives in a file of its own together with its
//! methods on the stream handles.

pub mod aggregate;
mod context;
mod filter;
mod flat_map;
mod fold;
mod inspect;
mod map;
mod pass;
mod per_key;
pub mod process;
mod reduce;
mod scan;
mod show;
mod try_map;
mod union;

pub use context::{Context, Output};

use crate::batch::Batch;
use crate::error::Result;
use crate::snapshot::{Durable, Late, RestoredList};
use crate::state::State;
use crate::task::TaskInfo;
use crate::time::Timestamp;

/// Whether a call has done all there was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All is done.
    Done,
    /// There is more: call again. Nothing else reaches the operator in between but barriers'
    /// captures.
    More,
}

/// An operator instance: what happens to records on one task.
///
/// # Flow
/// `restore_lists` once, before everything else. Then `on_batch`, `on_watermark` and `on_tick`
/// in the order of
/// the input; `on_end` when there is no more. At a barrier `save`, and captures of `states`.
///
/// # Guarantees
/// Calls never overlap. `on_watermark` gets rising times, and is called again with the same time
/// until it says
/// [`Progress::Done`]; only then does the watermark pass on.
///
/// # Errors
/// An error, like a panic, fails the task; the job restarts from its snapshot.
pub trait Operator: Send + 'static {
    /// What it takes.
    type In: Send + 'static;
    /// What it puts out.
    type Out: Send + 'static;
    /// What it puts out at its side output; `()` if it has none.
    type Side: Send + 'static;

    /// Records arrived. For a keyed operator the batch carries their key hashes.
    fn on_batch(
        &mut self,
        ctx: &mut Context<'_, Self::Out, Self::Side>,
        batch: Batch<Self::In>,
    ) -> Result<()>;

    /// No record with a smaller time will come.
    fn on_watermark(
        &mut self,
        ctx: &mut Context<'_, Self::Out, Self::Side>,
        time: Timestamp,
    ) -> Result<Progress> {
        let _ = (ctx, time);
        Ok(Progress::Done)
    }

    /// A step begins; processing time is `ctx.now()`. Ask to be called in time with `ctx.wake_by`.
    fn on_tick(&mut self, ctx: &mut Context<'_, Self::Out, Self::Side>) -> Result<Progress> {
        let _ = ctx;
        Ok(Progress::Done)
    }

    /// No more input will come; the last watermark has passed.
    fn on_end(&mut self, ctx: &mut Context<'_, Self::Out, Self::Side>) -> Result<()> {
        let _ = ctx;
        Ok(())
    }

    /// The keyed states, in the order in which the plan declares them.
    fn states(&mut self) -> Vec<&mut dyn State> {
        Vec::new()
    }

    /// What belongs to the snapshot besides the keyed states.
    fn save(&mut self, barrier: crate::task::Barrier) -> Result<Saved> {
        let _ = barrier;
        Ok(Saved::default())
    }

    /// Takes back what all instances of this operator saved; keep the share that is `info`'s.
    fn restore_lists(&mut self, info: &TaskInfo, lists: Vec<RestoredList>) -> Result<()> {
        let _ = (info, lists);
        Ok(())
    }

    /// The snapshot was published or given up.
    fn settled(&mut self, epoch: millstream_protocol::id::Epoch, published: bool) {
        let _ = (epoch, published);
    }
}

/// An operator with a second input.
pub trait TwoInputs: Operator {
    /// What arrives at the second input.
    type Right: Send + 'static;

    /// Records arrived at the second input.
    fn on_right(
        &mut self,
        ctx: &mut Context<'_, Self::Out, Self::Side>,
        batch: Batch<Self::Right>,
    ) -> Result<()>;
}

/// What of an operator instance goes into a snapshot besides its keyed states.
#[derive(Default)]
pub struct Saved {
    /// List states: name, and items in postcard.
    pub lists: Vec<(String, Vec<Vec<u8>>)>,
    /// List states that are put into bytes off the engine thread, where they are large.
    pub late: Vec<(String, Vec<Late>)>,
    /// What must be done, off the engine thread, before the snapshot may be published.
    pub durable: Option<Durable>,
    /// Whether a commit follows the snapshot.
    pub pending_commit: bool,
}
