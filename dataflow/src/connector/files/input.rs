//! [`OpenFile`]: a file that is being read: decompressed, cut into blocks, decoded.
//!
//! Opened by the thread of [`super::thread`]. Invariant: its position is the place behind the last
//! record that it has handed out, in uncompressed bytes.

use std::io::{self, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::fail;
use super::head::{Head, head_bytes};
use super::item::{Input, Item};
use crate::connector::format::{
    Block, Cut, CutError, Cutter, Decoded, End, Ends, Format, first_record, newlines,
};
use crate::error::{Context, Error, Kind, Result};

/// How a file is compressed, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(super) fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst") => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// A place in a file, behind a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Uncompressed bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) lines: u64,
}

impl Place {
    /// The place behind a record of the block that begins here.
    pub(super) fn behind(self, end: End) -> Self {
        let (bytes, lines) = (u64::from(end.bytes), u64::from(end.lines));
        Self { offset: self.offset + bytes, lines: self.lines + lines }
    }
}

/// Where to go on in a file, and how to know it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resume {
    pub(super) place: Place,
    /// The checksum of its [`Head`] before the place.
    pub(super) head: u32,
}

/// What came of reading on.
pub(super) enum Next<T> {
    /// Records, where the block that they are from begins and ends, and the head of the file where
    /// more is known of it than before.
    Records { decoded: Decoded<T>, start: Place, end: Place, head: Option<Head> },
    /// Nothing more.
    End,
}

/// A file that is being read.
pub(super) struct OpenFile<F> {
    format: F,
    input: Input,
    cutter: Cutter,
    place: Place,
    head: Head,
    /// The head was not told of since it changed.
    head_is_new: bool,
    /// What its end means: a compressed file never grows, nor does an object.
    ends: Ends,
    ended: bool,
}

impl<F: Format> OpenFile<F> {
    /// Opens a file and goes to where it was read to, if it is still that file. None if it is too
    /// short to begin with: its header is not complete.
    pub(super) fn open(
        item: &Item,
        format: &F,
        resume: Option<Resume>,
        ends: Ends,
    ) -> Result<Option<Self>> {
        let path = &*item.path;
        let ends = if item.is_fixed() { Ends::ForGood } else { ends };
        let mut format = format.clone();
        let mut behind_header = Place::default();
        if format.has_header() {
            let mut input = decompressed(item)?;
            let header = first_record(format.framing(), &mut *input, ends);
            let Some(header) = header.map_err(|error| unread(path, error))? else {
                return Ok(None);
            };
            format.header(without_mark(&header)).or_kind(Kind::Invalid, || {
                format!("{}: the header cannot be read", path.display())
            })?;
            behind_header = place_behind(behind_header, &header);
        }
        let place = resume.map_or(behind_header, |resume| resume.place);
        let (input, head) = if item.compression() == Compression::None {
            let head = if item.has_head() { head_of(item, place.offset)? } else { Head::default() };
            (item.open_at(place.offset)?, head)
        } else {
            let mut input = decompressed(item)?;
            let head = read_head(path, &mut *input, place.offset)?;
            skip(path, &mut *input, place.offset, head.len() as u64)?;
            (input, head)
        };
        if let Some(Resume { head: expected, .. }) = resume.filter(|_| item.has_head()) {
            check_head(path, &head, place.offset, expected)?;
        }
        let cutter = Cutter::new(format.framing());
        let file =
            Self { format, input, cutter, place, head, head_is_new: true, ends, ended: false };
        Ok(Some(file))
    }

    /// Where it has come.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Where to go on, should it be opened again.
    pub(super) fn resume(&self) -> Resume {
        Resume { place: self.place, head: self.head.sum(self.place.offset).unwrap_or_default() }
    }

    /// Whether its end was its end for good.
    pub(super) fn ends(&self) -> Ends {
        self.ends
    }

