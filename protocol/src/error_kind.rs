//! What the reader of an error must do about it: the one word on which every reaction is decided.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The exit code of a command that could not find out what it was asked: it may be asked again.
pub const UNANSWERED: u8 = 5;

/// What kind of failure an error is. Every process reacts to the kind alone, in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ErrorKind {
    /// The spec, its args or the program is wrong: the job fails and is not restarted.
    Invalid,
    /// A user's closure failed or panicked: restart from the snapshot.
    User,
    /// A store, broker or peer does not answer: restart from the snapshot.
    Unavailable,
    /// A newer run owns the job: stop and touch nothing more.
    Fenced,
    /// Persisted bytes are wrong: stop, name the object, delete nothing.
    Corrupt,
    /// An invariant broke: restart from the snapshot.
    Bug,
}

impl ErrorKind {
    /// Whether a restart from the last snapshot can help.
    pub fn restarts(self) -> bool {
        match self {
            Self::User | Self::Unavailable | Self::Bug => true,
            Self::Invalid | Self::Fenced | Self::Corrupt => false,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::User => "user code failed",
            Self::Unavailable => "unavailable",
            Self::Fenced => "fenced",
            Self::Corrupt => "corrupt",
            Self::Bug => "bug",
        })
    }
}

/// A failure as it is reported and shown: its kind, where it happened, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Failure {
    /// What the reader must do.
    pub kind: ErrorKind,
    /// What happened, naming the field, object or operator.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
