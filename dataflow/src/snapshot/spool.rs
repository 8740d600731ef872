//! [`Spool`]: where the blocks of a snapshot lie from the encoder to the store.
//!
//! Filled by [`super::share`]. In memory up to a bound for each epoch, behind it in a local file:
//! a snapshot of all of a state that is larger than memory would not fit there either, compressed
//! or not.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::id::Epoch;

use super::body::Piece;
use crate::spill::Spill;

/// Where blocks are put. Clones are the same one; without a bound by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spool(Arc<Mutex<Inner>>);

/// How much of a snapshot may be in memory, and where the rest goes.
#[derive(Clone, Debug)]
pub(crate) struct SpoolBound {
    pub(crate) bytes: u64,
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Default)]
struct Inner {
    bound: Option<SpoolBound>,
    epoch: Epoch,
    /// Bytes of this epoch in memory.
    held: u64,
    /// The file of this epoch.
    spill: Option<Spill>,
    /// It could not be written.
    failed: bool,
}

impl Spool {
    pub(crate) fn new(bound: Option<SpoolBound>) -> Self {
        Self(Arc::new(Mutex::new(Inner { bound, ..Inner::default() })))
    }

    /// What comes is of this epoch. There is one in flight: what was put before is on its way out.
    pub(crate) fn begin(&self, epoch: Epoch) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch != inner.epoch {
            let bound = inner.bound.take();
            *inner = Inner { bound, epoch, ..Inner::default() };
        }
    }

    /// Puts bytes there. A disk that fails costs memory, not the snapshot.
    pub(crate) fn put(&self, bytes: Vec<u8>) -> Piece {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let length = bytes.len() as u64;
        match &inner.bound {
            Some(bound) if inner.held + length > bound.bytes && !inner.failed => {}
            _ => {
                inner.held += length;
                return Piece::in_memory(bytes);
            }
        }
        inner.spill(&bytes).unwrap_or_else(|| Piece::in_memory(bytes))
    }
}

impl Inner {
    fn spill(&mut self, bytes: &[u8]) -> Option<Piece> {
        let directory = &self.bound.as_ref()?.directory;
        let spilled = match &self.spill {
            Some(spill) => Ok(spill),
            None => Spill::create(directory, "snapshot").map(|made| &*self.spill.insert(made)),
        };
        let spilled = spilled.and_then(|spill| {
            let offset = spill.append(bytes).map_err(|error| (spill.path().to_owned(), error))?;
            let (length, sum) = (bytes.len() as u64, crc32c::crc32c(bytes));
            Ok(Piece::in_file(spill.file().clone(), offset, length, sum))
        });
        match spilled {
            Ok(piece) => Some(piece),
            Err((path, error)) => {
                tracing::warn!(
                    "snapshot {} stays in memory, since {} cannot be written: {error}",
                    self.epoch,
                    path.display()
                );
                self.failed = true;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Body;

    fn body_of(spool: &Spool, blocks: u8) -> Body {
        let mut body = Body::default();
        (0..blocks).for_each(|block| body.push(spool.put(vec![block; 10])));
        body
    }

    fn wanted(blocks: u8) -> Vec<u8> {
        (0..blocks).flat_map(|block| [block; 10]).collect()
    }

    #[test]
    fn what_is_beyond_the_bound_lies_in_a_file_without_a_name() {
        let home = tempfile::tempdir().unwrap();
        let bound = SpoolBound { bytes: 35, directory: home.path().to_owned() };
        let spool = Spool::new(Some(bound));
        spool.begin(Epoch(1));
        let first = body_of(&spool, 9);
        assert_eq!(spool.0.lock().unwrap().held, 30);
        spool.begin(Epoch(2));
        let second = body_of(&spool, 5);
        assert_eq!(first.to_bytes().unwrap(), wanted(9));
        assert_eq!(second.to_bytes().unwrap(), wanted(5));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_disk_all_of_it_is_in_memory() {
        let bound = SpoolBound { bytes: 5, directory: "/nowhere".into() };
        let spool = Spool::new(Some(bound));
        spool.begin(Epoch(1));
        assert_eq!(body_of(&spool, 9).to_bytes().unwrap(), wanted(9));
    }
}
