//! Runs the contenders, each run in a fresh child process, interleaved: A B C, A B C, and so on.
//!
//! Receives [`Contender`]s from the registry and hands [`Row`]s to the table. Invariant: figures
//! are only compared within a row, whose runs lie next to each other in time, and a contender
//! whose output differs from the others' has no figure.

use std::process::Command;

use anyhow::{Context, bail, ensure};
use millstream_bench_stream::{Outcome, Workload};
use millstream_testkit::Kafka;
use serde::Serialize;

use crate::agreed::Agreed;
use crate::kafka;
use crate::registry::{Contender, HAND, How, Options};
use crate::verdict::median;

/// How many times smaller a quick run is. Of the 10 M keys it sees a part only.
const QUICK_DIVISOR: u64 = 10;

/// The program that is running, even where its file has been replaced by a new build since: all
/// rounds must run the same code.
pub(crate) const THIS_PROGRAM: &str = "/proc/self/exe";

/// What to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The rows.
    pub workloads: Vec<Workload>,
    /// Runs per contender and workload.
    pub rounds: usize,
    /// A tenth of the records.
    pub quick: bool,
    /// When ours takes snapshots.
    pub snapshots: Snapshots,
}

/// When ours takes a snapshot every second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Snapshots {
    /// In the workloads that say so.
    #[default]
    AsSaid,
    /// In all.
    Always,
    /// In none.
    Never,
}

impl Snapshots {
    fn options(self, workload: Workload) -> Options {
        let snapshots = match self {
            Self::AsSaid => workload.snapshots(),
            Self::Always => true,
            Self::Never => false,
        };
        Options { snapshots }
    }
}

impl Settings {
    fn records(&self, workload: Workload, divisor: u64) -> u64 {
        let divisor = divisor * if self.quick { QUICK_DIVISOR } else { 1 };
        // Even, so that two parts are of one size.
        (workload.records() / divisor).next_multiple_of(2)
    }
}

/// One workload and what everyone made of it.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The workload.
    pub workload: Workload,
    /// One cell per contender, in the registry's order; empty where it lacks the workload.
    pub cells: Vec<Cell>,
}

/// One contender's runs of one workload.
#[derive(Debug, Serialize)]
pub struct Cell {
    /// The contender's name.
    pub contender: &'static str,
    /// Its runs, by round.
    pub outcomes: Vec<Outcome>,
    /// Why there is no figure.
    pub trouble: Option<String>,
}

impl Cell {
    /// The median of the runs, in million records per second.
    pub fn rate(&self) -> Option<f64> {
        median(self.outcomes.iter().map(Outcome::rate))
    }

    /// The most memory that any run has held, in bytes.
    pub fn peak_rss_bytes(&self) -> u64 {
        self.outcomes.iter().map(|o| o.peak_rss_bytes).max().unwrap_or(0)
    }
}

impl Row {
    /// A contender's cell.
    pub fn cell(&self, contender: &str) -> Option<&Cell> {
        self.cells.iter().find(|c| c.contender == contender)
    }

    /// The median over the rounds of one contender's rate by another's, each of the same round.
    pub fn ratio(&self, contender: &str, to: &str) -> Option<f64> {
        let (one, other) = (self.cell(contender)?, self.cell(to)?);
        median(one.outcomes.iter().zip(&other.outcomes).map(|(a, b)| a.rate() / b.rate()))
    }
}

/// Runs everything, and tells `progress` what goes on.
pub fn run(
    contenders: &[Contender],
    settings: &Settings,
    mut progress: impl FnMut(&str),
) -> Vec<Row> {
    let workloads = settings.workloads.iter();
    workloads.map(|&workload| row(workload, contenders, settings, &mut progress)).collect()
}

fn row(
    workload: Workload,
    contenders: &[Contender],
    settings: &Settings,
    progress: &mut impl FnMut(&str),
) -> Row {
    let mut cells: Vec<Cell> = contenders
        .iter()
        .map(|c| Cell { contender: c.name, outcomes: Vec::new(), trouble: None })
        .collect();
    let options = settings.snapshots.options(workload);
    let around = match Around::of(workload, settings.records(workload, 1)) {
        Ok(around) => around,
        Err(error) => {
            progress(&format!("{workload:<10} cannot run: {error:#}"));
            let has = |contender| Contender::has(contender, workload);
            for (_, cell) in contenders.iter().zip(&mut cells).filter(|(it, _)| has(it)) {
                cell.trouble = Some(format!("{error:#}"));
            }
            return Row { workload, cells };
        }
    };
    let child = |contender: &Contender, records| {
        let run = Child { contender, workload, records };
        let none = Options::default();
        run.run(if contender.name == HAND { &none } else { &options }, &around)
    };
    let mut agreed = Agreed::default();
    let hand = |records| {
        let hand = contenders.iter().find(|it| it.name == HAND && it.has(workload));
        hand.map(|hand| child(hand, records)).transpose()
    };
    for round in 0..settings.rounds {
        for (contender, cell) in contenders.iter().zip(&mut cells) {
            let has_turn = contender.has(workload) && round < contender.runs_max;
            if !has_turn || cell.trouble.is_some() {
                continue;
            }
            let records = settings.records(workload, (contender.divisor)(workload));
            let run = child(contender, records)
                .and_then(|outcome| agreed.check(&outcome, &hand).map(|()| outcome));
            match run {
                Ok(outcome) => {
                    let rate = outcome.rate();
                    progress(&format!("{workload:<10} {:<8} {rate:8.1}", contender.name));
                    cell.outcomes.push(outcome);
                }
                Err(error) => {
                    progress(&format!("{workload:<10} {:<8} failed: {error:#}", contender.name));
                    cell.outcomes.clear();
                    cell.trouble = Some(format!("{error:#}"));
                }
            }
        }
    }
    Row { workload, cells }
}

