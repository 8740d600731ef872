//! The program that is disturbed, and what it puts out when nobody does.
//!
//! Reads a topic of [`crate::input`] and writes two, exactly once. Invariant: what it puts out
//! depends on its input alone, not on threads, batches or restores.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_worker::connector::kafka::{KafkaSink, KafkaSource};
use millstream_worker::operator::aggregate::{Count, Sum};
use millstream_worker::window::Tumbling;
use millstream_worker::{Job, Result, Timestamp, Watermarks};

use crate::input::{DISORDER_MS, PARTITIONS, Record, record};

/// Each operator that writes: its id, and what the name of its topic ends with.
pub(crate) const SINKS: [&str; 3] = ["chain", "seconds", "spread"];

const WINDOW_MS: i64 = 1000;

/// State of a key that is large: 4 KiB, all of it the same number.
type Large = [[u64; 32]; 16];

/// A line of output: a few numbers.
pub(crate) type Line = Vec<u64>;

/// Builds the program. Arguments: `brokers`; `name`, of the topic that it reads; `records` in each
/// partition; `transactionTimeoutMs`.
pub(crate) fn disturbed(job: &mut Job) -> Result<()> {
    let args = job.args();
    let (brokers, name) = (args.get("brokers")?.to_owned(), args.get("name")?.to_owned());
    let (records, timeout): (i64, u32) =
        (args.parse("records")?, args.parse_or("transactionTimeoutMs", 300_000)?);
    let ends = (0..PARTITIONS).map(|partition| (name.as_str(), partition, records));
    let source = KafkaSource::json::<Record>(&name).brokers(&brokers).until_offsets(ends);
    let disorder = Watermarks::bounded(Duration::from_millis(DISORDER_MS));
    let records = job.source("in", source).event_time(|record| Timestamp(record.1), disorder);
    let keyed = records.key_by(|record| record.0);
    let sink = |id: &str| {
        let sink = KafkaSink::json::<Line>(format!("{name}-{id}")).brokers(&brokers);
        sink.set("transaction.timeout.ms", timeout.to_string()).key(|line| line[0].to_string())
    };

    // Depends on the order of a key's records: one missing, doubled or moved changes all behind it.
    keyed
        .scan("chained", (0, 0), |state: &mut (u64, u64), record| {
            *state = chained(*state, &record);
            vec![record.0, state.0, state.1]
        })
        .sink(SINKS[0], sink(SINKS[0]));

    keyed
        .window(Tumbling::of(Duration::from_millis(WINDOW_MS.unsigned_abs())))
        .aggregate("windowed", |record| record.2, (Count, Sum))
        .map(|second| vec![second.key, second.start.0 as u64, second.value.0, second.value.1])
        .sink(SINKS[1], sink(SINKS[1]));

    // Some ten thousand keys, met in no order: more than the least memory of a bounded backend has.
    records
        .key_by(|record| (record.0, record.2))
        .scan("spreading", Large::default(), |state: &mut Large, record| {
            let before = state[0][0];
            assert!(state.iter().flatten().all(|part| *part == before), "the state is torn");
            let after = spread(before, &record);
            *state = [[after; 32]; 16];
            vec![record.0, record.2, after]
        })
        .sink(SINKS[2], sink(SINKS[2]));
    Ok(())
}

/// How many records of a key there were, and what their order has made of them.
fn chained((count, chain): (u64, u64), record: &Record) -> (u64, u64) {
    let chain = chain.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7);
    (count + 1, chain ^ record.2 ^ record.1 as u64)
}

/// What a record makes of the number that the state of its key and value holds.
fn spread(before: u64, record: &Record) -> u64 {
    before.wrapping_mul(31).wrapping_add(record.1 as u64) >> 3
}

/// What each sink is to write, sorted; without the engine.
pub(crate) fn expected(records: i64) -> [Vec<Line>; SINKS.len()] {
    let (mut lines, mut chains, mut seconds) =
        (Vec::new(), BTreeMap::<u64, (u64, u64)>::new(), BTreeMap::<_, (u64, u64)>::new());
    let (mut spreads, mut numbers) = (Vec::new(), BTreeMap::<(u64, u64), u64>::new());
    for (partition, n) in (0..PARTITIONS).flat_map(|it| (0..records).map(move |n| (it, n))) {
        let record = record(partition, n);
        let chain = chains.entry(record.0).or_default();
        *chain = chained(*chain, &record);
        lines.push(vec![record.0, chain.0, chain.1]);
        let number = numbers.entry((record.0, record.2)).or_default();
        *number = spread(*number, &record);
        spreads.push(vec![record.0, record.2, *number]);
        let start = record.1.div_euclid(WINDOW_MS) * WINDOW_MS;
        let second = seconds.entry((record.0, start as u64)).or_default();
        *second = (second.0 + 1, second.1 + record.2);
    }
    let seconds = seconds.into_iter().map(|((key, at), (count, sum))| vec![key, at, count, sum]);
    let mut all = [lines, seconds.collect(), spreads];
    for lines in &mut all {
        lines.sort_unstable();
    }
    all
}
