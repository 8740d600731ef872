//! [`Backend`]: what holds keyed state, as the job says; [`Base`]: the same, opened.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Account, Below, Family, Pool, Tier};
#[cfg(not(feature = "rocksdb"))]
use crate::error::Error;
use crate::error::Result;
use crate::snapshot::SpoolBound;
use crate::task::TaskInfo;

/// The part of the memory that blocks of a snapshot may take besides.
const SPOOL_PART: u64 = 16;

/// What holds keyed state while a job runs. Snapshots are the same for all of them, so that a job
/// may go on with another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Memory alone: all state must fit.
    #[default]
    Memory,
    /// Memory up to a bound, and `RocksDB` below it.
    RocksDb(RocksDbSettings),
}

/// How `RocksDB` holds what finds no room in memory. Needs the feature `rocksdb`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksDbSettings {
    /// Bytes of memory for all states of the process together, the buffers and the block cache of
    /// `RocksDB` included.
    pub memory_bytes: u64,
    /// Where its files go: into a folder of their own in this one, which is made when the tasks are
    /// and removed with them. What a killed process left here is removed then too.
    pub directory: PathBuf,
}

/// An opened backend, for the tasks of one engine.
pub(crate) struct Base {
    below: Arc<dyn Below>,
    pool: Arc<Pool>,
    changed: Family,
}

impl Base {
    /// Opens what the job asks for; nothing where it is memory alone.
    pub(crate) fn open(backend: &Backend) -> Result<Option<Self>> {
        match backend {
            Backend::Memory => Ok(None),
            Backend::RocksDb(settings) => Self::open_rocks(settings).map(Some),
        }
    }

    #[cfg(feature = "rocksdb")]
    fn open_rocks(settings: &RocksDbSettings) -> Result<Self> {
        let share = super::rocks::Share::of(settings.memory_bytes as usize);
        let below: Arc<dyn Below> = Arc::new(super::rocks::Rocks::open(settings, share)?);
        let changed = below.family("changed")?;
        Ok(Self { below, pool: Pool::new(share.tables), changed })
    }

    #[cfg(not(feature = "rocksdb"))]
    fn open_rocks(_: &RocksDbSettings) -> Result<Self> {
        Err(Error::invalid("RocksDB is not in this binary: build it with the feature `rocksdb`"))
    }

    /// For one state of an operator instance.
    pub(crate) fn tier(&self, info: &TaskInfo, state: &str) -> Result<Tier> {
        // With the length in front, since both may hold any character.
        let name = format!("{}/{}/{state}", info.operator.len(), info.operator);
        Ok(Tier {
            below: self.below.clone(),
            family: self.below.family(&name)?,
            changed: self.changed,
            account: self.pool.open(),
            groups: info.key_groups,
            range: info.groups(),
        })
    }
}

/// A backend of which entries go out as soon as others come, in a folder that is to be kept as
/// long.
#[cfg(all(test, feature = "rocksdb"))]
pub(crate) fn without_memory() -> (Backend, tempfile::TempDir) {
    let home = tempfile::tempdir().expect("there is a place for temporary files");
    let directory = home.path().to_owned();
    (Backend::RocksDb(RocksDbSettings { memory_bytes: 0, directory }), home)
}

impl Account {
    /// One that no other shares its memory with.
    #[cfg(test)]
    pub(crate) fn alone(bytes: usize) -> Arc<Self> {
        Pool::new(bytes).open()
    }
}

impl Backend {
    /// Whether this binary is built with the feature `rocksdb`.
    pub const HAS_ROCKSDB: bool = cfg!(feature = "rocksdb");

    /// How much of a snapshot may be in memory on its way to the store, where that is bounded.
    pub(crate) fn spool_bound(&self) -> Option<SpoolBound> {
        match self {
            Self::Memory => None,
            Self::RocksDb(settings) => Some(SpoolBound {
                bytes: settings.memory_bytes / SPOOL_PART,
                directory: settings.directory.clone(),
            }),
        }
    }
}
