//! [`Cutter`]: cuts what comes out of a file into blocks of complete records.
//!
//! Receives bytes from any reader, hands [`Block`](super::Block)s' worth of them to a
//! [`Format`](super::Format). Invariant: blocks follow each other without a gap, and each but the
//! last of a file ends behind the newline of a record.

use std::io::{self, ErrorKind, Read};

use super::Framing;

/// How much is read at once. A batch of records of 100 bytes; more made no difference to the rate.
const BLOCK_BYTES: usize = 128 * 1024;

/// The longest record: one that is longer is a file without newlines rather than a record.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why there is no block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CutError {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error(
        "a record is longer than {} MiB: is each record on a line of its own?",
        RECORD_BYTES_MAX >> 20
    )]
    TooLong,
}

type Result<T> = std::result::Result<T, CutError>;

/// What the cutter found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Complete records: see [`Cutter::block`].
    Block,
    /// The input has nothing more; so many bytes of an unfinished record are held back.
    End { held: usize },
}

/// Where in a record the bytes read so far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    FieldStart,
    Field,
    Quotes,
    /// Behind a quote in quotes: a second one stands for a quote, anything else is outside.
    QuoteInQuotes,
}

/// Cuts bytes into blocks of complete records.
#[derive(Debug)]
pub(crate) struct Cutter {
    framing: Framing,
    buffer: Vec<u8>,
    filled: usize,
    /// The block: everything before this.
    cut: usize,
    /// Up to where the search for record ends has come.
    searched: usize,
    within: Within,
}

impl Cutter {
    pub(crate) fn new(framing: Framing) -> Self {
        Self {
            framing,
            buffer: Vec::new(),
            filled: 0,
            cut: 0,
            searched: 0,
            within: Within::FieldStart,
        }
    }

    /// The bytes of the last block.
    pub(crate) fn block(&self) -> &[u8] {
        &self.buffer[..self.cut]
    }

    /// Reads on until there is a block, or the input has nothing more.
    pub(crate) fn next(&mut self, input: &mut dyn Read) -> Result<Cut> {
        self.drop_block();
        loop {
            if self.filled == self.buffer.len() {
                self.grow()?;
            }
            let read = match input.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Ok(Cut::End { held: self.filled });
            }
            self.filled += read;
            if let Some(end) = self.find_end() {
                self.cut = end;
                return Ok(Cut::Block);
            }
        }
    }

    /// Makes a block of the unfinished record at the end of the input.
    pub(crate) fn rest(&mut self) {
        self.cut = self.filled;
    }

    fn drop_block(&mut self) {
        self.buffer.copy_within(self.cut..self.filled, 0);
        self.filled -= self.cut;
        self.searched -= self.cut.min(self.searched);
        self.cut = 0;
    }

    fn grow(&mut self) -> Result<()> {
        if self.filled >= RECORD_BYTES_MAX {
            return Err(CutError::TooLong);
        }
        self.buffer.resize((self.filled * 2).max(BLOCK_BYTES), 0);
        Ok(())
    }

    /// The end of the last complete record among the bytes.
    fn find_end(&mut self) -> Option<usize> {
        let from = self.searched;
        let bytes = &self.buffer[from..self.filled];
        let end = search(self.framing, &mut self.within, bytes, Search::Last);
        self.searched = self.filled;
        end.map(|end| from + end)
    }
}

/// The first record of an input, its line end included: a header. None where the input ends within
/// it, unless that is its end for good.
pub(crate) fn first_record(
    framing: Framing,
    input: &mut dyn Read,
    ends: Ends,
) -> Result<Option<Vec<u8>>> {
    let mut cutter = Cutter::new(framing);
    match (cutter.next(input)?, ends) {
        (Cut::Block, _) => {
            let mut within = Within::FieldStart;
            let end = search(framing, &mut within, cutter.block(), Search::First);
            Ok(end.map(|end| cutter.block()[..end].to_vec()))
        }
        (Cut::End { .. }, Ends::ForGood) => {
            cutter.rest();
            Ok(Some(cutter.block().to_vec()))
        }
        (Cut::End { .. }, Ends::ForNow) => Ok(None),
    }
}

