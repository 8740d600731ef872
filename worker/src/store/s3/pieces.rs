//! Creating a large object in pieces.
//!
//! Receives what [`super::S3Store`] is to create and is larger than a piece. Invariant: pieces of
//! an upload that came to nothing are removed, at once or by a later process.

use std::borrow::Cow;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use millstream_dataflow::Result;
use millstream_dataflow::snapshot::{Body, Put};
use millstream_s3::{Failed, Fault, repeat};
use tokio::task::spawn_blocking;

use super::put::{NOTHING, WRITER, token};
use super::{PIECES_AT_ONCE, S3Store, Verb};

/// How many pieces S3 takes for one object.
const PIECES_MAX: u64 = 10_000;

/// An unfinished upload of this age is nobody's any more: the upload of a piece ends within
/// minutes, that of a snapshot within the time-out that the job gives it.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

impl S3Store {
    /// Creates an object in pieces that are sent beside each other.
    ///
    /// # Guarantees
    /// As for one request, where the store honours the condition when it completes an upload. AWS
    /// does; in stores that do not, names of large objects must not be used twice, as those of
    /// parts are not.
    pub(super) async fn create_in_pieces(&self, name: &str, body: &Body) -> Result<Put> {
        let writer = token();
        let upload = self.begin(name, &writer).await;
        let upload = upload.map_err(|failed| self.error(Verb::Write, name, failed))?;
        let sent = match self.send_pieces(name, &upload, body).await {
            Ok(pieces) => self.complete(name, &upload, pieces).await,
            Err(failed) => Err(failed),
        };
        match sent {
            Ok(()) => Ok(self.works(Verb::Write, Put::Created)),
            // It was completed by an attempt whose answer was lost, or another call was first.
            Err(failed) if failed.fault.is_taken() || failed.fault.is_upload_gone() => {
                self.give_up(name).await;
                self.whose(name, &writer).await
            }
            Err(failed) => {
                self.give_up(name).await;
                Err(self.error(Verb::Write, name, failed))
            }
        }
    }

    pub(super) async fn begin(&self, name: &str, writer: &str) -> Result<String, Failed> {
        let request = || async {
            let upload = self.client.create_multipart_upload().bucket(&self.bucket);
            let upload = upload.key(self.key(name)).metadata(WRITER, writer).send().await?;
            upload.upload_id.ok_or_else(|| Fault::odd("an upload without an id"))
        };
        repeat(self.patience.small, request).await
    }

    async fn send_pieces(
        &self,
        name: &str,
        upload: &str,
        body: &Body,
    ) -> Result<Vec<CompletedPart>, Failed> {
        let size = self.piece_bytes.max(body.len().div_ceil(PIECES_MAX));
        let starts = (0..body.len()).step_by(size as usize).zip(1..);
        let sends = starts.map(|(start, number)| {
            let (body, length) = (body.clone(), size.min(body.len() - start));
            let read = move || body.read_at(start, length).map(Cow::into_owned);
            self.send_piece(name, upload, number, read)
        });
        // Collected: they do nothing until they are polled, and the stream then owns its closure.
        let sends: Vec<_> = sends.collect();
        futures::stream::iter(sends).buffered(PIECES_AT_ONCE).try_collect().await
    }

    /// Sends what is read only now: what is on its way is all that is in memory.
    async fn send_piece(
        &self,
        name: &str,
        upload: &str,
        number: i32,
        read: impl FnOnce() -> Result<Vec<u8>> + Send + 'static,
    ) -> Result<CompletedPart, Failed> {
        let bytes = spawn_blocking(read).await;
        let bytes = bytes.map_err(Failed::unread)?.map_err(Failed::unread)?;
        let bytes = Bytes::from(bytes);
        let request = || async {
            let piece = self.client.upload_part().bucket(&self.bucket).key(self.key(name));
            let piece = piece.upload_id(upload).part_number(number);
            let sent = piece.body(ByteStream::from(bytes.clone())).send().await?;
            Ok(CompletedPart::builder().part_number(number).set_e_tag(sent.e_tag).build())
        };
        repeat(self.patience.bulk, request).await
    }

    async fn complete(
        &self,
        name: &str,
        upload: &str,
        pieces: Vec<CompletedPart>,
    ) -> Result<(), Failed> {
        let pieces = CompletedMultipartUpload::builder().set_parts(Some(pieces)).build();
        let request = || async {
            let upload = self.client.complete_multipart_upload().upload_id(upload);
            let upload = upload.bucket(&self.bucket).key(self.key(name));
            upload.if_none_match(NOTHING).multipart_upload(pieces.clone()).send().await?;
            Ok(())
        };
        // A store may take long to put many pieces together.
        repeat(self.patience.bulk, request).await
    }

    /// Removes the pieces of every unfinished upload of this name: also of one whose id was lost
    /// with an answer. Success is not needed: a later process looks again.
    async fn give_up(&self, name: &str) {
        let uploads = self.unfinished(name).await;
        for (key, upload, _) in uploads.into_iter().filter(|(key, ..)| *key == self.key(name)) {
            self.abort(&key, &upload).await;
        }
    }

    /// Removes what processes that were killed have left: uploads begun before `now` by a day.
    pub(super) async fn sweep(&self, now: Duration) {
        for (key, upload, begun) in self.unfinished("").await {
            if begun + ABANDONED_AFTER <= now {
                tracing::info!("removing an upload of {key} that nobody finished");
                self.abort(&key, &upload).await;
            }
        }
    }

    /// Unfinished uploads below a prefix: key, id, and when they were begun, since the epoch. None
    /// where the store does not say, or does not let us see them.
    pub(super) async fn unfinished(&self, prefix: &str) -> Vec<(String, String, Duration)> {
        let request = || async {
            let uploads = self.client.list_multipart_uploads().bucket(&self.bucket);
            Ok::<_, Fault>(uploads.prefix(self.key(prefix)).send().await?.uploads)
        };
        let uploads = match repeat(self.patience.small, request).await {
            Ok(uploads) => uploads.unwrap_or_default(),
            Err(failed) => {
                tracing::debug!("unfinished uploads cannot be listed: {failed:?}");
                return Vec::new();
            }
        };
        let known = uploads.into_iter().filter_map(|upload| {
            let begun = u64::try_from(upload.initiated?.secs()).ok()?;
            Some((upload.key?, upload.upload_id?, Duration::from_secs(begun)))
        });
        known.collect()
    }

    async fn abort(&self, key: &str, upload: &str) {
        let request = || async {
            let upload = self.client.abort_multipart_upload().upload_id(upload);
            upload.bucket(&self.bucket).key(key).send().await?;
            Ok::<_, Fault>(())
        };
        if let Err(failed) = repeat(self.patience.small, request).await {
            tracing::debug!("an upload of {key} cannot be given up: {failed:?}");
        }
    }
}
