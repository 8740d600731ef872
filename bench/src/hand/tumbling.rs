//! The sum per key and tumbling window: a table per open window, reused once it is put out.

use std::collections::VecDeque;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use millstream_bench_stream::Tally;
use millstream_bench_stream::workload::TUMBLING_MS;

use super::exchange::{self, Hashed, Task, hash_of};

/// Runs it, and counts the window results.
pub fn run(records: u64, keys: u64) -> Tally {
    exchange::run(records, keys, Tumbling::default)
}

type Sums = HashTable<(u64, i64)>;

/// Open windows lie side by side from `first` on, one per [`TUMBLING_MS`].
#[derive(Default)]
struct Tumbling {
    first: i64,
    open: VecDeque<Sums>,
    spare: Vec<Sums>,
    tally: Tally,
}

impl Tumbling {
    fn put_out_first(&mut self) {
        if let Some(mut sums) = self.open.pop_front() {
            for &(key, sum) in &sums {
                self.tally.add(key, self.first * TUMBLING_MS, sum);
            }
            sums.clear();
            self.spare.push(sums);
        }
        self.first += 1;
    }

    fn window(&mut self, number: i64) -> &mut Sums {
        if self.open.is_empty() {
            self.first = number;
        }
        while number < self.first {
            self.open.push_front(self.spare.pop().unwrap_or_default());
            self.first -= 1;
        }
        let index = (number - self.first) as usize;
        while self.open.len() <= index {
            self.open.push_back(self.spare.pop().unwrap_or_default());
        }
        &mut self.open[index]
    }
}

impl Task for Tumbling {
    type Item = Hashed;

    #[inline]
    fn batch(&mut self, items: &[Hashed]) {
        // Neighbours share their window nearly always: it is looked up once per run of them.
        for run in items.chunk_by(|a, b| a.record.at / TUMBLING_MS == b.record.at / TUMBLING_MS) {
            let sums = self.window(run[0].record.at / TUMBLING_MS);
            for Hashed { hash, record } in run {
                match sums.entry(*hash, |s| s.0 == record.key, |s| hash_of(s.0)) {
                    Entry::Occupied(entry) => entry.into_mut().1 += record.value,
                    Entry::Vacant(entry) => {
                        entry.insert((record.key, record.value));
                    }
                }
            }
        }
    }

    fn watermark(&mut self, at: i64) {
        while !self.open.is_empty() && (self.first + 1) * TUMBLING_MS <= at {
            self.put_out_first();
        }
    }

    fn end(mut self) -> Tally {
        while !self.open.is_empty() {
            self.put_out_first();
        }
        self.tally
    }
}