    /// Reads and decodes the next block.
    pub(super) fn next(&mut self, path: &Path) -> Result<Next<F::Record>> {
        if self.ended {
            return Ok(Next::End);
        }
        let cut = self.cutter.next(&mut *self.input);
        match cut.map_err(|error| unread(path, error))? {
            Cut::Block => {}
            Cut::End { held } if held == 0 || self.ends == Ends::ForNow => return Ok(Next::End),
            Cut::End { .. } => {
                self.ended = true;
                self.cutter.rest();
            }
        }
        let bytes = self.cutter.block();
        let start = self.place;
        self.place = place_behind(start, bytes);
        self.head_is_new |= self.head.extend(start.offset, bytes);
        let head = std::mem::take(&mut self.head_is_new).then(|| self.head.clone());
        let mark = if start.offset == 0 { bytes.len() - without_mark(bytes).len() } else { 0 };
        let mut decoded = Decoded::new();
        let block = Block { bytes: &bytes[mark..], line: start.lines + 1 };
        self.format.decode(block, &mut decoded);
        if mark > 0 {
            decoded.ends.iter_mut().for_each(|end| end.bytes += mark as u32);
        }
        Ok(Next::Records { decoded, start, end: self.place, head })
    }
}

fn place_behind(start: Place, bytes: &[u8]) -> Place {
    let (offset, lines) = (start.offset + bytes.len() as u64, start.lines + newlines(bytes));
    Place { offset, lines }
}

/// Without the byte order mark that some programs put in front of UTF-8.
fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn decompressed(item: &Item) -> Result<Input> {
    let input = item.open()?;
    Ok(match item.compression() {
        Compression::None => input,
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(input);
            Box::new(decoder.map_err(|error| fail("cannot decompress", &item.path, error))?)
        }
    })
}

fn read_head(path: &Path, input: &mut dyn Read, offset: u64) -> Result<Head> {
    Head::read(input, offset).map_err(|error| fail("cannot read", path, error))
}

/// Fails if a file that was read up to an offset begins otherwise now.
pub(super) fn check_head(path: &Path, head: &Head, offset: u64, expected: u32) -> Result<()> {
    if head.sum(offset) == Some(expected) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{} was replaced: {offset} bytes of it were read, and its first {} differ now; give new \
         content a new name, and restore the file to go on",
        path.display(),
        head_bytes(offset)
    )))
}

/// The head of an uncompressed file before an offset.
pub(super) fn head_of(item: &Item, offset: u64) -> Result<Head> {
    read_head(&item.path, &mut *item.open()?, offset)
}

/// Reads over what was read before the restore, of which the first bytes are behind already.
fn skip(path: &Path, input: &mut dyn Read, bytes: u64, behind: u64) -> Result<()> {
    let skipped = io::copy(&mut input.take(bytes - behind), &mut io::sink());
    let skipped = skipped.map_err(|error| fail("cannot decompress", path, error))? + behind;
    if skipped < bytes { Err(too_short(path, bytes, skipped)) } else { Ok(()) }
}

/// The error for a file that has lost what was read of it.
pub(super) fn too_short(path: &Path, read: u64, left: u64) -> Error {
    Error::invalid(format!(
        "{} was truncated or replaced: {read} bytes of it were read, and it holds {left} now; \
         give new content a new name, and restore the file to go on",
        path.display()
    ))
}

