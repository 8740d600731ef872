//! What kind of failure an error is: the only thing that a reaction may depend on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the reader of an error must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The spec, the arguments or the program are wrong: nothing changes until somebody edits them.
    Invalid,
    /// The user's code failed or panicked: restart from the snapshot, with backoff.
    User,
    /// Something outside (bucket, broker, disk, peer) is out of reach: try again, then restart.
    Unavailable,
    /// A newer run owns the job: stop quietly and touch nothing.
    Fenced,
    /// Persisted bytes are wrong: stop, name the object, delete nothing.
    Corrupt,
    /// An invariant broke: abort, restart from the snapshot.
    Bug,
}

impl Kind {
    /// Whether starting again from the last snapshot may help.
    pub fn restarts(self) -> bool {
        matches!(self, Self::User | Self::Unavailable | Self::Bug)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
