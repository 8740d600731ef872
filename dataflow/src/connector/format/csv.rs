//! [`Csv`]: comma-separated values as RFC 4180 has them, with a header line or without.

use std::marker::PhantomData;

use csv::{ByteRecord, ReaderBuilder, WriterBuilder};
use serde::Serialize;

use super::{Block, Decoded, Encode, Format, Framing, newlines};
use crate::data::Data;
use crate::error::{Error, Result};

/// Comma-separated values. Fields go by the names in the header line to a struct, by their place to
/// a tuple, an array or a list. Quoted fields may hold delimiters, newlines, and quotes (doubled).
#[derive(Debug)]
pub struct Csv<T> {
    pub(crate) delimiter: u8,
    pub(crate) header: bool,
    columns: Option<ByteRecord>,
    marker: PhantomData<fn() -> T>,
}

impl<T> Csv<T> {
    /// Fields between commas, behind a header line.
    pub fn new() -> Self {
        Self { delimiter: b',', header: true, columns: None, marker: PhantomData }
    }

    fn reader<'a>(&self, bytes: &'a [u8]) -> csv::Reader<&'a [u8]> {
        let mut builder = ReaderBuilder::new();
        // The number of columns is compared below, with the header of the file and not of the
        // block.
        builder.delimiter(self.delimiter).has_headers(false).flexible(true);
        builder.from_reader(bytes)
    }

    fn wrong_columns(&self, record: &ByteRecord) -> Option<String> {
        let expected = self.columns.as_ref()?.len();
        let columns = record.len();
        (columns != expected)
            .then(|| format!("it has {columns} columns, the header names {expected}"))
    }
}

impl<T> Default for Csv<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Self {
        Self { columns: self.columns.clone(), ..*self }
    }
}

impl<T: Data> Format for Csv<T> {
    type Record = T;

    fn framing(&self) -> Framing {
        Framing::Quoted { delimiter: self.delimiter }
    }

    fn has_header(&self) -> bool {
        self.header
    }

    fn header(&mut self, bytes: &[u8]) -> Result<()> {
        let mut columns = ByteRecord::new();
        let mut reader = self.reader(bytes);
        reader.read_byte_record(&mut columns)?;
        // Lines are told apart by their newlines, so that the header is the whole file here.
        let behind = &bytes[reader.position().byte() as usize..];
        if behind.iter().any(|byte| !b"\r\n".contains(byte)) {
            return Err(Error::invalid(
                "the header line ends with a carriage return alone, and so may the others: write \
                 newlines instead (as tr '\\r' '\\n' does)",
            ));
        }
        self.columns = Some(columns);
        Ok(())
    }

    fn decode(&mut self, block: Block<'_>, into: &mut Decoded<T>) {
        let mut reader = self.reader(block.bytes);
        let mut record = ByteRecord::new();
        let (mut start, mut line) = (0, block.line);
        loop {
            match reader.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return,
                // Bytes in memory and any number of columns: there is nothing left to fail.
                Err(error) => return into.malformed(line, &block.bytes[start..], error),
            }
            let place = reader.position();
            let (mut end, mut next) = (place.byte() as usize, block.line + place.line() - 1);
            // The reader stops between the two bytes of a line end.
            if block.bytes[..end].ends_with(b"\r") && block.bytes[end..].starts_with(b"\n") {
                (end, next) = (end + 1, next + 1);
            }
            let decoded = match self.wrong_columns(&record) {
                Some(reason) => Err(reason),
                None => record.deserialize(self.columns.as_ref()).map_err(|error| reason(&error)),
            };
            match decoded {
                Ok(value) => {
                    let is_ended = block.bytes[..end].ends_with(b"\n");
                    into.record(value, end, next - block.line + u64::from(!is_ended));
                }
                Err(reason) => {
                    let bytes = &block.bytes[start..end];
                    let first = bytes.iter().position(|byte| !b"\r\n".contains(byte));
                    let (blank, bytes) = bytes.split_at(first.unwrap_or(0));
                    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
                    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
                    into.malformed(line + newlines(blank), bytes, reason);
                }
            }
            (start, line) = (end, next);
        }
    }
}

/// The reason and the field; the place is told by whoever knows the file.
fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => match err.field() {
            Some(field) => format!("column {}: {}", field + 1, err.kind()),
            None => err.kind().to_string(),
        },
        _ => error.to_string(),
    }
}

