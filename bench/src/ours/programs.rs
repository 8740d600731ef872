//! The workloads as programs.

use std::time::Duration;

use millstream_bench_stream::workload::{HOP_SIZE_MS, HOP_SLIDE_MS, TUMBLING_MS, chain};
use millstream_bench_stream::{Rec, THREADS, Tally, Workload};
use millstream_dataflow::operator::aggregate::Sum;
use millstream_dataflow::window::{Hop, Tumbling, Windowed};
use millstream_dataflow::{Job, Stream, Timestamp, Watermarks};

use super::ends::{Ends, Synthetic, TallySink};
use super::nexmark::{self, Events};

pub(crate) fn add(tally: &mut Tally, record: &Rec) {
    tally.add(record.key, record.at, record.value);
}

pub(crate) fn add_window(tally: &mut Tally, window: &Windowed<u64, i64>) {
    tally.add(window.key, window.start.millis(), window.value);
}

pub(crate) fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// Builds a workload.
pub(super) fn build(job: &mut Job, workload: Workload, records: u64, ends: &Ends) {
    let source = |job: &mut Job| {
        let keys = workload.keys();
        job.source("synthetic", Synthetic { records, keys, parts: THREADS, until: None })
    };
    let timed = |job: &mut Job| {
        source(job).event_time(|r| Timestamp(r.at), Watermarks::ascending()).key_by(|r| r.key)
    };
    match workload {
        Workload::Chain => {
            let mapped = source(job).map(chain::first).filter(chain::keep).map(chain::second);
            mapped.sink("out", TallySink::new(ends, add));
        }
        Workload::Shuffle => {
            // A rekeyed identity: each record crosses the exchange and is counted by its key's
            // task.
            let shuffled = source(job).key_by(|r| r.key).pass("shuffled");
            shuffled.sink("out", TallySink::new(ends, add));
        }
        Workload::Sum | Workload::SumLarge | Workload::SumRocks => {
            sums(&source(job)).sink("out", TallySink::new(ends, add));
        }
        Workload::Tumbling => {
            let windows = timed(job).window(Tumbling::of(ms(TUMBLING_MS)));
            let sums = windows.aggregate("sums", |r| r.value, Sum);
            sums.sink("out", TallySink::new(ends, add_window));
        }
        Workload::Hop => {
            let windows = timed(job).window(Hop::of(ms(HOP_SIZE_MS), ms(HOP_SLIDE_MS)));
            let sums = windows.aggregate("sums", |r| r.value, Sum);
            sums.sink("out", TallySink::new(ends, add_window));
        }
        Workload::Q5 => nexmark::q5(job, Events::of(records), ends),
        Workload::Q7 => nexmark::q7(job, Events::of(records), ends),
        Workload::Q8 => nexmark::q8(job, Events::of(records), ends),
        // Programs of their own, see `kafka` and `shuffle_grpc`.
        Workload::Kafka | Workload::ShuffleGrpc => {}
    }
}

/// A running sum per key, put out for every record.
pub(crate) fn sums(records: &Stream<Rec>) -> Stream<Rec> {
    records.key_by(|r| r.key).scan("sums", 0i64, |sum, r: Rec| {
        *sum += r.value;
        Rec { value: *sum, ..r }
    })
}
