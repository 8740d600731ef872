//! Many tasks on few threads: what they cost in speed, and in memory when all channels are full.
//!
//! Called by [`super::case`]. The engine alone, without snapshots.

use millstream_bench_stream::cpu::peak_rss_bytes;
use millstream_bench_stream::{Rec, Stopwatch};

use super::Figures;
use super::jobs::rate_of;
use crate::ours::ends::{Ends, Synthetic, TallySink};
use crate::ours::programs::add;
use crate::ours::run::engine_alone;

const KEYS: u64 = 100_000;

/// Records made of each one in a source's task: more than the other end takes in its turn, so that
/// all channels fill and stay full.
const COPIES: u64 = 8;

/// A sum per key with so many source and so many keyed tasks, all to all.
pub(super) fn rate(tasks: u32, records: u64) -> anyhow::Result<Figures> {
    run(tasks, records, 1)
}

/// The same, with all channels full.
pub(super) fn full(tasks: u32, records: u64) -> anyhow::Result<Figures> {
    run(tasks, records, COPIES)
}

fn run(tasks: u32, records: u64, copies: u64) -> anyhow::Result<Figures> {
    let ends = Ends::new(Stopwatch::start());
    let records = records / copies;
    engine_alone(|job| {
        let parts = tasks as usize;
        let source = Synthetic { records, keys: KEYS, parts, until: None };
        let source = job.source("synthetic", source).parallelism(tasks);
        let stream = if copies > 1 {
            // Other keys, or they would all go the same way.
            source.flat_map(move |r| {
                (0..copies).map(move |n| Rec { key: (r.key + n * KEYS / copies) % KEYS, ..r })
            })
        } else {
            (*source).clone()
        };
        // The record comes out as it went in: which of a key's parts is first, is chance here.
        let sums = stream.key_by(|r| r.key).scan("sums", 0i64, |sum, r: Rec| {
            *sum += r.value;
            r
        });
        sums.parallelism(tasks).sink("out", TallySink::new(&ends, add));
    })?;
    Ok(Figures::from([
        ("rate".into(), rate_of(records * copies, &ends)?),
        ("peak_rss_mb".into(), peak_rss_bytes() as f64 / 1e6),
    ]))
}
