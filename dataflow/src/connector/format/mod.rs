//! Formats: how records lie in bytes that come one behind the other.
//!
//! A [`Format`] reads them: it receives blocks of complete records (cut by [`Cutter`]) from the
//! readers of [`super::files`] and [`super::stdin`], and hands back [`Decoded`] records. An
//! [`Encode`] writes them, for the sinks. Invariant: whatever a format makes of its bytes, it
//! accounts for every record in order.

mod csv;
mod cut;
mod json;
mod lines;

use std::fmt::Display;

pub use csv::Csv;
pub(crate) use cut::{Cut, CutError, Cutter, Ends, first_record};
pub use json::Json;
pub use lines::Lines;

use crate::data::Data;
use crate::error::Result;
use crate::source::{Malformed, Place};

/// Where a record ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// At a newline.
    Line,
    /// At a newline that is not within quotes. A quote opens only where a field begins.
    Quoted {
        /// What stands between fields.
        delimiter: u8,
    },
}

/// Complete records, as they lie in their file.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// The bytes; the last record may lack its newline.
    pub bytes: &'a [u8],
    /// The line that they begin with, from 1: for messages.
    pub line: u64,
}

/// Reads records out of blocks. Cloned for each file.
pub trait Format: Clone + Send + 'static {
    /// The records.
    type Record: Data;

    /// Where records end.
    fn framing(&self) -> Framing;

    /// Whether the first record of a file names the columns.
    fn has_header(&self) -> bool {
        false
    }

    /// Takes the first record of a file, where that is a header.
    fn header(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Decodes every record of the block, in order.
    fn decode(&mut self, block: Block<'_>, into: &mut Decoded<Self::Record>);
}

/// Writes records, one behind the other. Cloned for each task.
pub trait Encode: Clone + Send + 'static {
    /// The records.
    type Record: Send + 'static;

    /// The ending of the names of files in this format, without a dot.
    fn extension(&self) -> &'static str;

    /// Appends the records to `into`; `first` says that nothing is written before them.
    fn encode(&self, records: &[Self::Record], first: bool, into: &mut Vec<u8>) -> Result<()>;
}

/// Where a record ends within its block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) bytes: u32,
    pub(crate) lines: u32,
}

/// A record that does not decode.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undecoded {
    /// Records of its block that stand before it.
    pub(crate) before: usize,
    /// The line that it begins in, from 1.
    pub(crate) line: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) reason: String,
}

impl From<Undecoded> for Malformed {
    fn from(record: Undecoded) -> Self {
        Self::at(Place::Line(record.line), record.bytes, record.reason)
    }
}

/// What came out of a block.
pub struct Decoded<T> {
    pub(crate) records: Vec<T>,
    pub(crate) ends: Vec<End>,
    /// In the order of the block.
    pub(crate) malformed: Vec<Undecoded>,
}

impl<T> Decoded<T> {
    pub(crate) const fn new() -> Self {
        Self { records: Vec::new(), ends: Vec::new(), malformed: Vec::new() }
    }

    /// A record, which ends so many bytes and lines into the block.
    #[inline]
    pub fn record(&mut self, record: T, bytes: usize, lines: u64) {
        self.records.push(record);
        self.ends.push(End { bytes: bytes as u32, lines: lines as u32 });
    }

    /// These bytes, from this line on, are a record that does not decode. What becomes of it is not
    /// the format's business: go on with the next.
    #[cold]
    pub fn malformed(&mut self, line: u64, bytes: &[u8], reason: impl Display) {
        let (before, reason) = (self.records.len(), reason.to_string());
        self.malformed.push(Undecoded { before, line, bytes: bytes.to_vec(), reason });
    }
}

/// Gives every line of the block, without its line end, to `record`, with where it ends.
pub(crate) fn each_line(block: Block<'_>, mut record: impl FnMut(&[u8], usize, u64)) {
    let (mut start, mut lines) = (0, 0);
    while start < block.bytes.len() {
        let rest = &block.bytes[start..];
        let length = line_length(rest);
        lines += 1;
        let line = rest[..length].strip_suffix(b"\n").unwrap_or(rest);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        start += length;
        record(line, start, lines);
    }
}

/// How many newlines there are.
#[expect(
    clippy::naive_bytecount,
    reason = "the compiler vectorises it; next to decoding it is nothing"
)]
pub(crate) fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// The length of the first line, its newline included.
fn line_length(bytes: &[u8]) -> usize {
    // The standard library's search for a byte, vectorised, is reached by this road alone.
    let length = std::io::BufRead::skip_until(&mut &*bytes, b'\n');
    length.expect("bytes in memory are read without error")
}

#[cfg(test)]
pub(crate) fn decode_all<F: Format>(mut format: F, text: &str) -> Decoded<F::Record> {
    let mut decoded = Decoded::new();
    format.decode(Block { bytes: text.as_bytes(), line: 1 }, &mut decoded);
    decoded
}
