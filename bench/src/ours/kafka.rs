//! The count per key from Kafka to Kafka, as a user would write it, run as a whole job.

use millstream_bench_stream::{Outcome, Rec, Stopwatch, Workload};
use millstream_dataflow::connector::kafka::{KafkaSink, KafkaSource};
use millstream_dataflow::{Job, Result};

use super::ends::Ends;
use super::run::{SNAPSHOT_INTERVAL, Whole, whole_job};
use crate::kafka::{INPUT, brokers, create, in_partition, read_back};

/// Runs it over so many records.
pub(super) fn run(records: u64) -> anyhow::Result<Outcome> {
    let (brokers, output) = (brokers()?, format!("ours-{}", std::process::id()));
    create(&brokers, &output)?;
    let watch = Stopwatch::start();
    let args = [
        ("brokers", brokers.clone()),
        ("output", output.clone()),
        ("inPartition", in_partition(records).to_string()),
    ];
    let args = args.map(|(name, value)| (name.to_owned(), value)).into();
    let whole = Whole { build: counts, args, ..Whole::every(SNAPSHOT_INTERVAL) };
    whole_job(whole, &Ends::new(watch))?;
    let (seconds, cpu_seconds) = (watch.seconds(), watch.cpu_seconds());
    let tally = read_back(&brokers, &output, records)?;
    Ok(Outcome { seconds, cpu_seconds, ..watch.stop(Workload::Kafka, records, tally) })
}

fn counts(job: &mut Job) -> Result<()> {
    let args = job.args();
    let (brokers, output) = (args.get("brokers")?.to_owned(), args.get("output")?.to_owned());
    let records: i64 = args.parse("inPartition")?;
    let ends = [(INPUT, 0, records), (INPUT, 1, records)];
    let source = KafkaSource::json::<Rec>(INPUT).brokers(&brokers).until_offsets(ends);
    let counts = job.source("in", source).key_by(|r| r.key).scan("counts", 0, |count, r: Rec| {
        *count += 1;
        Rec { value: *count, ..r }
    });
    let sink = KafkaSink::json::<Rec>(output).brokers(&brokers);
    counts.sink("out", sink.key(|r| r.key.to_string()));
    Ok(())
}
