//! Names and numbers, each a type of its own, so that an epoch can never be passed for a run.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The number that follows this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// One incarnation of all tasks of a job. A higher run fences every lower one.
    Run(u64)
);
number!(
    /// One coordinator's reign within a run.
    Term(u64)
);
number!(
    /// Number of a snapshot, rising for the life of the job. Epoch 0 is "before the first
    /// snapshot".
    Epoch(u64)
);
number!(
    /// Place of an entry in a job's log; the first entry has number 1.
    Seq(u64)
);
number!(
    /// A worker's ordinal among the workers of its job, from 0.
    WorkerIndex(u32)
);
number!(
    /// A parallel instance of an operator, from 0.
    TaskIndex(u32)
);
number!(
    /// The unit in which keyed state moves between tasks.
    KeyGroup(u16)
);

/// The name of an operator. It names the operator's state for the life of the job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorId(pub String);

impl OperatorId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for OperatorId {
    fn from(id: &str) -> Self {
        Self(id.to_owned())
    }
}

impl fmt::Display for OperatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
