//! How a [`Timestamp`] is written and read: a number of milliseconds, in text formats also a time
//! as RFC 3339 has it.
//!
//! Used by serde, for records and for state. Invariant: what is written, and what a binary format
//! reads, is the number alone, so that snapshots and the schemas of states do not change.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Timestamp;

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(NumberOrText)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

struct NumberOrText;

impl Visitor<'_> for NumberOrText {
    type Value = Timestamp;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a time: milliseconds since 1970-01-01T00:00:00Z as a whole number, or text such as \
             2010-01-01T12:00:00Z or 2010-01-01T12:00:00+02:00",
        )
    }

    fn visit_i64<E: Error>(self, millis: i64) -> Result<Timestamp, E> {
        Ok(Timestamp(millis))
    }

    fn visit_u64<E: Error>(self, millis: u64) -> Result<Timestamp, E> {
        let wrong = |_| E::invalid_value(Unexpected::Unsigned(millis), &self);
        i64::try_from(millis).map(Timestamp).map_err(wrong)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Timestamp, E> {
        let time = text.parse::<Timestamp>().ok();
        // The keys of a JSON object are text, also where they are numbers.
        let time = time.or_else(|| text.parse().ok().map(Timestamp));
        time.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::state::schema_of;

    const NEW_YEAR: Timestamp = Timestamp(1_262_304_000_000);

    fn read(text: &str) -> Result<Timestamp, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_and_texts_are_read_and_numbers_written() {
        for text in [
            "1262304000000",
            "\"2010-01-01T00:00:00Z\"",
            "\"2009-12-31T19:00:00-05:00\"",
            "\"2010-01-01T00:00:00.000999Z\"",
        ] {
            assert_eq!(read(text), Ok(NEW_YEAR), "{text}");
        }
        assert_eq!(read("-1"), Ok(Timestamp(-1)));
        for time in [NEW_YEAR, Timestamp::MIN, Timestamp::MAX] {
            let text = serde_json::to_string(&time).unwrap();
            assert_eq!((&*text, read(&text)), (&*time.0.to_string(), Ok(time)));
        }
        let keyed = BTreeMap::from([(NEW_YEAR, "x".to_owned())]);
        let text = serde_json::to_string(&keyed).unwrap();
        assert_eq!(serde_json::from_str::<BTreeMap<_, _>>(&text).unwrap(), keyed);
    }

    #[test]
    fn what_is_no_time_is_told_what_one_looks_like() {
        for bad in ["\"2010-01-01\"", "\"2010-01-01T00:00:00\"", "1.5", "true", "null", "1e30"] {
            let error = read(bad).unwrap_err();
            let expected = "expected a time: milliseconds since 1970-01-01T00:00:00Z as a whole \
                            number, or text such as 2010-01-01T12:00:00Z or";
            assert!(error.contains(expected), "{bad}: {error}");
        }
        assert!(read("9223372036854775808").unwrap_err().contains("9223372036854775808"));
    }

    #[test]
    fn columns_of_either_form_are_read() {
        let mut rows = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader("2010-01-01T00:00:00Z,1\n1262304000000,2\n".as_bytes());
        let read: Vec<(Timestamp, u8)> = rows.deserialize().map(Result::unwrap).collect();
        assert_eq!(read, [(NEW_YEAR, 1), (NEW_YEAR, 2)]);
        let mut rows = csv::Reader::from_reader("time\nnoon\n".as_bytes());
        let error = rows.deserialize::<(Timestamp,)>().next().unwrap().unwrap_err().to_string();
        assert!(error.contains("\"noon\", expected a time: "), "{error}");
    }

    #[test]
    fn what_lies_in_snapshots_is_the_number_as_it_always_was() {
        for time in [NEW_YEAR, Timestamp::MIN, Timestamp(-1)] {
            let bytes = postcard::to_stdvec(&time).unwrap();
            assert_eq!(bytes, postcard::to_stdvec(&time.0).unwrap());
            assert_eq!(postcard::from_bytes::<Timestamp>(&bytes).unwrap(), time);
        }
        assert_eq!(schema_of::<Timestamp>(), "\"I64\"");
        assert_eq!(schema_of::<(String, Timestamp)>(), schema_of::<(String, i64)>());
    }
}
