//! Event time and processing time: [`Timestamp`], and what a source says of its watermarks.

mod form;
mod watermark;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

pub use watermark::Watermarks;
pub(crate) use watermark::{BadTime, EventTime, SplitClock, TryTime};

/// The beginning of time, as a civil date.
const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
///
/// ```
/// use millstream_dataflow::Timestamp;
/// let t: Timestamp = "2010-01-01T00:00:00Z".parse().unwrap();
/// assert_eq!(t.millis(), 1_262_304_000_000);
/// ```
///
/// In serde it is that number. Where a format is read by people (JSON, CSV), it is also read from
/// text as RFC 3339 has it, with `Z` or an offset:
///
/// ```
/// use millstream_dataflow::Timestamp;
/// let times = r#"["2010-01-01T01:00:00+01:00", 1262304000000]"#;
/// let [text, number]: [Timestamp; 2] = serde_json::from_str(times).unwrap();
/// assert_eq!(text, number);
/// assert_eq!(serde_json::to_string(&text).unwrap(), "1262304000000");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every other time. Records without an event time carry it. No record may name it as
    /// its event time: one that does is malformed.
    pub const MIN: Self = Self(i64::MIN);
    /// After every other time: the watermark with which a bounded source ends. No record may name
    /// it as its event time: one that does is malformed.
    pub const MAX: Self = Self(i64::MAX);

    /// The time so many milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// This time moved by so many milliseconds, kept within MIN and MAX.
    #[must_use]
    pub const fn saturating_add(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(millis(duration))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.saturating_add(-millis(duration))
    }
}

impl From<jiff::civil::Date> for Timestamp {
    /// Midnight of this day, UTC.
    fn from(date: jiff::civil::Date) -> Self {
        jiff::civil::DateTime::from(date).into()
    }
}

impl From<jiff::civil::DateTime> for Timestamp {
    /// This date and time, read as UTC.
    fn from(time: jiff::civil::DateTime) -> Self {
        // Not by way of a jiff timestamp, which has no place for the first and the last hours of
        // the civil calendar.
        let since = time.duration_since(EPOCH);
        Self(since.as_secs() * 1000 + i64::from(since.subsec_millis()))
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(time: jiff::Timestamp) -> Self {
        Self(time.as_millisecond())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (*self, jiff::Timestamp::from_millisecond(self.0)) {
            (Self::MIN, _) => f.write_str("-inf"),
            (Self::MAX, _) => f.write_str("+inf"),
            (_, Ok(time)) => time.fmt(f),
            (_, Err(_)) => write!(f, "{} ms", self.0),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse::<jiff::Timestamp>()?.as_millisecond()))
    }
}

/// A duration as whole milliseconds; at most `i64::MAX` of them.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::civil::{Date, DateTime};

    use super::*;

    #[test]
    fn every_civil_date_has_a_time_of_its_own() {
        let last = jiff::civil::datetime(1969, 12, 31, 23, 59, 59, 999_000_000);
        assert_eq!(Timestamp::from(last), Timestamp(-1));
        assert_eq!(Timestamp::from(jiff::civil::date(2010, 1, 1)), Timestamp(1_262_304_000_000));
        let day = 86_400_000;
        assert_eq!(Timestamp::from(Date::MAX), Timestamp(253_402_214_400_000));
        assert_eq!(Timestamp::from(DateTime::MAX), Timestamp(253_402_214_400_000 + day - 1));
        assert_eq!(Timestamp::from(Date::MIN), Timestamp(-377_705_116_800_000));
    }
}
