//! [`Lines`]: every line is a record, a string.

use super::{Block, Decoded, Encode, Format, Framing, each_line};
use crate::error::Result;

/// Every line is a record: UTF-8 text without its line end. Empty lines are records too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl Format for Lines {
    type Record = String;

    fn framing(&self) -> Framing {
        Framing::Line
    }

    fn decode(&mut self, block: Block<'_>, into: &mut Decoded<String>) {
        each_line(block, |line, end, lines| match std::str::from_utf8(line) {
            Ok(text) => into.record(text.to_owned(), end, lines),
            Err(error) => into.malformed(block.line + lines - 1, line, error),
        });
    }
}

impl Encode for Lines {
    type Record = String;

    fn extension(&self) -> &'static str {
        "txt"
    }

    fn encode(&self, records: &[String], _: bool, into: &mut Vec<u8>) -> Result<()> {
        for record in records {
            into.extend_from_slice(record.as_bytes());
            into.push(b'\n');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{End, decode_all};
    use super::*;

    #[test]
    fn lines_end_at_newlines_with_or_without_a_carriage_return() {
        let decoded = decode_all(Lines, "a\r\n\nb");
        assert_eq!(decoded.records, ["a", "", "b"]);
        let end = |bytes, lines| End { bytes, lines };
        assert_eq!(decoded.ends, [end(3, 1), end(4, 2), end(5, 3)]);
    }

    #[test]
    fn what_is_no_text_is_malformed() {
        let mut decoded = Decoded::new();
        Lines.decode(Block { bytes: b"a\n\xff\nb\n", line: 7 }, &mut decoded);
        assert_eq!((decoded.records.len(), decoded.malformed.len()), (2, 1));
        let malformed = &decoded.malformed[0];
        assert_eq!((malformed.line, &*malformed.bytes), (8, &b"\xff"[..]));
    }
}
