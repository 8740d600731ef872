//! A running sum per key whose state is kept in `RocksDB`, as one writes it by hand: a table in
//! memory in front of it, and what has changed written behind, in one batch every second.
//!
//! The table holds all keys, as the cache does in the row that this is for.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table;
use millstream_bench_stream::{Stopwatch, Tally};
use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use tempfile::TempDir;

use super::exchange::{self, Hashed, Task, hash_of};

/// How often changes are written: as often as ours takes a snapshot.
const WRITE_SECONDS: f64 = 1.0;

/// Runs it, and counts the sums that come out.
pub fn run(records: u64, keys: u64) -> anyhow::Result<Tally> {
    let folder = TempDir::with_prefix("millstream-bench-")?;
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::Lz4);
    let db = Arc::new(DB::open(&options, folder.path())?);
    Ok(exchange::run(records, keys, || Kept::new(db.clone())))
}

struct Entry {
    key: u64,
    value: i64,
    /// Changed since it was written.
    dirty: bool,
}

struct Kept {
    sums: HashTable<Entry>,
    db: Arc<DB>,
    since: Stopwatch,
    tally: Tally,
}

impl Kept {
    fn new(db: Arc<DB>) -> Self {
        Self { sums: HashTable::new(), db, since: Stopwatch::start(), tally: Tally::default() }
    }

    fn write(&mut self) {
        let mut batch = WriteBatch::default();
        for sum in self.sums.iter_mut().filter(|sum| sum.dirty) {
            batch.put(sum.key.to_be_bytes(), sum.value.to_le_bytes());
            sum.dirty = false;
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).expect("a local disk takes what is written");
        self.since = Stopwatch::start();
    }
}

impl Task for Kept {
    type Item = Hashed;

    fn batch(&mut self, items: &[Hashed]) {
        for item in items {
            let record = item.record;
            let found = self.sums.entry(item.hash, |s| s.key == record.key, |s| hash_of(s.key));
            let new = || Entry { key: record.key, value: 0, dirty: false };
            let sum = match found {
                hash_table::Entry::Occupied(entry) => entry.into_mut(),
                hash_table::Entry::Vacant(entry) => entry.insert(new()).into_mut(),
            };
            sum.value += record.value;
            sum.dirty = true;
            self.tally.add(record.key, record.at, sum.value);
        }
        if self.since.seconds() >= WRITE_SECONDS {
            self.write();
        }
    }

    fn end(mut self) -> Tally {
        self.write();
        self.tally
    }
}