/// An error of reading, with the file's name.
fn unread(path: &Path, error: CutError) -> Error {
    match error {
        CutError::Read(error) => fail("cannot read", path, error),
        CutError::TooLong => Error::invalid(format!("{}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::connector::format::{Csv, Json, Lines};

    fn gzip(parts: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in parts {
            let mut member = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::fast());
            member.write_all(part.as_bytes()).unwrap();
            member.finish().unwrap();
        }
        bytes
    }

    fn zstd_frames(parts: &[&str]) -> Vec<u8> {
        parts.iter().flat_map(|part| zstd::encode_all(part.as_bytes(), 1).unwrap()).collect()
    }

    fn read<F: Format>(path: &Path, format: F, resume: Option<Resume>) -> Result<Vec<F::Record>> {
        let mut file =
            OpenFile::open(&Item::file(path.to_owned()), &format, resume, Ends::ForGood)?.unwrap();
        let mut records = Vec::new();
        while let Next::Records { decoded, .. } = file.next(path)? {
            assert_eq!(decoded.malformed, []);
            records.extend(decoded.records);
        }
        Ok(records)
    }

    #[test]
    fn each_compression_reads_alike_and_from_the_middle() {
        let dir = tempfile::tempdir().unwrap();
        let parts = ["1\n2", "0\n3\n", "4"];
        let contents = [
            ("a.json", parts.concat().into_bytes()),
            ("a.json.gz", gzip(&parts)),
            ("a.json.zst", zstd_frames(&parts)),
        ];
        for (name, bytes) in contents {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path, Json::<u32>::new(), None).unwrap(), [1, 20, 3, 4], "{name}");
            let at = |offset, head: &[u8]| {
                let place = Place { offset, lines: 2 };
                Some(Resume { place, head: crc32c::crc32c(head) })
            };
            let rest = read(&path, Json::<u32>::new(), at(5, b"1\n20\n")).unwrap();
            assert_eq!(rest, [3, 4], "{name}");
            for (resume, expected) in [
                (at(9, b"1\n20\n3\n4"), "9 bytes of it were read, and it holds 8 now"),
                (at(5, b"1\n30\n"), "was replaced: 5 bytes of it were read, and its first 5"),
            ] {
                let error = read(&path, Json::<u32>::new(), resume).unwrap_err();
                assert_eq!(error.kind(), Kind::Invalid);
                assert!(error.to_string().contains(expected), "{error}");
            }
        }
    }

    #[test]
    fn a_damaged_file_is_corrupt_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let whole = "1\n".repeat(10_000);
        for (name, mut bytes) in [("a.gz", gzip(&[&whole])), ("a.zst", zstd_frames(&[&whole]))] {
            bytes.truncate(bytes.len() - 3);
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path, Json::<u32>::new(), None).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over_and_counts_in_positions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "\u{feff}1\n2\n").unwrap();
        assert_eq!(read(&path, Json::<u32>::new(), None).unwrap(), [1, 2]);
        let format = Json::<u32>::new();
        let mut file = OpenFile::open(&Item::file(path.clone()), &format, None, Ends::ForGood)
            .unwrap()
            .unwrap();
        let Next::Records { decoded, .. } = file.next(&path).unwrap() else {
            panic!("the file has records");
        };
        assert_eq!(decoded.ends[0].bytes, 5);
        std::fs::write(&path, "\u{feff}a,b\n1,2\n").unwrap();
        let rows = read(&path, Csv::<std::collections::BTreeMap<String, u32>>::new(), None);
        assert_eq!(rows.unwrap()[0]["a"], 1);
    }

    #[test]
    fn an_unfinished_record_waits_where_the_file_may_grow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.txt");
        std::fs::write(&path, "a\nb").unwrap();
        let mut file =
            OpenFile::open(&Item::file(path.clone()), &Lines, None, Ends::ForNow).unwrap().unwrap();
        let Next::Records { decoded, end, .. } = file.next(&path).unwrap() else {
            panic!("the file has records");
        };
        assert_eq!(file.resume().head, crc32c::crc32c(b"a\n"));
        assert_eq!((decoded.records, end.offset, end.lines), (vec!["a".to_owned()], 2, 1));
        assert!(matches!(file.next(&path).unwrap(), Next::End));
        assert_eq!(file.place().offset, 2);
        std::fs::write(&path, "a,").unwrap();
        let csv = Csv::<(u32, u32)>::new();
        assert!(
            OpenFile::open(&Item::file(path.clone()), &csv, None, Ends::ForNow).unwrap().is_none()
        );
    }
}
