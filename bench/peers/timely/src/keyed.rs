//! The keyed operators: a running sum, and a sum per tumbling window.

use std::collections::VecDeque;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use millstream_bench_stream::Rec;
use millstream_bench_stream::workload::TUMBLING_MS;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::operators::{Capability, Operator};

use crate::batches::{Batches, exchange};
use crate::{Hashed, Time, hash_of, owner};

type Sums = HashTable<(u64, i64)>;

/// Adds to a key's sum, and says what it is now.
#[inline]
fn add(sums: &mut Sums, item: Hashed) -> i64 {
    let record = item.record;
    match sums.entry(item.hash, |s| s.0 == record.key, |s| hash_of(s.0)) {
        Entry::Occupied(entry) => {
            let sum = &mut entry.into_mut().1;
            *sum += record.value;
            *sum
        }
        Entry::Vacant(entry) => {
            entry.insert((record.key, record.value));
            record.value
        }
    }
}

/// The running sum per key, for every record.
pub fn sum(records: Stream<'_, Time, Vec<Hashed>>) -> Stream<'_, Time, Vec<Rec>> {
    let pact = exchange(|item: &Hashed| owner(item.hash));
    records.unary::<CapacityContainerBuilder<Vec<Rec>>, _, _, _>(pact, "sum", |_, _| {
        let mut sums = Sums::new();
        let mut out: Vec<Rec> = Vec::new();
        move |input, output| {
            input.for_each(|time, batch| {
                out.extend(
                    batch.iter().map(|&item| Rec { value: add(&mut sums, item), ..item.record }),
                );
                batch.clear();
                output.session(&time).give_container(&mut out);
                out.clear();
            });
        }
    })
}

/// An open window: its sums, and the right to put them out.
struct Window {
    sums: Sums,
    right: Option<Capability<Time>>,
}

/// The sum per key and tumbling window.
pub fn tumbling(records: Stream<'_, Time, Vec<Hashed>>) -> Stream<'_, Time, Vec<Rec>> {
    let pact = exchange(|item: &Hashed| owner(item.hash));
    records.unary_frontier::<Batches<Rec>, _, _, _>(pact, "tumbling", |_, _| {
        let mut first = 0;
        let mut open: VecDeque<Window> = VecDeque::new();
        let mut spare: Vec<Sums> = Vec::new();
        move |(input, frontier), output| {
            input.for_each(|time, batch| {
                let window = |r: &Hashed| r.record.at / TUMBLING_MS;
                for run in batch.chunk_by(|a, b| window(a) == window(b)) {
                    let index = (window(&run[0]) - first) as usize;
                    while open.len() <= index {
                        open.push_back(Window {
                            sums: spare.pop().unwrap_or_default(),
                            right: None,
                        });
                    }
                    let Window { sums, right } = &mut open[index];
                    if right.is_none() {
                        // Delayed to the window's end, so as not to hold the frontier at its start.
                        let end = (window(&run[0]) + 1) * TUMBLING_MS;
                        *right = time.retain_least(0).map(|held| held.delayed(&(end as Time)));
                    }
                    for item in run {
                        add(sums, *item);
                    }
                }
                batch.clear();
            });
            let passed = frontier.frontier().first().map_or(i64::MAX, |&at| at as i64);
            while !open.is_empty() && (first + 1) * TUMBLING_MS <= passed {
                let Some(Window { mut sums, right }) = open.pop_front() else { break };
                if let Some(right) = right {
                    let results = sums.iter();
                    output.session_with_builder(&right).give_iterator(
                        results.map(|&(key, value)| Rec { key, at: first * TUMBLING_MS, value }),
                    );
                }
                sums.clear();
                spare.push(sums);
                first += 1;
            }
        }
    })
}
