//! Wall-clock time and durations as they are written in specs and logs.
//!
//! Received from: a driver's clock and a job's YAML. Handed to: the coordinator, which computes
//! with them and never asks for the time itself.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point of wall-clock time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time `duration` later; the last representable one where it would lie behind that.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// How long ago `earlier` was; zero where it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

/// A duration as Kubernetes writes it (GEP-2257): up to four of `<digits>h`, `m`, `s`, `ms`, as in
/// `1h30m` or `420ms`. Its resolution is one millisecond, its largest value `99999h59m59s999ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GepDuration(pub Duration);

/// Why a text is not a GEP-2257 duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a duration: write one to four of <1 to 5 digits>(h|m|s|ms), \
     such as 10s or 1h30m"
)]
pub struct DurationError {
    text: String,
}

/// Milliseconds of each unit, largest first: the order of printing.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// GEP-2257 allows so many digits before a unit, so many units, and no value above this one.
const DIGITS_MAX: usize = 5;
const PARTS_MAX: usize = 4;
const MILLIS_MAX: u64 = 99_999 * 3_600_000 + 3_599_999;

impl GepDuration {
    /// A duration of whole milliseconds, cut to the largest that can be written.
    pub fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis.min(MILLIS_MAX)))
    }

    /// A duration of whole seconds, cut to the largest that can be written.
    pub fn from_secs(secs: u64) -> Self {
        Self::from_millis(secs.saturating_mul(1000))
    }
}

impl FromStr for GepDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let error = || DurationError { text: text.to_owned() };
        let (mut rest, mut millis, mut parts) = (text, 0, 0);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > DIGITS_MAX {
                return Err(error());
            }
            let (number, behind) = rest.split_at(digits);
            let letters = behind.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, behind) = behind.split_at(letters);
            let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
            millis += number.parse::<u64>().map_err(|_| error())? * size;
            parts += 1;
            rest = behind;
        }
        if parts == 0 || parts > PARTS_MAX || millis > MILLIS_MAX {
            return Err(error());
        }
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for GepDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = (self.0.as_millis() as u64).min(MILLIS_MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in UNITS {
            if rest >= size {
                write!(f, "{}{unit}", rest / size)?;
                rest %= size;
            }
        }
        Ok(())
    }
}

impl Serialize for GepDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GepDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for GepDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string"})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_read_as_kubernetes_writes_them() {
        let millis = |text: &str| text.parse::<GepDuration>().unwrap().0.as_millis();
        assert_eq!(millis("420ms"), 420);
        assert_eq!(millis("1h30m"), 5_400_000);
        assert_eq!(millis("10s30m1h"), 5_410_000, "the order of the units is free");
        assert_eq!(millis("0s"), 0);
        for bad in ["", "10", "s", "1.5s", "-1s", "1d", "123456s", "1s1s1s1s1s", "1 s", "99999h60m"]
        {
            assert!(bad.parse::<GepDuration>().is_err(), "{bad:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(millis in 0..=MILLIS_MAX) {
            let duration = GepDuration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse::<GepDuration>(), Ok(duration));
        }
    }

    #[test]
    fn time_does_not_overflow() {
        assert_eq!(Timestamp(i64::MAX).after(Duration::MAX), Timestamp(i64::MAX));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
    }
}
