//! Makes the Nexmark events on two threads and drops them: the bound of every Nexmark query.
//! `nexmark-generator <q5|q7|q8> <records>` prints one line; the query makes no difference.

use std::process::ExitCode;
use std::thread;

use millstream_bench_stream::workload::nexmark::EVENTS_PER_SECOND;
use millstream_bench_stream::{Agreement, Stopwatch, THREADS, Tally, Workload};
use nexmark::config::NexmarkConfig;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let parsed = match &args[..] {
        [_, workload, records] => workload.parse::<Workload>().ok().zip(records.parse().ok()),
        _ => None,
    };
    let Some((workload, records)) = parsed else {
        eprintln!("use: nexmark-generator q5|q7|q8 RECORDS");
        return ExitCode::FAILURE;
    };
    let watch = Stopwatch::start();
    let tally = thread::scope(|scope| {
        let threads: [_; THREADS] =
            std::array::from_fn(|i| scope.spawn(move || part(i as u64, records)));
        let mut all = Tally::default();
        for thread in threads {
            all.merge(thread.join().expect("the generator does not panic"));
        }
        all
    });
    println!("{}", watch.stop(workload, records, tally).agreeing(Agreement::None).line());
    ExitCode::SUCCESS
}

fn part(part: u64, events: u64) -> Tally {
    let config = NexmarkConfig {
        first_rate: EVENTS_PER_SECOND,
        next_rate: EVENTS_PER_SECOND,
        base_time: 0,
        ..Default::default()
    };
    let parts = THREADS as u64;
    let mine = events / parts + u64::from(part < events % parts);
    let generator = nexmark::EventGenerator::new(config).with_offset(part).with_step(parts);
    let mut tally = Tally::default();
    for event in generator.take(mine as usize) {
        tally.add(event.event_type() as u64, event.timestamp() as i64, 0);
    }
    tally
}