impl<T: Serialize + Send + 'static> Encode for Csv<T> {
    type Record = T;

    fn extension(&self) -> &'static str {
        "csv"
    }

    fn encode(&self, records: &[T], first: bool, into: &mut Vec<u8>) -> Result<()> {
        let mut builder = WriterBuilder::new();
        builder.delimiter(self.delimiter).has_headers(self.header && first).flexible(true);
        let mut writer = builder.from_writer(into);
        for record in records {
            writer.serialize(record).map_err(|error| {
                Error::invalid(format!(
                    "a record cannot be a line of CSV: {error} (a record that can is a struct of \
                     numbers, texts and the like, or a tuple of them: map to one before the sink)"
                ))
            })?;
        }
        writer.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::decode_all;
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Reading {
        sensor: String,
        celsius: f64,
        note: Option<String>,
    }

    fn with_header<T: Data>(header: &str) -> Csv<T> {
        let mut csv = Csv::new();
        csv.header(header.as_bytes()).unwrap();
        csv
    }

    #[test]
    fn a_file_without_newlines_is_no_header() {
        let mut csv = Csv::<(String, u32)>::new();
        for text in ["a,b\rc,1\rd,2\r", "\ra,b\rc,1"] {
            let error = csv.header(text.as_bytes()).unwrap_err().to_string();
            assert!(
                error.starts_with("the header line ends with a carriage return alone"),
                "{error}"
            );
        }
        for text in ["a,b", "a,b\r", "a,b\r\n", "a,\"b\rc\"\r\n", "a,b\n"] {
            csv.header(text.as_bytes()).unwrap();
        }
    }

    #[test]
    fn fields_find_their_names_and_empty_ones_are_none() {
        let csv = with_header::<Reading>("celsius,note,sensor\n");
        let text = "1.5,\"a, \"\"b\"\"\nc\",x\r\n-2,,y\n";
        let decoded = decode_all(csv, text);
        assert!(decoded.malformed.is_empty(), "{:?}", decoded.malformed);
        assert_eq!(decoded.records[0].note.as_deref(), Some("a, \"b\"\nc"));
        assert_eq!(decoded.records[1].note, None);
        assert_eq!((decoded.records[1].celsius, &*decoded.records[1].sensor), (-2.0, "y"));
        let ends = decoded.ends;
        assert_eq!(ends.last().map(|end| (end.bytes as usize, end.lines)), Some((text.len(), 3)));
    }

    #[test]
    fn rows_are_read_as_tuples_and_lists_too() {
        let csv = Csv::<(u32, f64)> { header: false, delimiter: b';', ..Csv::new() };
        let decoded = decode_all(csv, "1;2.5\n3;4\n");
        assert_eq!(decoded.records, [(1, 2.5), (3, 4.0)]);
        let decoded = decode_all(with_header::<Vec<u8>>("a,b,c"), "1,2,3\n");
        assert_eq!(decoded.records, [vec![1, 2, 3]]);
    }

    #[test]
    fn a_malformed_row_is_kept_with_its_line_column_and_reason() {
        let text = "x,\"1\n\"\n\nx,2,3\ny,4\nz,5";
        for end in ["\n", "\r\n"] {
            let text = text.replace('\n', end);
            let decoded = decode_all(with_header::<(String, f64)>("a,b"), &text);
            assert_eq!(decoded.records, [("y".to_owned(), 4.0), ("z".to_owned(), 5.0)]);
            let ends: Vec<_> = decoded.ends.iter().map(|end| end.lines).collect();
            assert_eq!(ends, [5, 6]);
            let [first, second] = &decoded.malformed[..] else { panic!("{:?}", decoded.malformed) };
            assert_eq!((first.line, first.before), (1, 0));
            assert_eq!(first.bytes, format!("x,\"1{end}\"").into_bytes());
            assert!(first.reason.starts_with("column 2: invalid float"), "{}", first.reason);
            assert_eq!((second.line, second.before), (4, 0));
            assert_eq!(second.bytes, b"x,2,3");
            assert_eq!(second.reason, "it has 3 columns, the header names 2");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_the_header_stands_once() {
        let reading = |sensor: &str, note: Option<&str>| Reading {
            sensor: sensor.to_owned(),
            celsius: 1.25,
            note: note.map(str::to_owned),
        };
        let records = [reading("a,b", None), reading("c\n\"d\"", Some("e"))];
        let mut bytes = Vec::new();
        Csv::new().encode(&records[..1], true, &mut bytes).unwrap();
        Csv::new().encode(&records[1..], false, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (header, rows) = text.split_once('\n').unwrap();
        assert_eq!(header, "sensor,celsius,note");
        let read = decode_all(with_header::<Reading>(header), rows);
        assert_eq!(read.records, records);
    }
}
