//! [`Json`]: a JSON value per line (NDJSON, JSON Lines).

use std::marker::PhantomData;

use serde::Serialize;

use super::{Block, Decoded, Encode, Format, Framing, each_line};
use crate::data::Data;
use crate::error::{Error, Result};

/// A JSON value per line. Empty lines are passed over.
#[derive(Debug)]
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// Values of this type.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: Data> Format for Json<T> {
    type Record = T;

    fn framing(&self) -> Framing {
        Framing::Line
    }

    fn decode(&mut self, block: Block<'_>, into: &mut Decoded<T>) {
        each_line(block, |line, end, lines| match serde_json::from_slice(line) {
            Ok(record) => into.record(record, end, lines),
            Err(_) if line.trim_ascii().is_empty() => {}
            Err(error) => into.malformed(block.line + lines - 1, line, reason(&error)),
        });
    }
}

/// The reason and the column; the line within one line says nothing.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) if error.column() > 0 => {
            format!("{reason} at column {}", error.column())
        }
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

impl<T: Serialize + Send + 'static> Encode for Json<T> {
    type Record = T;

    fn extension(&self) -> &'static str {
        "ndjson"
    }

    fn encode(&self, records: &[T], _: bool, into: &mut Vec<u8>) -> Result<()> {
        for record in records {
            serde_json::to_writer(&mut *into, record)
                .map_err(|error| Error::user(format!("a record cannot be JSON: {error}")))?;
            into.push(b'\n');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{End, Undecoded, decode_all};
    use super::*;

    #[test]
    fn every_line_is_a_value_and_empty_ones_are_none() {
        let decoded = decode_all(Json::<u32>::new(), "1\n\n 2 \r\n3");
        assert_eq!(decoded.records, [1, 2, 3]);
        assert_eq!(decoded.ends[1], End { bytes: 8, lines: 3 });
        assert_eq!(decoded.malformed, []);
    }

    #[test]
    fn a_malformed_line_is_kept_with_its_reason_and_place() {
        let decoded = decode_all(Json::<u32>::new(), "1\n2 \"a\"\r\n3\n");
        assert_eq!(decoded.records, [1, 3]);
        let reason = "trailing characters at column 3".to_owned();
        let bytes = b"2 \"a\"".to_vec();
        assert_eq!(decoded.malformed, [Undecoded { before: 1, line: 2, bytes, reason }]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let records = vec![(1u32, "a\nb".to_owned()), (2, "\u{e4}".to_owned())];
        let mut bytes = Vec::new();
        Json::new().encode(&records, true, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let read = decode_all(Json::<(u32, String)>::new(), &text);
        assert_eq!(read.records, records);
    }
}
