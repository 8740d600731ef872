//! The workloads: what is asked of every contender, and how much of it.
//!
//! Read by the runner and by each contender's own `match`, which does not compile until it says
//! what it does with a new one. Invariant: the functions and sizes here are the only definition of
//! a workload.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::Rec;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// map, filter, map, drop: [`chain::first`], [`chain::keep`] (half), [`chain::second`].
    Chain,
    /// Every record goes to the task that owns its key.
    Shuffle,
    /// The same between two processes, of a thread each: half of the records go from one to the
    /// other.
    ShuffleGrpc,
    /// A running sum per key, put out for every record (key, its time, the sum so far).
    Sum,
    /// The same over 10 M keys.
    SumLarge,
    /// The same over 1 M keys, with a backend that may have more state than memory, and has not.
    SumRocks,
    /// The sum per key and tumbling window of [`TUMBLING_MS`] (key, window start, sum).
    Tumbling,
    /// The sum per key over [`HOP_SIZE_MS`], every [`HOP_SLIDE_MS`] (key, window start, sum).
    /// Windows that hold records are put out, also those that the stream's start and end cut.
    Hop,
    /// Nexmark query 5, hot items.
    Q5,
    /// Nexmark query 7, highest bid.
    Q7,
    /// Nexmark query 8, new users.
    Q8,
    /// A count per key, from one topic to another, in JSON, exactly once (the record with the count
    /// so far as its value).
    Kafka,
}

/// The size of a tumbling window, in milliseconds of event time.
pub const TUMBLING_MS: i64 = 1000;
/// The size of a hopping window, in milliseconds of event time.
pub const HOP_SIZE_MS: i64 = 10_000;
/// How often a hopping window starts, in milliseconds of event time.
pub const HOP_SLIDE_MS: i64 = 1000;

impl Workload {
    /// Every workload, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Chain,
        Self::Shuffle,
        Self::ShuffleGrpc,
        Self::Sum,
        Self::SumLarge,
        Self::SumRocks,
        Self::Tumbling,
        Self::Hop,
        Self::Q5,
        Self::Q7,
        Self::Q8,
        Self::Kafka,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chain => "chain",
            Self::Shuffle => "shuffle",
            Self::ShuffleGrpc => "shuffle-grpc",
            Self::Sum => "sum",
            Self::SumLarge => "sum-large",
            Self::SumRocks => "sum-rocksdb",
            Self::Tumbling => "tumbling",
            Self::Hop => "hop",
            Self::Q5 => "q5",
            Self::Q7 => "q7",
            Self::Q8 => "q8",
            Self::Kafka => "kafka",
        }
    }

    /// Its name in the table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Chain => "map, filter, map, drop",
            Self::Shuffle => "keyed shuffle",
            Self::ShuffleGrpc => "keyed shuffle, two processes over gRPC",
            Self::Sum => "keyed running sum, 100 k keys",
            Self::SumLarge => "keyed running sum, 10 M keys",
            Self::SumRocks => "keyed running sum, 1 M keys, RocksDB",
            Self::Tumbling => "tumbling 1 s sum per key",
            Self::Hop => "hop 10 s / 1 s sum per key",
            Self::Q5 => "Nexmark q5",
            Self::Q7 => "Nexmark q7",
            Self::Q8 => "Nexmark q8",
            Self::Kafka => "count per key, Kafka to Kafka",
        }
    }

    /// How many distinct keys its stream has.
    pub fn keys(self) -> u64 {
        match self {
            Self::SumLarge => 10_000_000,
            Self::SumRocks => 1_000_000,
            _ => 100_000,
        }
    }

    /// How many records a run takes: a second of a good loop on two cores, some seconds where
    /// snapshots are taken meanwhile.
    pub fn records(self) -> u64 {
        match self {
            Self::Chain => 300_000_000,
            Self::Shuffle | Self::Hop => 120_000_000,
            Self::Sum => 200_000_000,
            Self::SumLarge | Self::SumRocks => 80_000_000,
            Self::Tumbling => 150_000_000,
            Self::Q5 | Self::Q7 | Self::Q8 => 20_000_000,
            Self::ShuffleGrpc => 40_000_000,
            Self::Kafka => 1_000_000,
        }
    }

    /// Whether ours takes a snapshot every second meanwhile: wherever there is state.
    pub fn snapshots(self) -> bool {
        !matches!(self, Self::Chain | Self::Shuffle | Self::ShuffleGrpc)
    }

    /// The least ratio that is accepted, and the one that is aimed at.
    pub fn gate(self) -> Gate {
        let reference = |floor, target| Gate {
            floor: Bound { to: To::Reference, ratio: floor },
            target: Bound { to: To::Reference, ratio: target },
        };
        match self {
            Self::Chain => reference(0.4, 0.6),
            Self::Shuffle | Self::Sum | Self::SumLarge | Self::Tumbling | Self::Hop => {
                reference(0.6, 1.0)
            }
            Self::ShuffleGrpc => reference(0.15, 0.35),
            Self::SumRocks => reference(0.4, 0.8),
            Self::Kafka => reference(0.5, 0.9),
            Self::Q5 | Self::Q7 | Self::Q8 => Gate {
                floor: Bound { to: To::Renoir, ratio: 1.0 },
                target: Bound { to: To::Generator, ratio: 0.9 },
            },
        }
    }
}

