//! Who takes part: the contenders, in the order of the table's columns.
//!
//! Read by the runner, and by `child`, which runs an in-process contender. To add one, add a line
//! to [`contenders`]. Invariant: names are unique, and a contender that lacks a workload says so
//! before it is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;
use millstream_bench_stream::{Outcome, Workload};

use crate::{hand, ours};

/// What a run may be told beside the workload and its size.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Take a snapshot every second, where the contender can.
    pub snapshots: bool,
}

/// A run inside the child process, over so many records.
pub type Run = fn(Workload, u64, &Options) -> anyhow::Result<Outcome>;

/// How a contender is started.
#[derive(Clone, Debug)]
pub enum How {
    /// By a function of this program, in a child of it.
    Here(Run),
    /// As a program that takes a workload and a number of records, and prints one line.
    Program {
        /// What to start.
        program: OsString,
        /// What comes before workload and records.
        args: Vec<OsString>,
        /// The file without which it has not been built.
        needs: PathBuf,
    },
}

/// One column of the table.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Its name, unique.
    pub name: &'static str,
    /// The workloads that it has.
    pub workloads: &'static [Workload],
    /// A run's records are divided by this, so that a slow contender ends in this hour.
    pub divisor: fn(Workload) -> u64,
    /// It runs at most this often.
    pub runs_max: usize,
    /// How it is started.
    pub how: How,
}

impl Contender {
    /// Whether it has a workload.
    pub fn has(&self, workload: Workload) -> bool {
        self.workloads.contains(&workload)
    }

    /// Whether it can run: an external program must have been built.
    pub fn is_built(&self) -> bool {
        match &self.how {
            How::Here(_) => true,
            How::Program { needs, .. } => needs.exists(),
        }
    }
}

/// The column that the others are set against.
pub const OURS: &str = "ours";
/// The column of the hand-written loops.
pub const HAND: &str = "hand";
/// The peer that is the reference where it beats the hand loop.
pub const TIMELY: &str = "timely";

/// The peer that the Nexmark rows have to beat.
pub const RENOIR: &str = "renoir";
/// Makes the Nexmark events and drops them.
pub const GENERATOR: &str = "generator";

const HAND_WRITTEN: &[Workload] = &[
    Workload::Chain,
    Workload::Shuffle,
    Workload::ShuffleGrpc,
    Workload::Sum,
    Workload::SumLarge,
    Workload::SumRocks,
    Workload::Tumbling,
    Workload::Hop,
    Workload::Kafka,
];

/// All but the chain.
const OF_RENOIR: &[Workload] = &[
    Workload::Shuffle,
    Workload::Sum,
    Workload::SumLarge,
    Workload::Tumbling,
    Workload::Hop,
    Workload::Q5,
    Workload::Q7,
    Workload::Q8,
];

const NEXMARK: &[Workload] = &[Workload::Q5, Workload::Q7, Workload::Q8];

/// Every contender. `generator` only makes the Nexmark events: nobody can be faster. `peers` is
/// the folder with the peers' release programs, `flink` the one with the Flink project.
pub fn contenders(peers: &Path, flink: &Path) -> Vec<Contender> {
    vec![
        Contender {
            name: OURS,
            workloads: &Workload::ALL,
            divisor: |_| 1,
            runs_max: usize::MAX,
            how: How::Here(ours::run),
        },
        Contender {
            name: HAND,
            workloads: HAND_WRITTEN,
            divisor: |_| 1,
            runs_max: usize::MAX,
            how: How::Here(hand_loop),
        },
        Contender {
            name: TIMELY,
            workloads: &[Workload::Shuffle, Workload::Sum, Workload::SumLarge, Workload::Tumbling],
            divisor: |_| 1,
            runs_max: usize::MAX,
            how: program(peers.join("timely-peer")),
        },
        Contender {
            name: RENOIR,
            workloads: OF_RENOIR,
            divisor: of_renoir,
            runs_max: 3,
            how: program(peers.join("renoir-peer")),
        },
        Contender {
            name: GENERATOR,
            workloads: NEXMARK,
            divisor: |_| 1,
            runs_max: usize::MAX,
            how: program(peers.join("nexmark-generator")),
        },
        Contender {
            name: "flink",
            workloads: &[
                Workload::Chain,
                Workload::Shuffle,
                Workload::Sum,
                Workload::Tumbling,
                Workload::Hop,
            ],
            divisor: of_flink,
            runs_max: 2,
            how: How::Program {
                program: flink.join("run.sh").into(),
                args: Vec::new(),
                needs: flink.join("target/classpath.txt"),
            },
        },
    ]
}

fn of_renoir(workload: Workload) -> u64 {
    match workload {
        Workload::Tumbling | Workload::Hop => 4,
        _ => 1,
    }
}

fn of_flink(workload: Workload) -> u64 {
    match workload {
        Workload::Hop => 80,
        Workload::Sum | Workload::Tumbling => 20,
        _ => 10,
    }
}

fn hand_loop(workload: Workload, records: u64, _: &Options) -> anyhow::Result<Outcome> {
    hand::run(workload, records)?.with_context(|| format!("there is no hand loop for {workload}"))
}

fn program(path: PathBuf) -> How {
    How::Program { program: path.clone().into(), args: Vec::new(), needs: path }
}
