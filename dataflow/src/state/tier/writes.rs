//! [`Writes`]: what is to be written to a [`super::Below`] at once.

use std::ops::Range;

use super::Family;

/// Writes in order, their bytes side by side.
#[derive(Default)]
pub(crate) struct Writes {
    bytes: Vec<u8>,
    list: Vec<(Family, Kind, Range<usize>, Range<usize>)>,
}

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Remove,
    RemoveRange,
}

/// One write.
pub(crate) enum Write<'a> {
    /// A key and its value.
    Put(&'a [u8], &'a [u8]),
    /// A key.
    Remove(&'a [u8]),
    /// All keys from the one up to but without the other.
    RemoveRange(&'a [u8], &'a [u8]),
}

impl Writes {
    fn bytes(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    pub(crate) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        let (key, value) = (self.bytes(key), self.bytes(value));
        self.list.push((family, Kind::Put, key, value));
    }

    pub(crate) fn remove(&mut self, family: Family, key: &[u8]) {
        let key = self.bytes(key);
        self.list.push((family, Kind::Remove, key, 0..0));
    }

    pub(crate) fn remove_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        let (from, to) = (self.bytes(from), self.bytes(to));
        self.list.push((family, Kind::RemoveRange, from, to));
    }

    /// The writes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Family, Write<'_>)> {
        self.list.iter().map(|(family, kind, first, second)| {
            let (first, second) = (&self.bytes[first.clone()], &self.bytes[second.clone()]);
            let write = match kind {
                Kind::Put => Write::Put(first, second),
                Kind::Remove => Write::Remove(first),
                Kind::RemoveRange => Write::RemoveRange(first, second),
            };
            (*family, write)
        })
    }
}
