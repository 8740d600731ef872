//! The benchmark's workloads on Renoir: `renoir-peer <workload> <records>` prints one line.
//!
//! Parallelism 2, through its public API, as its own examples are written; the same generator, the
//! same batch size for the synthetic stream, the same allocator. Renoir hashes keys its own way and
//! starts a key's windows at the key's first record, so that its window results differ from the
//! others': the sum of the values must still agree for tumbling windows.

mod nexmark;
mod sink;

use std::process::ExitCode;

use millstream_bench_stream::record::WATERMARK_MS;
use millstream_bench_stream::workload::{HOP_SIZE_MS, HOP_SLIDE_MS, TUMBLING_MS};
use millstream_bench_stream::{
    Agreement, BATCH_RECORDS, Outcome, Part, Rec, Stopwatch, THREADS, Workload,
};
use renoir::operator::Operator;
use renoir::prelude::*;
use renoir::{KeyedStream, Stream};

use crate::sink::Sink;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let parsed = match &args[..] {
        [_, workload, records] => workload.parse().ok().zip(records.parse().ok()),
        _ => None,
    };
    let Some(outcome) = parsed.and_then(|(workload, records)| run(workload, records)) else {
        eprintln!("use: renoir-peer shuffle|sum|sum-large|tumbling|hop|q5|q7|q8 RECORDS");
        return ExitCode::FAILURE;
    };
    println!("{}", outcome.line());
    ExitCode::SUCCESS
}

fn run(workload: Workload, records: u64) -> Option<Outcome> {
    let threads = THREADS as u64;
    let config = RuntimeConfig::local(threads).expect("a local configuration is always valid");
    let ctx = StreamContext::new(config);
    let sink = Sink::default();
    let agreement = match workload {
        Workload::Chain | Workload::ShuffleGrpc | Workload::SumRocks | Workload::Kafka => {
            return None;
        }
        Workload::Shuffle => {
            let sink = sink.clone();
            keyed(&ctx, workload, records).for_each(move |(_, r)| sink.add(r.key, r.at, r.value));
            Agreement::Exact
        }
        Workload::Sum | Workload::SumLarge => {
            sum(keyed(&ctx, workload, records), sink.clone());
            Agreement::Exact
        }
        Workload::Tumbling => {
            windows(&ctx, records, EventTimeWindow::tumbling(TUMBLING_MS), sink.clone());
            Agreement::Values
        }
        Workload::Hop => {
            let window = EventTimeWindow::sliding(HOP_SIZE_MS, HOP_SLIDE_MS);
            windows(&ctx, records, window, sink.clone());
            Agreement::None
        }
        Workload::Q5 => nexmark::q5(&ctx, records, sink.clone()),
        Workload::Q7 => nexmark::q7(&ctx, records, sink.clone()),
        Workload::Q8 => nexmark::q8(&ctx, records, sink.clone()),
    };
    let watch = Stopwatch::start();
    ctx.execute_blocking();
    Some(watch.stop(workload, records, sink.total()).agreeing(agreement))
}

fn input(
    ctx: &StreamContext,
    workload: Workload,
    records: u64,
) -> Stream<impl Operator<Out = Rec> + 'static> {
    ctx.stream_par_iter(move |part: u64, parts: u64| {
        Part::new(part as usize, parts as usize, records, workload.keys())
    })
    .batch_mode(BatchMode::fixed(BATCH_RECORDS))
}

fn keyed(
    ctx: &StreamContext,
    workload: Workload,
    records: u64,
) -> KeyedStream<impl Operator<Out = (u64, Rec)> + 'static> {
    input(ctx, workload, records).group_by(|r| r.key)
}

fn sum(keyed: KeyedStream<impl Operator<Out = (u64, Rec)> + 'static>, sink: Sink) {
    keyed
        .rich_map({
            let mut sum = 0;
            move |(_, record): (&u64, Rec)| {
                sum += record.value;
                Rec { value: sum, ..record }
            }
        })
        .for_each(move |(_, r)| sink.add(r.key, r.at, r.value));
}

/// A sum per key and window. The window results carry no time that the API would tell: it counts
/// as 0.
fn windows(ctx: &StreamContext, records: u64, window: EventTimeWindow, sink: Sink) {
    input(ctx, Workload::Tumbling, records)
        .add_timestamps(|r| r.at, watermarks())
        .group_by(|r| r.key)
        .map(|(_, r)| r.value)
        .window(window)
        .sum::<i64>()
        .for_each(move |(key, sum)| sink.add(key, 0, sum));
}

/// A watermark at the first record of every 100 ms of event time.
fn watermarks<T>() -> impl FnMut(&T, &i64) -> Option<i64> + Clone + Send {
    let mut passed = 0;
    move |_, &at| {
        let boundary = at / WATERMARK_MS;
        (std::mem::replace(&mut passed, boundary) < boundary).then_some(at)
    }
}
