//! [`LocalWriter`]: writes the records of one task to files that wait.
//!
//! Receives batches from the engine, hands the names of closed files to the snapshot. Invariant: a
//! file that a snapshot names is closed, and on disk before that snapshot is published.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use millstream_protocol::id::Epoch;

use super::super::super::format::Encode;
use super::super::fail;
use super::name::{Names, sync_directory};
use super::pending::{FilePending, PendingFile, PendingFiles};
use crate::error::{Error, Result};
use crate::sink::Prepared;

/// Bytes that are encoded before they are written: fewer calls, and a batch or two of records.
const BUFFER_BYTES: usize = 256 * 1024;

/// A file that is being written.
struct Growing {
    file: File,
    path: PathBuf,
    number: u64,
    /// Bytes in it, those in the buffer included.
    bytes: u64,
}

/// Writes the records of one task.
pub(super) struct LocalWriter<F> {
    names: Arc<Names>,
    format: F,
    roll_bytes: u64,
    next_number: u64,
    buffer: Vec<u8>,
    growing: Option<Growing>,
    /// Files of this epoch that are closed, with their numbers.
    closed: Vec<(PathBuf, u64)>,
    /// Why a file did not get to disk. What the kernel threw away does not come back by trying
    /// again, so the task must fail and replay.
    lost: Arc<Mutex<Option<String>>>,
}

impl<F: Encode> LocalWriter<F> {
    pub(super) fn open(names: Arc<Names>, format: F, roll_bytes: u64) -> Result<Self> {
        names.make_directories()?;
        Ok(Self {
            names,
            format,
            roll_bytes,
            next_number: 0,
            buffer: Vec::new(),
            growing: None,
            closed: Vec::new(),
            lost: Arc::default(),
        })
    }

    /// Creates the next file. A number that is taken was used by an earlier life under the same run
    /// number: its file is left alone.
    fn create(&mut self) -> Result<Growing> {
        loop {
            let number = self.next_number;
            let path = self.names.pending(number);
            self.next_number += 1;
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Growing { file, path, number, bytes: 0 }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fail("cannot create", &path, error)),
            }
        }
    }

    /// Writes out what is buffered.
    fn write_buffer(&mut self) -> Result<()> {
        if let Some(growing) = &mut self.growing {
            append(&mut growing.file, &growing.path, &self.buffer)?;
        }
        self.buffer.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        self.write_buffer()?;
        if let Some(Growing { path, number, .. }) = self.growing.take() {
            self.closed.push((path, number));
        }
        Ok(())
    }

    /// Where a file of this epoch appears: never where something is already, which can only be of a
    /// history that began anew and counts from the same numbers.
    fn free_target(&mut self, epoch: Epoch, mut number: u64) -> PathBuf {
        loop {
            let target = self.names.target(epoch, number);
            if !target.exists() {
                return target;
            }
            number = self.next_number;
            self.next_number += 1;
        }
    }

    fn check_lost(&self) -> Result<()> {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.as_ref().map_or(Ok(()), |lost| Err(Error::unavailable(lost)))
    }
}

impl<F: Encode> LocalWriter<F> {
    pub(super) fn write(&mut self, records: &[F::Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let mut growing = match self.growing.take() {
            Some(growing) => growing,
            None => self.create()?,
        };
        let before = self.buffer.len();
        self.format.encode(records, growing.bytes == 0, &mut self.buffer)?;
        growing.bytes += (self.buffer.len() - before) as u64;
        let full = growing.bytes >= self.roll_bytes;
        self.growing = Some(growing);
        if full {
            self.close()
        } else if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer()
        } else {
            Ok(())
        }
    }

    pub(super) fn prepare(&mut self, epoch: Epoch) -> Result<Prepared<FilePending>> {
        self.check_lost()?;
        self.close()?;
        if self.closed.is_empty() {
            return Ok(Prepared::nothing());
        }
        let closed = std::mem::take(&mut self.closed);
        let mut pending = PendingFiles { epoch, task: self.names.task, files: Vec::new() };
        for (path, number) in &closed {
            let target = self.free_target(epoch, *number);
            pending.files.push(PendingFile { pending: text(path), target: text(&target) });
        }
        let (waiting, lost) = (self.names.waiting().to_owned(), self.lost.clone());
        let durable = move || {
            let synced = closed.iter().try_for_each(|(path, _)| sync_file(path));
            synced.and_then(|()| sync_directory(&waiting)).inspect_err(|error| {
                *lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            })
        };
        let pending = Some(FilePending::Files(pending));
        Ok(Prepared { pending, durable: Some(Box::new(durable)) })
    }
}

/// A path whose directory was found to be UTF-8 when the sink opened.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn append(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).map_err(|error| fail("cannot write", path, error))
}

/// Brings a closed file to disk. A new handle is told of errors that no handle was told of before.
///
/// A newer run removes what older ones left: a file that is gone makes this epoch fail, and the
/// coordinator look into the log, where that run stands.
fn sync_file(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::unavailable(format!(
            "{} is gone: a newer run of the job has removed it, or somebody else; leave {} alone",
            path.display(),
            path.parent().unwrap_or(path).display()
        )),
        _ => fail("cannot sync", path, error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_full_disk_is_said_to_be_full_and_may_be_tried_again() {
        let path = Path::new("/dev/full");
        let mut full = OpenOptions::new().write(true).open(path).unwrap();
        let error = append(&mut full, path, b"a").unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        let text = error.to_string();
        assert!(text.contains("/dev/full") && text.contains("the disk is full"), "{text}");
    }
}
