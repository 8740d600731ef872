//! [`Rocks`]: a [`Below`] that is a `RocksDB`.
//!
//! One for all tasks of an engine, so that one block cache and one bound on write buffers serve
//! whoever needs them; a column family per state. No log, no sync: the files are scratch.

use std::mem;
use std::sync::{Arc, PoisonError, RwLock};

use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, DBCompressionType, DBWithThreadMode, LogLevel,
    MultiThreaded, Options, ReadOptions, SnapshotWithThreadMode, WriteBatch, WriteBufferManager,
    WriteOptions,
};

use super::scratch::Scratch;
use super::{Below, Each, Family, Frozen, RocksDbSettings, Write, Writes};
use crate::error::{Error, Kind, Result};

type Db = DBWithThreadMode<MultiThreaded>;

/// Bits per key of the filter that spares the read of a file in which a key is not: one in a
/// hundred reads is made for nothing.
const FILTER_BITS: f64 = 10.0;
/// Files of one level: small ones keep compactions short.
const FILE_BYTES: u64 = 16 << 20;
/// Below this much of the whole, `RocksDB` would flush after every few writes.
const ROCKS_BYTES_MIN: usize = 4 << 20;
const MEMTABLE_BYTES_MAX: usize = 32 << 20;
const MEMTABLE_BYTES_MIN: usize = 256 << 10;
/// Threads that flush and compact.
const BACKGROUND_JOBS: i32 = 2;
const OPEN_FILES_MAX: i32 = 512;

/// Who gets how much of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// The tables of all states.
    pub(super) tables: usize,
    /// Write buffers and block cache together.
    rocks: usize,
}

impl Share {
    /// A quarter to `RocksDB`: an entry in a table is found in nanoseconds, one in a block cache in
    /// microseconds.
    pub(super) fn of(memory: usize) -> Self {
        let rocks = (memory / 4).max(ROCKS_BYTES_MIN);
        Self { tables: memory.saturating_sub(rocks), rocks }
    }
}

/// A `RocksDB` in a folder that is removed with it.
pub(super) struct Rocks {
    db: Db,
    names: RwLock<Vec<String>>,
    options: Options,
    write: WriteOptions,
    /// Dropped behind the database.
    _scratch: Scratch,
}

fn failed(attempt: &'static str) -> impl Fn(rocksdb::Error) -> Error {
    move |error| {
        let kind = match error.kind() {
            rocksdb::ErrorKind::InvalidArgument => Kind::Bug,
            // The files are scratch: a new run writes new ones.
            _ => Kind::Unavailable,
        };
        Error::new(kind, format!("{attempt} RocksDB, which holds local state: {error}"))
    }
}

impl Rocks {
    pub(super) fn open(settings: &RocksDbSettings, share: Share) -> Result<Self> {
        let scratch = Scratch::make(&settings.directory)?;
        let options = options(share);
        let db = Db::open(&options, scratch.path()).map_err(failed("cannot open"))?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        Ok(Self { db, names: RwLock::default(), options, write, _scratch: scratch })
    }

    fn column(&self, Family(number): Family) -> Result<Arc<BoundColumnFamily<'_>>> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let column = names.get(number as usize).and_then(|name| self.db.cf_handle(name));
        column.ok_or_else(|| Error::bug("there is no such column family"))
    }
}

fn options(share: Share) -> Options {
    let cache = Cache::new_lru_cache(share.rocks);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    blocks.set_bloom_filter(FILTER_BITS, false);
    // Or they would lie beside the cache, without a bound.
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    let buffers = share.rocks / 2;
    let manager = WriteBufferManager::new_write_buffer_manager_with_cache(buffers, false, cache);
    options.set_write_buffer_manager(&manager);
    options.set_write_buffer_size((buffers / 4).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX));
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.02);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_target_file_size_base(FILE_BYTES);
    options.set_max_bytes_for_level_base(4 * FILE_BYTES);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_log_level(LogLevel::Fatal);
    options.set_keep_log_file_num(1);
    options.set_stats_dump_period_sec(0);
    options
}

impl Drop for Rocks {
    fn drop(&mut self) {
        // Nothing that is left to do is worth doing.
        self.db.cancel_all_background_work(true);
    }
}

impl Below for Rocks {
    fn family(&self, name: &str) -> Result<Family> {
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = names.iter().position(|known| known == name) {
            return Ok(Family(number as u32));
        }
        self.db.create_cf(name, &self.options).map_err(failed("cannot set up"))?;
        names.push(name.to_owned());
        Ok(Family(names.len() as u32 - 1))
    }

