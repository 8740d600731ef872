//! [`Malformed`]: what a source has read and cannot make a record of, and what becomes of it.
//!
//! Readers hand it to [`Emit::malformed`](super::Emit::malformed); the source task fails, counts
//! it, or sends it to the side output. Invariant: it passes exactly when the position of its split
//! does.

use std::borrow::Cow;
use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

/// How much of a malformed record a message shows.
const SHOWN_BYTES: usize = 80;

/// What becomes of a record that is malformed: one that does not decode, or whose event time cannot
/// be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMalformed {
    /// The job fails, without a restart: the same bytes would fail again.
    #[default]
    Fail,
    /// It is left out and counted as failed; the first of each split is logged.
    Skip,
}

/// Where in its split a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Place {
    /// The line of a text, from 1.
    Line(u64),
    /// The offset in a partition of a log.
    Offset(u64),
    /// The number of the record, from 0.
    Record(u64),
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Record(record) => write!(f, "record {record}"),
        }
    }
}

/// A record that does not decode, or whose event time cannot be read: what
/// [`SourceStream::with_malformed`](crate::SourceStream::with_malformed) puts out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Malformed {
    /// The split that it was read from: the path of a file, as the source knows it.
    pub split: String,
    /// Where it stands there; none where the source does not tell.
    pub place: Option<Place>,
    /// The record as it was read, without its line end; as JSON, where it did decode and has no
    /// event time. In JSON and CSV this is text where it is UTF-8, else a list of numbers.
    #[serde(with = "text_or_bytes")]
    pub bytes: Vec<u8>,
    /// What is wrong with it.
    pub error: String,
}

impl Malformed {
    /// A malformed record; [`Emit::malformed`](super::Emit::malformed) fills in the split.
    pub fn at(place: Place, bytes: impl Into<Vec<u8>>, error: impl Display) -> Self {
        let (split, bytes) = (String::new(), bytes.into());
        Self { split, place: Some(place), bytes, error: error.to_string() }
    }

    /// The record as text; what is not UTF-8 in it shows as U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Where it stands and what is wrong with it, in a line. `split` is how messages call the
    /// split.
    #[cold]
    pub(crate) fn message(&self, split: &dyn Display) -> String {
        let bytes = &self.bytes[..self.bytes.len().min(SHOWN_BYTES)];
        let dots = if bytes.len() < self.bytes.len() { ".." } else { "" };
        let shown = String::from_utf8_lossy(bytes);
        let shown = shown.trim_end().replace(char::is_control, " ");
        let place = self.place.map_or_else(String::new, |place| format!(", {place}"));
        format!("{split}{place}: {}: {shown}{dots}", self.error)
    }
}

impl Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(&self.split))
    }
}

/// Bytes that people read as text where they are text.
mod text_or_bytes {
    use std::fmt;

    use serde::de::{Deserializer, SeqAccess, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) if to.is_human_readable() => to.serialize_str(text),
            _ => to.serialize_bytes(bytes),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        if from.is_human_readable() {
            from.deserialize_any(Either)
        } else {
            from.deserialize_byte_buf(Either)
        }
    }

    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("text or bytes")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
            Ok(text.into())
        }

        fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.into())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = seq.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::format::{Csv, Encode};
    use crate::state::schema_of;

    #[test]
    fn it_is_kept_to_the_byte_and_text_where_people_read_it() {
        let mut malformed = Malformed::at(Place::Line(3), "{\n", "it ends too soon");
        malformed.split = "a.json".to_owned();
        let json = serde_json::to_string(&malformed).unwrap();
        let expected =
            r#"{"split":"a.json","place":{"line":3},"bytes":"{\n","error":"it ends too soon"}"#;
        assert_eq!(json, expected);
        let mut csv = Vec::new();
        Csv::new().encode(std::slice::from_ref(&malformed), true, &mut csv).unwrap();
        let expected = "split,place,bytes,error\na.json,3,\"{\n\",it ends too soon\n";
        assert_eq!(String::from_utf8(csv).unwrap(), expected);
        assert_eq!(malformed.to_string(), "a.json, line 3: it ends too soon: {");
        for bytes in [&b"{"[..], b"\xff\x00"] {
            malformed.bytes = bytes.to_vec();
            let json = serde_json::to_string(&malformed).unwrap();
            assert_eq!(serde_json::from_str::<Malformed>(&json).unwrap(), malformed);
            let bytes = postcard::to_stdvec(&malformed).unwrap();
            assert_eq!(postcard::from_bytes::<Malformed>(&bytes).unwrap(), malformed);
        }
        assert!(!schema_of::<Malformed>().starts_with("opaque"), "a state may hold it");
    }

    #[test]
    fn a_message_stays_a_line() {
        let long = Malformed::at(Place::Offset(17), [b'\n'; 100], "no");
        let shown = long.message(&"readings/3");
        assert_eq!(shown, "readings/3, offset 17: no: ..");
        let long = Malformed::at(Place::Record(0), [b'a'; 100], "no");
        assert_eq!(long.message(&"in"), format!("in, record 0: no: {}..", "a".repeat(80)));
    }
}
