//! Keyed state: tables that operators write to, and what a capture and a restore see of them.
//!
//! Written by [`crate::operator`] and [`crate::window`]; captured into [`crate::snapshot`].

mod block;
mod chunk;
mod expiring;
mod list;
mod map;
mod ordered;
mod prefetch;
mod schema;
mod segment;
mod table;
mod timers;
mod ttl;
mod value;

use millstream_protocol::id::Epoch;
use millstream_protocol::plan::StateSchema;

pub use chunk::{Buckets, Chunk, Entry};
pub(crate) use chunk::{TableChunk, entries};
pub(crate) use expiring::{ExpiringMap, ExpiringValue};
pub(crate) use list::ExpiringList;
pub(crate) use map::MapState;
pub use schema::schema_of;
pub(crate) use table::Table;
pub use timers::TimerKind;
pub(crate) use timers::Timers;
pub(crate) use ttl::Lived;
pub use ttl::Ttl;
pub(crate) use value::TableState;

use crate::error::Result;

/// A state of an operator, as captures and restores see it.
///
/// # Flow
/// `begin` at the barrier, then `scan` until it returns `None`, a slice per step, while the
/// operator goes on
/// writing; later `settled`. On a restore, `restore` for each entry, older parts before newer ones.
///
/// # Guarantees
/// What the scans return is the state as it was at `begin`: all of it, or all that changed since
/// the newest
/// published capture.
pub trait State: Send {
    /// Whether a capture may hold changes only: there is a published one to build upon.
    fn can_delta(&self) -> bool;

    /// How many entries it holds now.
    fn len(&self) -> usize;

    /// Whether it holds none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cut.
    fn begin(&mut self, epoch: Epoch, full: bool);

    /// Takes about `budget` more entries of the capture. `None`: all is taken.
    fn scan(&mut self, budget: &mut usize) -> Option<Box<dyn Chunk>>;

    /// The snapshot was published or given up.
    fn settled(&mut self, epoch: Epoch, published: bool);

    /// Puts in, or takes out, one entry of a snapshot.
    fn restore(&mut self, entry: Entry<'_>) -> Result<()>;

    /// All entries are in, and equal a published snapshot.
    fn restored(&mut self);
}

/// A state that is small and has no keys: positions, pending commits, the list state of an unkeyed
/// operator. It is written down whole in each snapshot.
pub trait ListState: Send {
    /// The items, each in postcard.
    fn save(&mut self) -> Result<Vec<Vec<u8>>>;
}

/// A declared state: where it is found in parts, and what it is.
pub struct Declared<'a> {
    /// What the plan says of it.
    pub schema: &'a StateSchema,
    /// The state.
    pub state: &'a mut dyn State,
}
