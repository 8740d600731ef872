//! The benchmark's workloads on timely dataflow: `timely-peer <workload> <records>` prints one
//! line.
//!
//! Two workers; batches, hash, hash table and allocator are those of ours and of the hand loops.
//! Sources stay close to the slowest operator, for timely itself holds nobody back.

mod batches;
mod keyed;

use std::cell::Cell;
use std::process::ExitCode;
use std::rc::Rc;

use millstream_bench_stream::record::Mark;
use millstream_bench_stream::{
    BATCH_RECORDS, Outcome, Part, Rec, Stopwatch, THREADS, Tally, Workload,
};
use millstream_protocol::key_hash::key_hash;
use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::dataflow::{Scope, Stream};

use crate::batches::exchange;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Batches that a source makes per activation.
const BATCHES_PER_TURN: usize = 4;

/// How far a source may run ahead of the slowest sink, in milliseconds of event time.
const AHEAD_MS: u64 = 200;

/// Event time in milliseconds.
type Time = u64;

/// A record with the hash of its key: routing and table use the same one.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Hashed {
    hash: u64,
    record: Rec,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let parsed = match &args[..] {
        [_, workload, records] => workload.parse().ok().zip(records.parse().ok()),
        _ => None,
    };
    let Some(outcome) = parsed.and_then(|(workload, records)| run(workload, records)) else {
        eprintln!("use: timely-peer shuffle|sum|sum-large|tumbling RECORDS");
        return ExitCode::FAILURE;
    };
    println!("{}", outcome.line());
    ExitCode::SUCCESS
}

fn run(workload: Workload, records: u64) -> Option<Outcome> {
    let has = [Workload::Shuffle, Workload::Sum, Workload::SumLarge, Workload::Tumbling];
    if !has.contains(&workload) {
        return None;
    }
    let watch = Stopwatch::start();
    let config = timely::Config::process(THREADS);
    let workers = timely::execute(config, move |worker| {
        let part = Part::new(worker.index(), THREADS, records, workload.keys());
        let tally = Rc::new(Cell::new(Tally::default()));
        let sink = Rc::clone(&tally);
        let probe = Handle::new();
        worker.dataflow::<Time, _, _>(|scope| match workload {
            Workload::Shuffle => {
                let records = input(scope, part, &probe, |record| record);
                count(records, exchange(|r: &Rec| owner(hash_of(r.key))), &probe, sink);
            }
            Workload::Tumbling => {
                let records = input(scope, part, &probe, hashed);
                count(keyed::tumbling(records), Pipeline, &probe, sink);
            }
            _ => {
                let records = input(scope, part, &probe, hashed);
                count(keyed::sum(records), Pipeline, &probe, sink);
            }
        });
        while worker.step() {}
        tally.get()
    });
    let mut all = Tally::default();
    for worker in workers.expect("threads start").join() {
        all.merge(worker.expect("no worker panics"));
    }
    Some(watch.stop(workload, records, all))
}

fn hash_of(key: u64) -> u64 {
    key_hash(&key).expect("an integer is a key")
}

fn hashed(record: Rec) -> Hashed {
    Hashed { hash: hash_of(record.key), record }
}

/// The worker that owns a key. Timely takes the low bits of this; those of the hash stay the
/// table's.
fn owner(hash: u64) -> u64 {
    hash >> 63
}

/// The source: a worker's part of the stream, its capability moved at each watermark.
fn input<'scope, T: Clone + 'static>(
    scope: Scope<'scope, Time>,
    mut part: Part,
    probe: &Handle<Time>,
    make: impl Fn(Rec) -> T + 'static,
) -> Stream<'scope, Time, Vec<T>> {
    let probe = probe.clone();
    source::<_, CapacityContainerBuilder<Vec<T>>, _, _>(scope, "part", move |capability, info| {
        let activator = scope.activator_for(info.address);
        let mut capability = Some(capability);
        let mut batch: Vec<T> = Vec::new();
        move |output| {
            for _ in 0..BATCHES_PER_TURN {
                let Some(held) = capability.as_mut() else { return };
                if probe.less_than(&held.time().saturating_sub(AHEAD_MS)) {
                    break;
                }
                batch.reserve(BATCH_RECORDS);
                let mark = part.each(BATCH_RECORDS, |record| batch.push(make(record)));
                output.session(held).give_container(&mut batch);
                batch.clear();
                match mark {
                    Mark::None => {}
                    Mark::Watermark(at) => held.downgrade(&(at as u64)),
                    Mark::End => capability = None,
                }
            }
            activator.activate();
        }
    })
}

/// The sink: counts what comes.
fn count<'scope, P>(
    stream: Stream<'scope, Time, Vec<Rec>>,
    pact: P,
    probe: &Handle<Time>,
    sink: Rc<Cell<Tally>>,
) where
    P: timely::dataflow::channels::pact::ParallelizationContract<Time, Vec<Rec>>,
{
    let done: Stream<'scope, Time, Vec<()>> = stream
        .unary::<CapacityContainerBuilder<Vec<()>>, _, _, _>(pact, "count", |_, _| {
            move |input, _| {
                let mut tally = sink.get();
                input.for_each(|_, batch| {
                    for r in batch.iter() {
                        tally.add(r.key, r.at, r.value);
                    }
                    batch.clear();
                });
                sink.set(tally);
            }
        });
    done.probe_with(probe);
}
