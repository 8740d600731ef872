//! Who takes part: the contenders, in the order of the table's columns.
//!
//! Read by the runner, and by `child`, which runs an in-process contender. To add one, add a line to
//! [`contenders`]. Invariant: names are unique, and a contender that lacks a workload says so before
//! it is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use millstream_bench_stream::{Outcome, Workload};

use crate::hand;

/// What a run may be told beside the workload and its size.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Take a snapshot every second, where the contender can.
    pub snapshots: bool,
}

/// A run inside the child process; `None` where the contender lacks the workload.
pub type Run = fn(Workload, u64, &Options) -> anyhow::Result<Option<Outcome>>;

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
    /// How it is started.
    pub how: How,
}

impl Contender {
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

const IN_PROCESS: &[Workload] = &[
    Workload::Chain,
    Workload::Shuffle,
    Workload::Sum,
    Workload::SumLarge,
    Workload::Tumbling,
    Workload::Hop,
];

/// Every contender. `peers` is the folder with the peers' release programs, `flink` the one with
/// the Flink project.
pub fn contenders(peers: &Path, flink: &Path) -> Vec<Contender> {
    vec![
        Contender { name: HAND, workloads: IN_PROCESS, how: How::Here(hand_loop) },
        Contender {
            name: TIMELY,
            workloads: &[Workload::Shuffle, Workload::Sum, Workload::SumLarge, Workload::Tumbling],
            how: program(peers.join("timely-peer")),
        },
        Contender {
            name: "renoir",
            workloads: &[
                Workload::Shuffle,
                Workload::Sum,
                Workload::SumLarge,
                Workload::Tumbling,
                Workload::Hop,
                Workload::Q5,
                Workload::Q7,
                Workload::Q8,
            ],
            how: program(peers.join("renoir-peer")),
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
            how: How::Program {
                program: flink.join("run.sh").into(),
                args: Vec::new(),
                needs: flink.join("target/classpath.txt"),
            },
        },
    ]
}

fn hand_loop(workload: Workload, records: u64, _: &Options) -> anyhow::Result<Option<Outcome>> {
    Ok(hand::run(workload, records))
}

fn program(path: PathBuf) -> How {
    How::Program { program: path.clone().into(), args: Vec::new(), needs: path }
}
