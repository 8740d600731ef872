//! The lines of the second table: which value of which cases, and what is asked of it.
//!
//! Read by [`super::runner`], which finds the cases to run, and by [`super::table`]. Invariant:
//! names are unique, and a value that compares cases takes them from one round.

use std::collections::BTreeMap;

use super::{Case, Figures};
use crate::verdict::{Verdict, median};

/// What the cases of one round have measured.
pub type Round = BTreeMap<Case, Figures>;

/// Which values are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Smaller ones.
    Less,
    /// Larger ones.
    More,
}

/// What is asked of a line.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// Which way is better.
    pub better: Better,
    /// What is just accepted.
    pub floor: f64,
    /// What is aimed at.
    pub target: f64,
}

impl Gate {
    /// How a value stands.
    pub fn verdict(self, value: f64) -> Verdict {
        let reaches = |bound| match self.better {
            Better::Less => value <= bound,
            Better::More => value >= bound,
        };
        match (reaches(self.floor), reaches(self.target)) {
            (true, true) => Verdict::Target,
            (true, false) => Verdict::Floor,
            (false, _) => Verdict::Below,
        }
    }
}

/// One figure of one case.
#[derive(Clone, Copy, Debug)]
pub struct Figure(pub Case, pub &'static str);

impl Figure {
    fn of(self, round: &Round) -> Option<f64> {
        round.get(&self.0)?.get(self.1).copied()
    }
}

/// How a value follows from figures.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// It is one.
    Of(Figure),
    /// The first by the second.
    Ratio(Figure, Figure),
}

impl Value {
    /// The value in a round; `None` where a case did not run.
    pub fn of(self, round: &Round) -> Option<f64> {
        match self {
            Self::Of(figure) => figure.of(round),
            Self::Ratio(one, other) => Some(one.of(round)? / other.of(round)?),
        }
    }

    fn cases(self) -> Vec<Case> {
        match self {
            Self::Of(figure) => vec![figure.0],
            Self::Ratio(one, other) => vec![one.0, other.0],
        }
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its name in the table.
    pub title: &'static str,
    /// The unit of its value.
    pub unit: &'static str,
    /// Its value.
    pub value: Value,
    /// What is asked of it, if anything is.
    pub gate: Option<Gate>,
    /// What is shown beside it, with a name each.
    pub beside: &'static [(&'static str, Value)],
}

impl Line {
    /// The cases that it needs.
    pub fn cases(&self) -> Vec<Case> {
        let beside = self.beside.iter().flat_map(|(_, value)| value.cases());
        self.value.cases().into_iter().chain(beside).collect()
    }

    /// The median over the rounds.
    pub fn median(&self, rounds: &[Round]) -> Option<f64> {
        median(rounds.iter().filter_map(|round| self.value.of(round)))
    }

    /// The worst of the rounds; `None` where nothing is asked.
    pub fn worst(&self, rounds: &[Round]) -> Option<f64> {
        let values = rounds.iter().filter_map(|round| self.value.of(round));
        match self.gate?.better {
            Better::More => values.min_by(f64::total_cmp),
            Better::Less => values.max_by(f64::total_cmp),
        }
    }

    /// How the median stands.
    pub fn verdict(&self, rounds: &[Round]) -> Verdict {
        match (self.gate, self.median(rounds)) {
            (Some(gate), Some(value)) => gate.verdict(value),
            _ => Verdict::Open,
        }
    }
}

const fn at_most(floor: f64, target: f64) -> Gate {
    Gate { better: Better::Less, floor, target }
}

const fn at_least(floor: f64, target: f64) -> Gate {
    Gate { better: Better::More, floor, target }
}

const fn of(case: Case, figure: &'static str) -> Value {
    Value::Of(Figure(case, figure))
}

const fn ratio(one: Case, other: Case, figure: &'static str) -> Value {
    Value::Ratio(Figure(one, figure), Figure(other, figure))
}

/// Four MiB for each task and edge, which is what a router plans with, times 64 tasks.
const CHANNELS_MB_MAX: f64 = 64.0 * 4.2;

