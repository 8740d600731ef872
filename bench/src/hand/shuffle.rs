//! Every record goes to the task that owns its key, and is counted there.

use millstream_bench_stream::{Rec, Tally};

use super::exchange::{self, Task};

/// Runs it, and counts what arrives.
pub fn run(records: u64, keys: u64) -> Tally {
    exchange::run(records, keys, Shuffle::default)
}

#[derive(Default)]
struct Shuffle {
    tally: Tally,
}

impl Task for Shuffle {
    type Item = Rec;

    #[inline]
    fn batch(&mut self, items: &[Rec]) {
        for r in items {
            self.tally.add(r.key, r.at, r.value);
        }
    }

    fn end(self) -> Tally {
        self.tally
    }
}
