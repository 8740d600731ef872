//! The workloads as programs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_bench_stream::workload::{HOP_SIZE_MS, HOP_SLIDE_MS, TUMBLING_MS, chain};
use millstream_bench_stream::{Rec, THREADS, Tally, Workload};
use millstream_dataflow::operator::aggregate::Sum;
use millstream_dataflow::sink::Sink;
use millstream_dataflow::window::{Hop, Tumbling, Windowed};
use millstream_dataflow::{Job, Stream, Timestamp, Watermarks};

use super::ends::{Synthetic, TallySink};

fn add(tally: &mut Tally, record: &Rec) {
    tally.add(record.key, record.at, record.value);
}

fn add_window(tally: &mut Tally, window: &Windowed<u64, i64>) {
    tally.add(window.key, window.start.millis(), window.value);
}

fn ms(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// Builds a workload; false where there is none of that name.
pub(super) fn build(
    job: &mut Job,
    workload: Workload,
    records: u64,
    total: Arc<Mutex<Tally>>,
) -> bool {
    let keys = workload.keys();
    let source = job.source("synthetic", Synthetic { records, keys, parts: THREADS });
    match workload {
        Workload::Chain => chain_program(&source, TallySink::new(total, add)),
        Workload::Shuffle => {
            // A rekeyed identity: each record crosses the exchange and is counted by its key's
            // task.
            let shuffled = source.key_by(|r| r.key).pass("shuffled");
            shuffled.sink("out", TallySink::new(total, add));
        }
        Workload::Sum | Workload::SumLarge => {
            let sums = source.key_by(|r| r.key).scan("sums", 0i64, |sum, r: Rec| {
                *sum += r.value;
                Rec { value: *sum, ..r }
            });
            sums.sink("out", TallySink::new(total, add));
        }
        Workload::Tumbling => {
            let timed = source.event_time(|r| Timestamp(r.at), Watermarks::ascending());
            let windows = timed.key_by(|r| r.key).window(Tumbling::of(ms(TUMBLING_MS)));
            let sums = windows.aggregate("sums", |r| r.value, Sum);
            sums.sink("out", TallySink::new(total, add_window));
        }
        Workload::Hop => {
            let timed = source.event_time(|r| Timestamp(r.at), Watermarks::ascending());
            let hop = Hop::of(ms(HOP_SIZE_MS), ms(HOP_SLIDE_MS));
            let sums = timed.key_by(|r| r.key).window(hop).aggregate("sums", |r| r.value, Sum);
            sums.sink("out", TallySink::new(total, add_window));
        }
        _ => return false,
    }
    true
}

fn chain_program(source: &Stream<Rec>, sink: impl Sink<Item = Rec>) {
    source.map(chain::first).filter(chain::keep).map(chain::second).sink("out", sink);
}