/// Every line, in the order of the table.
pub const LINES: &[Line] = &[
    Line {
        name: "snapshot-cpu-100k",
        title: "CPU of snapshots every second, sum, 100 k keys",
        unit: "%",
        value: of(Case::Sum100k, "snapshot_cpu_percent"),
        gate: Some(at_most(2.0, 1.0)),
        beside: &[
            ("snapshots", of(Case::Sum100k, "epochs")),
            ("rate by that without", ratio(Case::Sum100k, Case::Sum100kBare, "rate")),
        ],
    },
    Line {
        name: "snapshot-cpu-1m",
        title: "CPU of snapshots every second, sum, 1 M keys",
        unit: "%",
        value: of(Case::Sum1m, "snapshot_cpu_percent"),
        gate: Some(at_most(8.0, 4.0)),
        beside: &[
            ("snapshots", of(Case::Sum1m, "epochs")),
            ("rate by that without", ratio(Case::Sum1m, Case::Sum1mBare, "rate")),
        ],
    },
    Line {
        name: "barrier-median",
        title: "work at a barrier, 1 M keys, median",
        unit: "ms",
        value: of(Case::Sum1m, "barrier_ms_median"),
        gate: Some(at_most(1.0, 0.05)),
        beside: &[],
    },
    Line {
        name: "barrier-max",
        title: "work at a barrier, 1 M keys, longest",
        unit: "ms",
        value: of(Case::Sum1m, "barrier_ms_max"),
        gate: Some(at_most(1.0, 0.05)),
        beside: &[],
    },
    Line {
        name: "stall-sum",
        title: "longest stall, sum, 5 M keys",
        unit: "ms",
        value: of(Case::Sum5m, "stretch_ms_max"),
        gate: Some(at_most(10.0, 1.0)),
        beside: &[
            ("over 1 ms", of(Case::Sum5m, "stretches_over_1_ms")),
            ("slice ms", of(Case::Sum5m, "capture_ms_max")),
            ("fresh page ms", of(Case::Sum5m, "fresh_page_ms_max")),
        ],
    },
    Line {
        name: "stall-windows",
        title: "longest stall, windows, 5 M keys",
        unit: "ms",
        value: of(Case::Windows5m, "stretch_ms_max"),
        gate: Some(at_most(10.0, 1.0)),
        beside: &[
            ("over 1 ms", of(Case::Windows5m, "stretches_over_1_ms")),
            ("slice ms", of(Case::Windows5m, "capture_ms_max")),
            ("fresh page ms", of(Case::Windows5m, "fresh_page_ms_max")),
        ],
    },
    Line {
        name: "growth",
        title: "rate of 100 M records by that of 10 M",
        unit: "x",
        value: ratio(Case::Records100m, Case::Records10m, "rate"),
        gate: Some(at_least(0.85, 0.85)),
        beside: &[("M/s", of(Case::Records100m, "rate"))],
    },
    Line {
        name: "snapshot-by-state",
        title: "CPU of a snapshot, 10 k changed of 1 M keys by of 100 k",
        unit: "x",
        value: ratio(Case::Delta1m, Case::Delta100k, "snapshot_cpu_ms"),
        gate: Some(at_most(5.0, 2.0)),
        beside: &[
            ("ms", of(Case::Delta1m, "snapshot_cpu_ms")),
            ("ms to disk", of(Case::Delta1m, "snapshot_wall_ms")),
        ],
    },
    Line {
        name: "snapshot-by-change",
        title: "CPU of a snapshot, 1 M keys, 1 % changed by all",
        unit: "x",
        value: ratio(Case::Delta1m, Case::DeltaAll1m, "snapshot_cpu_ms"),
        gate: Some(at_most(0.25, 0.1)),
        beside: &[
            ("ms for all", of(Case::DeltaAll1m, "snapshot_cpu_ms")),
            ("ms to disk", of(Case::DeltaAll1m, "snapshot_wall_ms")),
        ],
    },
    Line {
        name: "tasks-16",
        title: "rate of 16 tasks on 2 threads by that of 2",
        unit: "x",
        value: ratio(Case::Tasks16, Case::Tasks2, "rate"),
        gate: None,
        beside: &[
            ("M/s", of(Case::Tasks16, "rate")),
            ("M/s of 2", of(Case::Tasks2, "rate")),
            ("MB", of(Case::Tasks16, "peak_rss_mb")),
        ],
    },
    Line {
        name: "tasks-64",
        title: "rate of 64 tasks on 2 threads by that of 2",
        unit: "x",
        value: ratio(Case::Tasks64, Case::Tasks2, "rate"),
        gate: None,
        beside: &[("M/s", of(Case::Tasks64, "rate")), ("MB", of(Case::Tasks64, "peak_rss_mb"))],
    },
    Line {
        name: "channels-64",
        title: "memory, 64 tasks on 2 threads, all channels full",
        unit: "MB",
        value: of(Case::Full64, "peak_rss_mb"),
        gate: Some(at_most(CHANNELS_MB_MAX, CHANNELS_MB_MAX / 2.0)),
        beside: &[("M/s", of(Case::Full64, "rate"))],
    },
    Line {
        name: "recovery",
        title: "worker killed to output of all, 2 processes, 100 MB of state",
        unit: "s",
        value: of(Case::Recovery, "recovery_s"),
        gate: Some(at_most(10.0, 3.0)),
        beside: &[
            ("found", of(Case::Recovery, "found_s")),
            ("workers", of(Case::Recovery, "workers_s")),
            ("state", of(Case::Recovery, "state_s")),
            ("start", of(Case::Recovery, "start_s")),
            ("output", of(Case::Recovery, "output_s")),
            ("MB", of(Case::Recovery, "state_mb")),
        ],
    },
    Line {
        name: "rescale",
        title: "without output of all, 1 process to 2, 100 MB of state",
        unit: "s",
        value: of(Case::Rescale, "more_s"),
        gate: Some(at_most(10.0, 2.0)),
        beside: &[
            ("of any", of(Case::Rescale, "more_first_s")),
            ("says stood", of(Case::Rescale, "more_stood_s")),
            ("took", of(Case::Rescale, "more_took_s")),
            ("2 to 1", of(Case::Rescale, "fewer_s")),
        ],
    },
    Line {
        name: "latency",
        title: "latency p99, 100 k records/s, 2 processes, linger 0",
        unit: "ms",
        value: of(Case::Latency, "p99_ms"),
        gate: Some(at_most(10.0, 2.0)),
        beside: &[
            ("p50", of(Case::Latency, "p50_ms")),
            ("p99.9", of(Case::Latency, "p999_ms")),
            ("gRPC there and back p50", of(Case::RoundTrip, "p50_ms")),
            ("p99", of(Case::RoundTrip, "p99_ms")),
            ("load before", of(Case::Latency, "load_before")),
        ],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn round(figures: &[(Case, f64)]) -> Round {
        let figures =
            figures.iter().map(|&(case, rate)| (case, Figures::from([("rate".to_owned(), rate)])));
        figures.collect()
    }

    fn growth() -> &'static Line {
        LINES.iter().find(|line| line.name == "growth").unwrap()
    }

    #[test]
    fn a_ratio_is_of_one_round_and_the_worst_is_on_the_bad_side() {
        let rounds: Vec<Round> = [(50.0, 50.0), (20.0, 25.0), (60.0, 50.0)]
            .map(|(small, large)| round(&[(Case::Records10m, small), (Case::Records100m, large)]))
            .into();
        assert_eq!(growth().median(&rounds), Some(1.0));
        assert_eq!(growth().worst(&rounds), Some(50.0 / 60.0));
        assert_eq!(growth().verdict(&rounds), Verdict::Target);
        assert_eq!(growth().verdict(&rounds[2..]), Verdict::Below);
    }

    #[test]
    fn a_line_without_its_case_is_open() {
        let rounds = [round(&[(Case::Records10m, 5.0)])];
        assert_eq!(growth().verdict(&rounds), Verdict::Open);
        assert_eq!(growth().verdict(&[]), Verdict::Open);
    }

    #[test]
    fn smaller_is_better_where_the_gate_says_so() {
        let gate = at_most(10.0, 1.0);
        assert_eq!(gate.verdict(1.0), Verdict::Target);
        assert_eq!(gate.verdict(1.1), Verdict::Floor);
        assert_eq!(gate.verdict(10.1), Verdict::Below);
    }

    #[test]
    fn names_are_unique_and_every_case_is_used() {
        let names: BTreeSet<&str> = LINES.iter().map(|line| line.name).collect();
        assert_eq!(names.len(), LINES.len());
        let cases: BTreeSet<Case> = LINES.iter().flat_map(Line::cases).collect();
        assert_eq!(cases, BTreeSet::from(Case::ALL));
    }
}
