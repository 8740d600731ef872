//! A running sum per key, put out for every record.
//!
//! The table grows as keys come: like ours it is not told how many there will be.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use millstream_bench_stream::Tally;

use super::exchange::{self, Hashed, Task, hash_of};

/// From this many keys on, the table is looked up for a block ahead of its use.
const LOOK_AHEAD_FROM: usize = 400_000;

/// Records looked up at a time: their cache misses overlap.
const BLOCK_RECORDS: usize = 16;

/// Runs it, and counts the sums that come out.
pub fn run(records: u64, keys: u64) -> Tally {
    exchange::run(records, keys, Sum::default)
}

#[derive(Default)]
struct Sum {
    sums: HashTable<(u64, i64)>,
    tally: Tally,
}

impl Sum {
    #[inline]
    fn add(&mut self, item: &Hashed) {
        let record = item.record;
        let found = self.sums.entry(item.hash, |s| s.0 == record.key, |s| hash_of(s.0));
        let sum = match found {
            Entry::Occupied(entry) => {
                let sum = &mut entry.into_mut().1;
                *sum += record.value;
                *sum
            }
            Entry::Vacant(entry) => {
                entry.insert((record.key, record.value));
                record.value
            }
        };
        self.tally.add(record.key, record.at, sum);
    }

    /// Finds all of a block first, so that the misses of a table larger than the caches overlap.
    #[inline]
    fn add_block(&mut self, block: &[Hashed; BLOCK_RECORDS]) {
        let found: [Option<usize>; BLOCK_RECORDS] = std::array::from_fn(|i| {
            let key = block[i].record.key;
            self.sums.find_bucket_index(block[i].hash, |s| s.0 == key)
        });
        for (item, found) in block.iter().zip(found) {
            let record = item.record;
            // An insertion in this block may have moved the slots: then the key differs.
            match found.and_then(|at| self.sums.get_bucket_mut(at)) {
                Some((key, sum)) if *key == record.key => {
                    *sum += record.value;
                    self.tally.add(record.key, record.at, *sum);
                }
                _ => self.add(item),
            }
        }
    }
}

impl Task for Sum {
    type Item = Hashed;

    #[inline]
    fn batch(&mut self, items: &[Hashed]) {
        if self.sums.len() < LOOK_AHEAD_FROM {
            for item in items {
                self.add(item);
            }
            return;
        }
        let (blocks, rest) = items.as_chunks::<BLOCK_RECORDS>();
        for block in blocks {
            self.add_block(block);
        }
        for item in rest {
            self.add(item);
        }
    }

    fn end(self) -> Tally {
        self.tally
    }
}
