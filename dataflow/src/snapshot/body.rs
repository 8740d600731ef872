//! [`Body`]: the bytes of a share or of a part, in memory or in local files.
//!
//! Put together by the encoder, written to a store by whoever runs the engine; read back at a
//! restore, block by block. So a snapshot larger than memory is never in memory as a whole.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::error::{Context as _, Error, Kind, Result};

/// Read from a file in one go.
const READ_BYTES: u64 = 1 << 20;

/// Bytes in pieces, which clones share.
#[derive(Clone, Debug, Default)]
pub struct Body {
    pieces: Vec<(u64, Piece)>,
    length: u64,
}

/// A piece of a body.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    place: Place,
    length: u64,
    crc32c: u32,
}

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<Vec<u8>>),
    /// A file, and where in it.
    File(Arc<File>, u64),
}

impl Piece {
    pub(crate) fn in_memory(bytes: Vec<u8>) -> Self {
        let (length, crc32c) = (bytes.len() as u64, crc32c::crc32c(&bytes));
        Self { place: Place::Memory(Arc::new(bytes)), length, crc32c }
    }

    /// A stretch of a file, whose checksum is known.
    pub(crate) fn in_file(file: Arc<File>, offset: u64, length: u64, crc32c: u32) -> Self {
        Self { place: Place::File(file, offset), length, crc32c }
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    pub(crate) fn checksum(&self) -> u32 {
        self.crc32c
    }

    fn read(&self, offset: u64, length: u64) -> io::Result<Cow<'_, [u8]>> {
        match &self.place {
            Place::Memory(bytes) => {
                Ok(Cow::Borrowed(&bytes[offset as usize..(offset + length) as usize]))
            }
            Place::File(file, start) => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, start + offset)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        let mut body = Self::default();
        body.push(Piece::in_memory(bytes));
        body
    }
}

impl Body {
    /// A stretch of a file that nobody writes to, whose checksum (CRC32C) is known.
    pub fn of_file(file: Arc<File>, offset: u64, length: u64, crc32c: u32) -> Self {
        let mut body = Self::default();
        body.push(Piece::in_file(file, offset, length, crc32c));
        body
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The checksum of all of it: CRC32C.
    pub fn checksum(&self) -> u32 {
        let pieces = self.pieces.iter().map(|(_, piece)| piece);
        pieces
            .fold(0, |sum, piece| crc32c::crc32c_combine(sum, piece.crc32c, piece.length as usize))
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        let start = self.length;
        self.length += piece.length;
        if piece.length > 0 {
            self.pieces.push((start, piece));
        }
    }

    /// Puts another one behind this one.
    pub fn append(&mut self, other: Self) {
        other.pieces.into_iter().for_each(|(_, piece)| self.push(piece));
    }

    /// A stretch of it, without a copy where that is possible. One that reaches beyond its end is
    /// an error.
    pub fn read_at(&self, offset: u64, length: u64) -> Result<Cow<'_, [u8]>> {
        let end = offset.checked_add(length).filter(|end| *end <= self.length);
        let end = end.ok_or_else(|| Error::corrupt("a stretch lies outside of its share"))?;
        let mut read = Cow::Borrowed(&[][..]);
        let mut at = offset;
        while at < end {
            let index = self.pieces.partition_point(|(start, _)| *start <= at) - 1;
            let (start, piece) = &self.pieces[index];
            let from = at - start;
            let bytes = piece.read(from, (end - at).min(piece.length - from));
            let bytes = bytes.or_kind(Kind::Unavailable, || {
                "cannot read back what a snapshot has in a local file".to_owned()
            })?;
            at += bytes.len() as u64;
            if read.is_empty() {
                read = bytes;
            } else {
                read.to_mut().extend_from_slice(&bytes);
            }
        }
        Ok(read)
    }

    /// Hands over all of it in order, in stretches that are not large where they are read from a
    /// file.
    pub fn each(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for (_, piece) in &self.pieces {
            let most = match &piece.place {
                Place::Memory(_) => piece.length,
                Place::File(..) => READ_BYTES,
            };
            let mut at = 0;
            while at < piece.length {
                let bytes = piece.read(at, most.min(piece.length - at))?;
                at += bytes.len() as u64;
                take(&bytes)?;
            }
        }
        Ok(())
    }

    /// All of it in one piece.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.read_at(0, self.length)?.into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// All bytes in pieces of these lengths, every second one in a file.
    fn body(lengths: &[usize]) -> (Body, Vec<u8>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"something else").unwrap();
        let (mut body, mut all, mut end) = (Body::default(), Vec::new(), 14);
        let mut in_file = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let bytes: Vec<u8> = (0..*length).map(|at| (at * 7 + number) as u8).collect();
            all.extend_from_slice(&bytes);
            if number % 2 == 1 {
                file.write_all(&bytes).unwrap();
            }
            in_file.push((end, bytes));
            end += if number % 2 == 1 { *length as u64 } else { 0 };
        }
        let file = Arc::new(file);
        for (number, (offset, bytes)) in in_file.into_iter().enumerate() {
            body.push(if number % 2 == 1 {
                let (length, sum) = (bytes.len() as u64, crc32c::crc32c(&bytes));
                Piece::in_file(file.clone(), offset, length, sum)
            } else {
                Piece::in_memory(bytes)
            });
        }
        (body, all)
    }

    proptest! {
        #[test]
        fn it_is_what_was_put_together(
            lengths in prop::collection::vec(0usize..40, 0..8),
            from in 0usize..300,
            length in 0usize..300,
        ) {
            let (body, all) = body(&lengths);
            prop_assert_eq!(body.len(), all.len() as u64);
            prop_assert_eq!(body.checksum(), crc32c::crc32c(&all));
            prop_assert_eq!(&body.to_bytes().unwrap(), &all);
            let mut seen = Vec::new();
            body.each(|bytes| seen.write_all(bytes)).unwrap();
            prop_assert_eq!(&seen, &all);
            let read = body.read_at(from as u64, length as u64);
            if let Some(wanted) = all.get(from..from + length) {
                prop_assert_eq!(&*read.unwrap(), wanted);
            } else {
                prop_assert_eq!(read.unwrap_err().kind(), Kind::Corrupt);
            }
        }
    }

    #[test]
    fn what_is_in_a_file_is_handed_over_in_stretches() {
        let length = 2 * READ_BYTES as usize + 5;
        let (body, all) = body(&[3, length]);
        let mut lengths = Vec::new();
        body.each(|bytes| {
            lengths.push(bytes.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(lengths, [3, READ_BYTES as usize, READ_BYTES as usize, 5]);
        assert_eq!(body.checksum(), crc32c::crc32c(&all));
    }
}