    fn get(&self, family: Family, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<()> {
        let value = self.db.get_pinned_cf(&self.column(family)?, key);
        if let Some(value) = value.map_err(failed("cannot read from"))? {
            found(&value);
        }
        Ok(())
    }

    fn apply(&self, writes: &Writes) -> Result<()> {
        let mut batch = WriteBatch::default();
        let mut last = None;
        for (family, write) in writes.iter() {
            let column = match &last {
                Some((of, column)) if *of == family => column,
                _ => &last.insert((family, self.column(family)?)).1,
            };
            match write {
                Write::Put(key, value) => batch.put_cf(column, key, value),
                Write::Remove(key) => batch.delete_cf(column, key),
                Write::RemoveRange(from, to) => batch.delete_range_cf(column, from, to),
            }
        }
        self.db.write_opt(batch, &self.write).map_err(failed("cannot write to"))
    }

    fn freeze(self: Arc<Self>) -> Box<dyn Frozen> {
        let snapshot = self.db.snapshot();
        // SAFETY: it refers to the database alone, which does not move, since it is behind an `Arc`
        // that is kept beside it and dropped behind it.
        let snapshot = unsafe {
            mem::transmute::<SnapshotWithThreadMode<'_, Db>, SnapshotWithThreadMode<'static, Db>>(
                snapshot,
            )
        };
        Box::new(FrozenRocks { snapshot, rocks: self })
    }
}

/// A [`Rocks`] as it was. The order of the fields is that in which they are dropped.
struct FrozenRocks {
    snapshot: SnapshotWithThreadMode<'static, Db>,
    rocks: Arc<Rocks>,
}

impl Frozen for FrozenRocks {
    fn walk(&self, family: Family, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<()> {
        let mut read = ReadOptions::default();
        read.set_iterate_upper_bound(to);
        // What is read once from end to end would push out what is needed.
        read.fill_cache(false);
        let column = self.rocks.column(family)?;
        let mut at = self.snapshot.raw_iterator_cf_opt(&column, read);
        at.seek(from);
        while let Some((key, value)) = at.item() {
            if !each(key, value)? {
                return Ok(());
            }
            at.next();
        }
        at.status().map_err(failed("cannot read from"))
    }

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.snapshot.get_cf(&self.rocks.column(family)?, key);
        value.map_err(failed("cannot read from"))
    }
}

/// One for the tests of tables.
#[cfg(test)]
pub(super) fn open_for_tests(directory: &std::path::Path) -> Arc<dyn Below> {
    let memory = 16 << 20;
    let settings = RocksDbSettings { memory_bytes: memory, directory: directory.to_owned() };
    Arc::new(Rocks::open(&settings, Share::of(memory as usize)).expect("it opens"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_one_stays_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("state");
        let settings = RocksDbSettings { memory_bytes: 1 << 20, directory: directory.clone() };
        let rocks: Arc<dyn Below> = Arc::new(Rocks::open(&settings, Share::of(1 << 20)).unwrap());
        let (one, two) = (rocks.family("one").unwrap(), rocks.family("two").unwrap());
        assert_eq!(rocks.family("one").unwrap(), one);
        let mut writes = Writes::default();
        writes.put(one, b"a", b"1");
        writes.put(two, b"b", b"2");
        writes.put(two, b"c", b"3");
        rocks.apply(&writes).unwrap();
        let frozen = rocks.clone().freeze();
        let mut writes = Writes::default();
        writes.remove(one, b"a");
        writes.remove_range(two, b"b", b"c");
        rocks.apply(&writes).unwrap();
        let seen = |family| {
            let mut seen = Vec::new();
            let mut each = |key: &[u8], value: &[u8]| {
                seen.push((key.to_vec(), value.to_vec()));
                Ok(true)
            };
            frozen.walk(family, b"a", b"c", &mut each).unwrap();
            seen
        };
        assert_eq!(seen(one), [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(seen(two), [(b"b".to_vec(), b"2".to_vec())]);
        assert_eq!(frozen.get(two, b"c").unwrap().unwrap(), b"3");
        let mut found = 0;
        for (family, key) in [(one, b"a"), (two, b"b"), (two, b"c")] {
            rocks.get(family, key, &mut |_| found += 1).unwrap();
        }
        assert_eq!(found, 1);
        drop(rocks);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 2);
        drop(frozen);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    }
}
