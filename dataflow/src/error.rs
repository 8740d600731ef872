//! The one error type that programs, operators, sources and sinks return.
//!
//! Like `anyhow::Error` it takes any error by `?`; unlike it, it says what kind of failure it is,
//! because every reaction (restart, stop, give up) is decided on the kind alone.

use std::fmt;

pub use millstream_protocol::error_kind::ErrorKind as Kind;

/// What the fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failure, its kind, and the operator it happened in.
///
/// The kind alone decides what happens when an operator, a source or a sink of a running job
/// returns it:
///
/// * [`Kind::User`], [`Kind::Unavailable`], [`Kind::Bug`]: the job restarts from its last snapshot,
///   after a pause that grows, as often as it takes.
/// * [`Kind::Invalid`], [`Kind::Corrupt`], [`Kind::Fenced`]: the job ends.
///
/// While a program is built, each of them ends the run.
///
/// Any other error that is returned by `?` becomes one of the kind [`Kind::User`]; [`Context`] sets
/// another.
///
/// ```
/// use millstream_dataflow::{Context as _, Error, Kind, Result};
///
/// fn parse(text: &str) -> Result<u32> {
///     let number: u32 = text.parse()?;
///     if number == 0 { Err(Error::invalid("0 is no number of seats")) } else { Ok(number) }
/// }
/// assert_eq!(parse("many").unwrap_err().kind(), Kind::User);
/// assert_eq!(parse("0").unwrap_err().kind(), Kind::Invalid);
///
/// let read = std::fs::read_to_string("none").or_kind(Kind::Unavailable, || "cannot read".into());
/// assert_eq!(read.unwrap_err().kind(), Kind::Unavailable);
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    operator: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// An error of this kind.
    #[cold]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), operator: None, source: None }))
    }

    /// An error of the user's code or data: the job restarts, since a new version of the program
    /// or other data may mend it. Where the same record would fail again for ever, leave it out or
    /// put it aside ([`Stream::try_map_or_side`](crate::Stream::try_map_or_side)), or return
    /// [`Error::invalid`].
    #[cold]
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Kind::User, message)
    }

    /// A mistake in the job or program that a restart cannot mend: the job ends, exit code 2.
    #[cold]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// Persisted bytes are wrong: the job ends and deletes nothing, exit code 1.
    #[cold]
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Kind::Corrupt, message)
    }

    /// Something outside is out of reach for now: the job restarts.
    #[cold]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// An invariant of Millstream broke: the job restarts.
    #[cold]
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    /// What failed.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The id of the operator that failed, where one did.
    pub fn operator(&self) -> Option<&str> {
        self.0.operator.as_deref()
    }

    /// The same error, of another kind.
    #[must_use]
    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.0.kind = kind;
        self
    }

    /// The same error, said to have happened in this operator unless one is named already.
    #[must_use]
    pub fn in_operator(mut self, id: &str) -> Self {
        self.0.operator.get_or_insert_with(|| id.to_owned());
        self
    }

    /// The same error, with what was being attempted in front.
    #[must_use]
    pub fn context(mut self, attempt: impl fmt::Display) -> Self {
        self.0.message = format!("{attempt}: {}", self.0.message);
        self
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    #[cold]
    fn from(error: E) -> Self {
        let message = error.to_string();
        let source = Some(Box::new(error) as Source);
        Self(Box::new(Inner { kind: Kind::User, message, operator: None, source }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut source = self.0.source.as_ref().and_then(|source| source.source());
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(operator) = &self.0.operator {
            write!(f, "operator {operator}: ")?;
        }
        write!(f, "{self} ({:?})", self.0.kind)
    }
}

/// Says what was being attempted, and of what kind a failure is, on results of any error type.
pub trait Context<T> {
    /// Puts the attempt in front of the message.
    fn context(self, attempt: impl FnOnce() -> String) -> Result<T>;

    /// Sets the kind, and puts the attempt in front of the message.
    fn or_kind(self, kind: Kind, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().context(attempt()))
    }

    fn or_kind(self, kind: Kind, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().with_kind(kind).context(attempt()))
    }
}
