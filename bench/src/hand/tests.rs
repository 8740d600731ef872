//! Each loop against the plainest program that says what the workload means.

use std::collections::{BTreeMap, HashMap};

use millstream_bench_stream::record::record;
use millstream_bench_stream::workload::{HOP_SIZE_MS, HOP_SLIDE_MS, TUMBLING_MS, chain};
use millstream_bench_stream::{Rec, Tally};

use super::exchange::{Hashed, Task, hash_of};
use super::{chain as chain_loop, hop, shuffle, sum, sum_rocks, tumbling};

/// Over two tumbling windows, and no multiple of anything.
const RECORDS: u64 = 2_345_678;
const KEYS: u64 = 3200;

fn stream() -> impl Iterator<Item = Rec> {
    (0..RECORDS).map(|i| record(i, KEYS))
}

fn tally(records: impl Iterator<Item = (u64, i64, i64)>) -> Tally {
    let mut tally = Tally::default();
    records.for_each(|(key, at, value)| tally.add(key, at, value));
    tally
}

#[test]
fn chain_is_map_filter_map() {
    let plain = stream().map(chain::first).filter(chain::keep).map(chain::second);
    assert_eq!(chain_loop::run(RECORDS, KEYS), tally(plain.map(|r| (r.key, r.at, r.value))));
}

#[test]
fn shuffle_loses_and_doubles_nothing() {
    assert_eq!(shuffle::run(RECORDS, KEYS), tally(stream().map(|r| (r.key, r.at, r.value))));
}

#[test]
fn sum_is_a_map_of_sums() {
    let mut sums: HashMap<u64, i64> = HashMap::new();
    let plain = stream().map(|r| {
        let sum = sums.entry(r.key).or_default();
        *sum += r.value;
        (r.key, r.at, *sum)
    });
    let plain = tally(plain);
    assert_eq!(sum::run(RECORDS, KEYS), plain);
    assert_eq!(sum_rocks::run(RECORDS, KEYS).unwrap(), plain);
}

#[test]
fn sum_is_the_same_where_it_looks_ahead() {
    let (records, keys) = (3_000_000, 1_600_000);
    let mut sums: HashMap<u64, i64> = HashMap::new();
    let plain = (0..records).map(|i| record(i, keys)).map(|r| {
        let sum = sums.entry(r.key).or_default();
        *sum += r.value;
        (r.key, r.at, *sum)
    });
    assert_eq!(sum::run(records, keys), tally(plain));
}

#[test]
fn tumbling_is_a_map_of_windows() {
    let mut windows: BTreeMap<(i64, u64), i64> = BTreeMap::new();
    stream().for_each(|r| {
        *windows.entry((r.at / TUMBLING_MS * TUMBLING_MS, r.key)).or_default() += r.value;
    });
    let plain = tally(windows.iter().map(|(&(start, key), &sum)| (key, start, sum)));
    assert_eq!(tumbling::run(RECORDS, KEYS), plain);
}

fn hop_windows(records: impl Iterator<Item = Rec>) -> Tally {
    let mut windows: HashMap<(i64, u64), i64> = HashMap::new();
    records.for_each(|r| {
        let last = r.at / HOP_SLIDE_MS * HOP_SLIDE_MS;
        let first = last - HOP_SIZE_MS + HOP_SLIDE_MS;
        for start in (first..=last).step_by(HOP_SLIDE_MS as usize) {
            *windows.entry((start, r.key)).or_default() += r.value;
        }
    });
    tally(windows.iter().map(|(&(start, key), &sum)| (key, start, sum)))
}

#[test]
fn hop_is_a_map_of_windows() {
    assert_eq!(hop::run(RECORDS, KEYS), hop_windows(stream()));
}

/// Few records per key and window, and pauses: keys leave the window and come back.
#[test]
fn hop_forgets_keys_and_gives_their_indexes_out_again() {
    let sparse = |i: u64| Rec { at: i as i64 * 7 + (i as i64 / 4000) * 25_000, ..record(i, KEYS) };
    let mut task = hop::Hop::default();
    for from in (0..40_000).step_by(100) {
        let items: Vec<Hashed> = (from..from + 100)
            .map(|i| Hashed { hash: hash_of(sparse(i).key), record: sparse(i) })
            .collect();
        task.batch(&items);
        task.watermark(sparse(from + 100).at);
    }
    assert_eq!(task.end(), hop_windows((0..40_000).map(sparse)));
}