/// What the end of an input means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// There will be nothing more: what stands there without a newline is a record.
    ForGood,
    /// It may grow: what stands there without a newline is unfinished.
    ForNow,
}

/// Which record's end is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Search {
    First,
    Last,
}

/// Finds where a record ends, behind its newline.
fn search(framing: Framing, within: &mut Within, bytes: &[u8], which: Search) -> Option<usize> {
    let Framing::Quoted { delimiter } = framing else {
        let newline = |byte: &u8| *byte == b'\n';
        let place = match which {
            Search::First => bytes.iter().position(newline),
            Search::Last => bytes.iter().rposition(newline),
        };
        return place.map(|place| place + 1);
    };
    let mut end = None;
    for (place, &byte) in bytes.iter().enumerate() {
        *within = match (*within, byte) {
            (Within::Quotes, b'"') => Within::QuoteInQuotes,
            (Within::Quotes, _) | (Within::QuoteInQuotes | Within::FieldStart, b'"') => {
                Within::Quotes
            }
            (_, b'\n') => {
                end = Some(place + 1);
                if which == Search::First {
                    return end;
                }
                Within::FieldStart
            }
            (_, b'\r') => Within::FieldStart,
            (_, byte) if byte == delimiter => Within::FieldStart,
            _ => Within::Field,
        };
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives out so many bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let (now, rest) = self.0.split_at(self.1.min(self.0.len()).min(into.len()));
            into[..now.len()].copy_from_slice(now);
            self.0 = rest;
            Ok(now.len())
        }
    }

    fn blocks(framing: Framing, text: &str, drop: usize) -> (Vec<String>, usize) {
        let mut input = Drops(text.as_bytes(), drop);
        let mut cutter = Cutter::new(framing);
        let mut blocks = Vec::new();
        loop {
            match cutter.next(&mut input).unwrap() {
                Cut::Block => blocks.push(String::from_utf8(cutter.block().to_vec()).unwrap()),
                Cut::End { held } => return (blocks, held),
            }
        }
    }

    #[test]
    fn however_the_bytes_arrive_each_block_ends_behind_a_record() {
        let quoted = Framing::Quoted { delimiter: b',' };
        let lines = "a\nbb\n\nccc\nd";
        let rows = "a,\"b\n\"\n5\" pipe,\"x\"\"\n\",\"\"\n\"\n\n\"\nz,\"";
        let ends = [7, 25, 30];
        for drop in 1..40 {
            let (cut, held) = blocks(Framing::Line, lines, drop);
            assert_eq!((cut.concat().len(), held), (lines.len() - 1, 1));
            assert!(cut.iter().all(|block| block.ends_with('\n')));
            let (cut, held) = blocks(quoted, rows, drop);
            let mut at = 0;
            for block in &cut {
                at += block.len();
                assert!(ends.contains(&at), "{cut:?}");
            }
            assert_eq!((at, held), (*ends.last().unwrap(), 3), "{cut:?}");
        }
    }

    #[test]
    fn a_record_longer_than_a_block_is_cut_whole() {
        let long = format!("{}\nb\n", "a".repeat(3 * BLOCK_BYTES));
        let (cut, held) = blocks(Framing::Line, &long, usize::MAX);
        assert_eq!((cut.concat(), held), (long, 0));
    }

    #[test]
    fn the_first_record_is_a_header_once_it_is_complete() {
        let framing = Framing::Quoted { delimiter: b',' };
        let first = |text: &str, ends| {
            let record = first_record(framing, &mut Drops(text.as_bytes(), 2), ends).unwrap();
            record.map(|record| String::from_utf8(record).unwrap())
        };
        let text = "\"a\nb\",c\n1\n2\n";
        assert_eq!(first(text, Ends::ForNow).as_deref(), Some(&text[..8]));
        assert_eq!(first("a,b", Ends::ForNow), None);
        assert_eq!(first("a,b", Ends::ForGood).as_deref(), Some("a,b"));
    }
}
