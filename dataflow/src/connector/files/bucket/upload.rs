//! Uploads in parts: begun, sent, completed or given up.
//!
//! Used by [`super::super::sink`]. Invariant: what an upload has sent cannot be seen before it is
//! completed.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use millstream_s3::{Failed, Fault, repeat};

use super::{Bucket, Verb, WRITER};
use crate::error::Result;

/// What must not be there for an upload to be completed: anything.
const NOTHING: &str = "*";

/// An upload that is not completed: its key and its id.
pub(in super::super) type Unfinished = (String, String);

impl Bucket {
    /// Begins an upload; its id.
    pub(in super::super) async fn begin(&self, key: &str, writer: &str) -> Result<String> {
        let request = || async {
            let upload = self.0.client.create_multipart_upload().bucket(&self.0.name).key(key);
            let upload = upload.metadata(WRITER, writer).send().await?;
            upload.upload_id.ok_or_else(|| Fault::odd("an upload without an id"))
        };
        match repeat(self.0.patience.small, request).await {
            Ok(upload) => Ok(self.works(Verb::Write, upload)),
            Err(failed) => Err(self.error(Verb::Write, key, &failed)),
        }
    }

    /// Sends a part; its `ETag`.
    pub(in super::super) async fn send(
        &self,
        (key, upload): &Unfinished,
        number: i32,
        bytes: Bytes,
    ) -> Result<String, Failed> {
        let request = || async {
            let part = self.0.client.upload_part().bucket(&self.0.name).key(key);
            let part = part.upload_id(upload).part_number(number);
            let sent = part.body(ByteStream::from(bytes.clone())).send().await?;
            sent.e_tag.ok_or_else(|| Fault::odd("a part without an ETag"))
        };
        repeat(self.0.patience.bulk, request).await
    }

    /// Makes an object of the parts with these `ETag`s, unless there is one of that key.
    pub(in super::super) async fn complete(
        &self,
        (key, upload): &Unfinished,
        parts: &[String],
    ) -> Result<(), Failed> {
        let part = |(number, etag): (i32, &String)| {
            CompletedPart::builder().part_number(number).e_tag(etag).build()
        };
        let parts = (1..).zip(parts).map(part).collect();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = || async {
            let upload = self.0.client.complete_multipart_upload().upload_id(upload);
            let upload = upload.bucket(&self.0.name).key(key).if_none_match(NOTHING);
            upload.multipart_upload(parts.clone()).send().await?;
            Ok(())
        };
        // A store may take long to put many parts together.
        repeat(self.0.patience.bulk, request).await
    }

    /// Gives an upload up; success where it is gone.
    pub(in super::super) async fn abort(&self, (key, upload): &Unfinished) -> Result<()> {
        let request = || async {
            let upload = self.0.client.abort_multipart_upload().upload_id(upload);
            upload.bucket(&self.0.name).key(key).send().await?;
            Ok::<_, Fault>(())
        };
        match repeat(self.0.patience.small, request).await {
            Err(failed) if !failed.fault.is_upload_gone() => {
                Err(self.error(Verb::Write, key, &failed))
            }
            _ => Ok(()),
        }
    }

    /// All uploads below a prefix that are not completed.
    pub(in super::super) async fn unfinished(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        let (mut found, mut after) = (Vec::new(), (None, None));
        loop {
            let request = || async {
                let list = self.0.client.list_multipart_uploads().bucket(&self.0.name);
                let (key, upload) = after.clone();
                let list = list.set_key_marker(key).set_upload_id_marker(upload);
                Ok::<_, Fault>(list.prefix(prefix).send().await?)
            };
            let page = repeat(self.0.patience.small, request).await;
            let page = page.map_err(|failed| self.error(Verb::List, prefix, &failed))?;
            let more = page.is_truncated() == Some(true);
            let next = (page.next_key_marker, page.next_upload_id_marker);
            let uploads = page.uploads.unwrap_or_default().into_iter();
            found.extend(uploads.filter_map(|it| Some((it.key?, it.upload_id?))));
            if !more || next == after || next.0.is_none() {
                return Ok(found);
            }
            after = next;
        }
    }
}