/// Whom ours is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The hand loop, or timely where it beats that.
    Reference,
    /// Renoir.
    Renoir,
    /// The generator alone, which nobody can beat.
    Generator,
}

/// A ratio to somebody.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// Whom ours is measured against.
    pub to: To,
    /// The ratio of the rates.
    pub ratio: f64,
}

/// What is asked of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// The least that is accepted.
    pub floor: Bound,
    /// What is aimed at, beside the floor.
    pub target: Bound,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no workload has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "workload '{0}' is unknown: use chain, shuffle, shuffle-grpc, sum, sum-large, sum-rocksdb, \
     tumbling, hop, q5, q7, q8 or kafka"
)]
pub struct Unknown(String);

impl FromStr for Workload {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        Self::ALL.into_iter().find(|w| w.name() == name).ok_or_else(|| Unknown(name.to_owned()))
    }
}

/// The sizes of the Nexmark queries. Events come from the crate `nexmark`, part `i` of `p` with
/// offset `i` and step `p`, from a base time of 0 and one generator, watermarks as in the stream.
pub mod nexmark {
    /// Events per second of event time.
    pub const EVENTS_PER_SECOND: usize = 1_000_000;
    /// The window of all three queries, in milliseconds of event time.
    pub const WINDOW_MS: i64 = 10_000;
    /// How often a window of query 5 starts, in milliseconds of event time.
    pub const SLIDE_MS: i64 = 2000;
}

/// The functions of [`Workload::Chain`].
pub mod chain {
    use super::Rec;

    /// The first map.
    #[inline]
    pub fn first(record: Rec) -> Rec {
        Rec { value: record.value * 3 + 1, ..record }
    }

    /// The filter: keeps half, and no branch predictor can tell which.
    #[inline]
    pub fn keep(record: &Rec) -> bool {
        record.value & 2 == 0
    }

    /// The second map.
    #[inline]
    pub fn second(record: Rec) -> Rec {
        Rec { key: record.key ^ record.value as u64, ..record }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::KEY_CLASSES;

    #[test]
    fn names_parse_back() {
        for workload in Workload::ALL {
            assert_eq!(workload.name().parse(), Ok(workload));
            assert!(workload.keys().is_multiple_of(KEY_CLASSES));
        }
        assert_eq!("sort".parse::<Workload>(), Err(Unknown("sort".into())));
    }

    #[test]
    fn the_filter_keeps_half() {
        let kept = crate::Part::new(0, 1, 100_000, 3200)
            .filter(|r| chain::keep(&chain::first(*r)))
            .count();
        assert!((49_000..51_000).contains(&kept), "{kept}");
    }
}
