//! map, filter, map, drop: one pass over each batch, no branch on the filter.

use std::thread;

use millstream_bench_stream::record::Mark;
use millstream_bench_stream::workload::chain;
use millstream_bench_stream::{BATCH_RECORDS, Part, THREADS, Tally};

/// Runs it, and counts what passes.
pub fn run(records: u64, keys: u64) -> Tally {
    thread::scope(|scope| {
        let threads: [_; THREADS] = std::array::from_fn(|i| {
            scope.spawn(move || part(Part::new(i, THREADS, records, keys)))
        });
        let mut all = Tally::default();
        for thread in threads {
            all.merge(thread.join().expect("the loop does not panic"));
        }
        all
    })
}

fn part(mut part: Part) -> Tally {
    let mut tally = Tally::default();
    let mut batch = Vec::with_capacity(BATCH_RECORDS);
    loop {
        let mark = part.fill(&mut batch, BATCH_RECORDS);
        for record in batch.drain(..) {
            let record = chain::first(record);
            let keep = chain::keep(&record);
            let record = chain::second(record);
            tally.add_if(keep, record.key, record.at, record.value);
        }
        if mark == Mark::End {
            return tally;
        }
    }
}
