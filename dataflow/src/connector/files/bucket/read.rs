//! [`Object`]: an object that is read, a piece after the other.
//!
//! Found by [`mod@super::find`], opened on the thread that reads. Invariant: every piece is of the
//! version that was found, one more at most is on its way, and none is larger than
//! [`PIECE_BYTES_MAX`].

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use bytes::Bytes;
use millstream_s3::{Fault, repeat};
use tokio::task::JoinSet;

use super::super::fault::Carried;
use super::super::item::{Input, Stop, changed};
use super::list::without_quotes;
use super::{Bucket, Verb, io as requests};
use crate::error::{Error, Result};

/// The first piece of an object: a header, or all of a small one.
const PIECE_BYTES_FIRST: u64 = 256 << 10;
/// The largest piece. Each is four times as large as the one before, so that a large object takes
/// few requests; with one decoded and one on its way, an object has 8 MiB at most in memory.
const PIECE_BYTES_MAX: u64 = 4 << 20;

/// How often it is looked whether anybody still wants what is waited for.
pub(super) const STOP_EVERY: Duration = Duration::from_millis(50);

/// An object, at the version that was found.
#[derive(Clone, Debug)]
pub(in super::super) struct Object {
    pub(super) bucket: Bucket,
    pub(super) key: String,
    pub(super) etag: String,
    pub(super) bytes: u64,
    pub(super) stop: Stop,
}

impl Object {
    pub(in super::super) fn etag(&self) -> &str {
        &self.etag
    }

    pub(in super::super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads from this byte on.
    pub(in super::super) fn open(&self, offset: u64) -> Result<Input> {
        let mut reader = ObjectReader {
            object: self.clone(),
            offset,
            size: PIECE_BYTES_FIRST,
            piece: Bytes::new(),
            ahead: None,
        };
        reader.ask()?;
        Ok(Box::new(reader))
    }

    /// Some bytes of it, all that are asked for.
    async fn piece(&self, offset: u64, length: u64) -> Result<Bytes> {
        let (bucket, key) = (&self.bucket, &self.key);
        let (range, etag) =
            (format!("bytes={offset}-{}", offset + length - 1), format!("\"{}\"", self.etag));
        let request = || async {
            let object = bucket.0.client.get_object().bucket(&bucket.0.name).key(key);
            let answer = object.range(&range).if_match(&etag).send().await?;
            // Not every store heeds the condition.
            let version = without_quotes(answer.e_tag);
            let bytes = answer.body.collect().await?.into_bytes();
            let whole = bytes.len() as u64 == length || version != self.etag;
            if whole { Ok((bytes, version)) } else { Err(Fault::odd("fewer bytes")) }
        };
        let failed = match repeat(bucket.0.patience.bulk, request).await {
            Ok((bytes, version)) if version == self.etag => {
                return Ok(bucket.works(Verb::Read, bytes));
            }
            Ok((_, version)) => return Err(changed(&bucket.uri(key), &self.etag, &version)),
            Err(failed) => failed,
        };
        if failed.fault.is_taken() || failed.fault.is_missing() || failed.fault.is_beyond_end() {
            let uri = bucket.uri(key);
            return Err(match bucket.look(key).await? {
                Some(seen) => changed(&uri, &self.etag, &seen.etag),
                None => Error::invalid(format!(
                    "{uri} was removed before it was read to its end: ETag {} was read, put it \
                     back",
                    self.etag
                )),
            });
        }
        Err(bucket.error(Verb::Read, key, &failed))
    }
}

/// Reads an object.
struct ObjectReader {
    object: Object,
    /// Where the next piece begins that nobody has asked for.
    offset: u64,
    /// How large it is to be.
    size: u64,
    piece: Bytes,
    ahead: Option<Ahead>,
}

/// A piece on its way. Given up when it is dropped.
struct Ahead {
    result: Receiver<Result<Bytes>>,
    _running: JoinSet<()>,
}

impl ObjectReader {
    /// Asks for the next piece, where there is one.
    fn ask(&mut self) -> Result<()> {
        let length = self.size.min(self.object.bytes.saturating_sub(self.offset));
        if length == 0 {
            return Ok(());
        }
        let (object, offset) = (self.object.clone(), self.offset);
        self.offset += length;
        self.size = (self.size * 4).min(PIECE_BYTES_MAX);
        let (sender, result) = sync_channel(1);
        let mut running = JoinSet::new();
        let work = async move {
            // Nobody else waits for it.
            let _ = sender.send(object.piece(offset, length).await);
        };
        running.spawn_on(work, &requests::handle()?);
        self.ahead = Some(Ahead { result, _running: running });
        Ok(())
    }

    /// Waits for the piece that is on its way; false at the end.
    fn next_piece(&mut self) -> Result<bool> {
        let Some(ahead) = self.ahead.take() else { return Ok(false) };
        self.piece = wait_for(&ahead.result, &self.object.stop)?;
        self.ask()?;
        Ok(true)
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            if !self.next_piece().map_err(Carried::pack)? {
                return Ok(0);
            }
        }
        let now = self.piece.split_to(self.piece.len().min(into.len()));
        into[..now.len()].copy_from_slice(&now);
        Ok(now.len())
    }
}

/// Waits for a result, or until nobody wants it.
pub(super) fn wait_for<T>(result: &Receiver<Result<T>>, stop: &Stop) -> Result<T> {
    loop {
        match result.recv_timeout(STOP_EVERY) {
            Ok(done) => return done,
            Err(RecvTimeoutError::Timeout) if stop.is_set() => {
                return Err(Error::unavailable("the run has ended"));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::bug("a request to a bucket did not end"));
            }
        }
    }
}
