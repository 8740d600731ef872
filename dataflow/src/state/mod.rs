//! Keyed state: tables that operators write to, and what a capture and a restore see of them.
//!
//! Written by [`crate::operator`] and [`crate::window`]; captured into [`crate::snapshot`].

mod block;
mod chunk;
mod expiring;
mod list;
mod map;
mod migrate;
mod ordered;
mod prefetch;
mod schema;
mod segment;
mod table;
#[cfg_attr(not(feature = "rocksdb"), allow(dead_code, reason = "nothing opens one then"))]
mod tier;
mod timers;
mod ttl;
mod value;

use millstream_protocol::id::Epoch;
use millstream_protocol::plan::{StateMigration, StateSchema};

pub use chunk::{Buckets, Chunk, Entry};
pub(crate) use chunk::{Drained, TableChunk, entries, joined};
pub(crate) use expiring::{ExpiringMap, ExpiringValue};
pub(crate) use list::ExpiringList;
pub(crate) use map::MapState;
pub use migrate::{Also, Migration, Migrations, Shape};
pub(crate) use migrate::{LivedPerKey, LivedPerPlace, PerKey};
pub use schema::schema_of;
pub(crate) use table::Table;
pub(crate) use tier::Base;
#[cfg(all(test, feature = "rocksdb"))]
pub(crate) use tier::without_memory;
pub use tier::{Backend, RocksDbSettings, Tier};
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

    /// Bounds its memory: what finds no room goes to a tier, which `tier` makes when it is called,
    /// once. A state that stays in memory as a whole does nothing.
    fn bound(&mut self, tier: &mut dyn FnMut() -> Result<Tier>) -> Result<()> {
        let _ = tier;
        Ok(())
    }

    /// Called after each batch where memory is bounded: moves entries out if it has grown too
    /// large.
    fn shrink(&mut self) {}

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

/// The keyed and list states of an operator: what they are stored as, and what else they can be
/// made of.
#[derive(Clone, Default)]
pub(crate) struct StateTypes {
    /// In the order in which the plan declares them.
    pub(crate) schemas: Vec<StateSchema>,
    pub(crate) migrations: Vec<Migration>,
}

impl From<Vec<StateSchema>> for StateTypes {
    fn from(schemas: Vec<StateSchema>) -> Self {
        Self { schemas, migrations: Vec::new() }
    }
}

impl StateTypes {
    /// What the plan says of the migrations.
    pub(crate) fn migrations(&self) -> Vec<StateMigration> {
        let migrations = self.migrations.iter();
        let said = migrations.map(|Migration { state, from, .. }| StateMigration {
            state: state.clone(),
            from: from.clone(),
        });
        said.collect()
    }

    /// What is wrong with the migrations, for whoever wrote them.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        for (index, migration) in self.migrations.iter().enumerate() {
            let Migration { state, from, .. } = migration;
            let is_own = |own: &StateSchema| own.name == *state && own.schema == *from;
            if self.schemas.iter().any(is_own) {
                mistakes.push(format!(
                    "state {state} has a .migrate from {from}, which is how it is stored now: it \
                     would never be called; a struct of another name is stored differently"
                ));
            }
            let before = &self.migrations[..index];
            if before.iter().any(|other| other.state == *state && other.from == *from) {
                mistakes.push(format!("state {state} has two .migrate from {from}: keep one"));
            }
        }
        mistakes
    }
}
