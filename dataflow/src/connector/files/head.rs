//! [`Head`]: the first bytes of a file, by which a restore knows it again.
//!
//! Gathered by [`super::input`] as it reads, kept by [`super::reader`] as a checksum in the
//! position. Invariant: the checksum is that of bytes before the position, so that a file may grow
//! behind it.

use std::io::{self, Read};

/// More would have to be read again at each restore; two files that differ nearly always do so in
/// their first kilobyte.
const HEAD_BYTES: u64 = 1024;

/// How many bytes of the head lie before an offset.
pub(super) fn head_bytes(offset: u64) -> usize {
    offset.min(HEAD_BYTES) as usize
}

/// The first bytes of a file, as far as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head(Vec<u8>);

impl Head {
    /// Reads what of it lies before an offset; less where the input ends earlier.
    pub(super) fn read(input: &mut dyn Read, offset: u64) -> io::Result<Self> {
        let mut bytes = Vec::new();
        input.take(head_bytes(offset) as u64).read_to_end(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Takes what is new of bytes that begin at an offset. Whether anything was.
    pub(super) fn extend(&mut self, offset: u64, bytes: &[u8]) -> bool {
        let had = self.0.len();
        if offset <= had as u64 {
            let end = head_bytes(offset + bytes.len() as u64);
            let new = bytes.get(had - offset as usize..end.saturating_sub(offset as usize));
            self.0.extend(new.unwrap_or_default());
        }
        self.0.len() > had
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The CRC32C of what lies before an offset; None where that was not read.
    pub(super) fn sum(&self, offset: u64) -> Option<u32> {
        self.0.get(..head_bytes(offset)).map(crc32c::crc32c)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_grows_by_what_is_new_and_no_further_than_its_bound() {
        let bytes: Vec<u8> = (0..2000u32).map(|n| n as u8).collect();
        let mut head = Head::default();
        assert_eq!((head.sum(0), head.sum(1)), (Some(0), None));
        assert!(!head.extend(5, &bytes[5..10]), "what comes first is missing");
        assert!(head.extend(0, &bytes[..7]) && head.extend(5, &bytes[5..10]));
        assert!(!head.extend(2, &bytes[2..9]) && !head.extend(10, &[]));
        assert_eq!(head, Head(bytes[..10].to_vec()));
        assert!(head.extend(10, &bytes[10..]) && !head.extend(1024, &bytes[1024..]));
        assert_eq!(head.len(), 1024);
        assert_eq!(head.sum(700), Some(crc32c::crc32c(&bytes[..700])));
        assert_eq!(head.sum(1500), Some(crc32c::crc32c(&bytes[..1024])));
        assert_eq!(Head::read(&mut &bytes[..], 1500).unwrap(), head);
    }
}
