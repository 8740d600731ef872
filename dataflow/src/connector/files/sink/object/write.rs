//! [`ObjectWriter`]: encodes the records of one task and cuts them into parts.
//!
//! Receives batches from the engine, hands parts to [`super::uploads`] and what waits to the
//! snapshot. Invariant: parts of an object are of one size, but for the last.

use std::sync::Arc;

use millstream_protocol::id::Epoch;

use super::super::super::super::format::Encode;
use super::super::pending::{FilePending, PendingObjects, Uploading};
use super::key::Keys;
use super::uploads::{PARTS_MAX, Parts, Uploads};
use crate::error::Result;
use crate::sink::{Prepared, Room};

/// How large a part is. S3 takes no less than 5 MiB but for the last; ten thousand of these make
/// objects of 80 GB.
const PART_BYTES: usize = 8 << 20;

/// An object that is being written.
#[derive(Default)]
struct Growing {
    /// Bytes in it, those in the buffer included.
    bytes: u64,
    parts: usize,
    /// None as long as the buffer holds all of it.
    upload: Option<(Parts, Uploading)>,
}

/// Writes the records of one task.
pub(in super::super) struct ObjectWriter<F> {
    keys: Arc<Keys>,
    format: F,
    roll_bytes: u64,
    buffer: Vec<u8>,
    growing: Growing,
    uploads: Uploads,
    /// Objects of this epoch that get no more parts.
    closed: Vec<Uploading>,
}

impl<F: Encode> ObjectWriter<F> {
    pub(in super::super) fn open(keys: Arc<Keys>, format: F, roll_bytes: u64) -> Result<Self> {
        let uploads = Uploads::new(keys.clone())?;
        let (buffer, growing, closed) = (Vec::new(), Growing::default(), Vec::new());
        Ok(Self { keys, format, roll_bytes, buffer, growing, uploads, closed })
    }

    pub(in super::super) fn write(&mut self, records: &[F::Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let before = self.buffer.len();
        self.format.encode(records, self.growing.bytes == 0, &mut self.buffer)?;
        self.growing.bytes += (self.buffer.len() - before) as u64;
        while self.buffer.len() > PART_BYTES {
            let rest = self.buffer.split_off(PART_BYTES);
            self.cut(rest)?;
        }
        // One part is left for what the buffer holds.
        if self.growing.bytes >= self.roll_bytes || self.growing.parts + 1 >= PARTS_MAX {
            self.close()?;
        }
        Ok(())
    }

    /// Makes a part of the buffer, and goes on with the rest.
    fn cut(&mut self, rest: Vec<u8>) -> Result<()> {
        let part = std::mem::replace(&mut self.buffer, rest);
        let epoch = self.keys.next_epoch();
        let (uploads, upload) = (&mut self.uploads, &mut self.growing.upload);
        let (parts, _) = upload.get_or_insert_with(|| uploads.begin(epoch));
        self.growing.parts += 1;
        uploads.send(parts, part)
    }

    /// Ends the object.
    fn close(&mut self) -> Result<()> {
        if self.growing.bytes == 0 {
            return Ok(());
        }
        self.cut(Vec::new())?;
        let upload = std::mem::take(&mut self.growing).upload;
        self.closed.extend(upload.map(|(_, uploading)| uploading));
        Ok(())
    }

    pub(in super::super) fn prepare(&mut self, epoch: Epoch) -> Result<Prepared<FilePending>> {
        self.uploads.landing().check()?;
        self.close()?;
        self.keys.cut(epoch);
        if self.closed.is_empty() {
            return Ok(Prepared::nothing());
        }
        let objects = std::mem::take(&mut self.closed);
        let (landing, waited) = (self.uploads.landing().clone(), objects.clone());
        let pending = PendingObjects {
            epoch,
            task: self.keys.task,
            access: self.keys.access.clone(),
            bucket: self.keys.bucket.clone(),
            objects,
        };
        let durable = move || landing.wait(&waited);
        let pending = Some(FilePending::Objects(pending));
        Ok(Prepared { pending, durable: Some(Box::new(durable)) })
    }

    pub(in super::super) fn room(&mut self) -> Result<Room> {
        self.uploads.landing().check()?;
        Ok(if self.uploads.has_room() { Room::Enough } else { Room::None })
    }
}