/// What the runs of a row need around them.
struct Around {
    kafka: Option<Kafka>,
}

impl Around {
    fn of(workload: Workload, records: u64) -> anyhow::Result<Self> {
        let needs_kafka = workload == Workload::Kafka;
        Ok(Self { kafka: needs_kafka.then(|| kafka::start(records)).transpose()? })
    }
}

/// One run in a child process.
struct Child<'a> {
    contender: &'a Contender,
    workload: Workload,
    records: u64,
}

impl Child<'_> {
    fn run(&self, options: &Options, around: &Around) -> anyhow::Result<Outcome> {
        let Self { contender, workload, records } = self;
        let mut command = match &contender.how {
            How::Here(_) => {
                let mut command = Command::new(THIS_PROGRAM);
                command.args(["child", contender.name]);
                command
            }
            How::Program { program, args, needs } => {
                ensure!(needs.exists(), "{} does not exist: build the peer", needs.display());
                let mut command = Command::new(program);
                command.args(args);
                command
            }
        };
        command.args([workload.name(), &records.to_string()]);
        if matches!(contender.how, How::Here(_)) && options.snapshots {
            command.arg("--snapshots");
        }
        if let Some(kafka) = &around.kafka {
            command.env(kafka::BROKERS, kafka.address());
        }
        let line = json_line(command)?;
        let outcome: Outcome =
            serde_json::from_str(&line).with_context(|| format!("read its result '{line}'"))?;
        let Outcome { workload: ran, records_in, .. } = outcome;
        ensure!(ran == *workload, "it ran {ran} instead of {workload}");
        ensure!(records_in == *records, "it took {records_in} records, not {records}");
        Ok(outcome)
    }
}

/// Runs a child to its end and returns the last line that it printed as JSON.
pub(crate) fn json_line(mut command: Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("start {name}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}: {}", output.status, stderr.lines().last().unwrap_or("no message"));
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().rfind(|line| line.starts_with('{'));
    Ok(line.context("it printed no result")?.to_owned())
}

#[cfg(test)]
mod tests {
    use millstream_bench_stream::{Stopwatch, Tally};

    use super::*;

    fn cell(contender: &'static str, seconds: &[f64]) -> Cell {
        let outcome = Stopwatch::start().stop(Workload::Sum, 1_000_000, Tally::default());
        let outcomes = seconds.iter().map(|&seconds| Outcome { seconds, ..outcome.clone() });
        Cell { contender, outcomes: outcomes.collect(), trouble: None }
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The machine is twice as slow in the second round: the ratio does not move.
        let cells = vec![cell("ours", &[1.0, 2.0, 1.0]), cell("hand", &[0.5, 1.0, 0.25])];
        let row = Row { workload: Workload::Sum, cells };
        assert_eq!(row.ratio("ours", "hand"), Some(0.5));
        assert_eq!(row.ratio("ours", "timely"), None);
        assert_eq!(row.cell("ours").and_then(Cell::rate), Some(1.0));
    }

    #[test]
    fn a_run_has_an_even_number_of_records() {
        let snapshots = Snapshots::AsSaid;
        let settings = Settings { workloads: vec![], rounds: 1, quick: true, snapshots };
        assert_eq!(settings.records(Workload::Shuffle, 1), 12_000_000);
        assert_eq!(settings.records(Workload::Shuffle, 7) % 2, 0);
    }

    #[test]
    fn snapshots_are_taken_where_the_workload_says_so() {
        let taken = |when: Snapshots, workload| when.options(workload).snapshots;
        assert!(taken(Snapshots::AsSaid, Workload::Sum));
        assert!(taken(Snapshots::AsSaid, Workload::Q8));
        assert!(!taken(Snapshots::AsSaid, Workload::Chain));
        assert!(taken(Snapshots::Always, Workload::Chain));
        assert!(!taken(Snapshots::Never, Workload::Sum));
    }
}
