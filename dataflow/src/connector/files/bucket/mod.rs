//! [`Bucket`]: what source and sink ask of a bucket.
//!
//! Opened by [`super::sink`] and by [`mod@find`]; makes its requests by [`millstream_s3::repeat`],
//! on the runtime of [`io`]. Invariant: every error names the object, or the prefix that was
//! listed.

mod find;
pub(super) mod io;
mod list;
mod read;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::Client;
use millstream_protocol::access::Access;
use millstream_s3::{Failed, Fault, Patience, Words, repeat};

use crate::error::{Error, Result};
pub(super) use find::find;
use list::without_quotes;
pub(super) use read::Object;

/// The user metadata that names the upload which made an object.
const WRITER: &str = "millstream-writer";

/// What users know of a bucket that is read.
pub(super) const READING: Words = Words {
    address: "the address",
    settings: "endpoint and region",
    endpoint: "its endpoint",
    region: "its region",
    actions: "s3:GetObject and s3:ListBucket",
    needs: "reading files needs: listing (ListObjectsV2) and ranges",
};

/// What users know of a bucket that is written.
pub(super) const WRITING: Words = Words {
    actions: "s3:PutObject, s3:GetObject, s3:ListBucket, s3:AbortMultipartUpload and \
              s3:ListBucketMultipartUploads",
    needs: "writing files needs: multipart uploads, and If-None-Match when one is completed",
    ..READING
};

/// A bucket.
#[derive(Clone, Debug)]
pub(super) struct Bucket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    name: String,
    /// For messages.
    endpoint: String,
    words: &'static Words,
    patience: Patience,
    /// Which requests have succeeded before, by [`Verb`].
    worked: [AtomicBool; 3],
}

/// What was being attempted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    Read,
    List,
    Write,
}

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) bytes: u64,
    /// Without its quotes.
    pub(super) etag: String,
    /// Which upload made it, where one of ours did.
    pub(super) writer: Option<String>,
}

impl Bucket {
    /// Makes no request to the bucket. On the runtime of [`io`], as all that follows.
    pub(super) async fn open(name: &str, access: &Access, words: &'static Words) -> Result<Self> {
        let (client, endpoint) = io::client(access).await?;
        let (name, patience) = (name.to_owned(), Patience::default());
        let worked = Default::default();
        Ok(Self(Arc::new(Inner { client, name, endpoint, words, patience, worked })))
    }

    pub(super) fn uri(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.0.name)
    }

    /// Notes that a kind of request works.
    fn works<T>(&self, verb: Verb, answer: T) -> T {
        self.0.worked[verb as usize].store(true, Ordering::Relaxed);
        answer
    }

    /// The error for a request that came to nothing.
    pub(super) fn error(&self, verb: Verb, key: &str, failed: &Failed) -> Error {
        let (kind, words) = failed.fault.explain(&self.0.name, &self.0.endpoint, self.0.words);
        // What has worked before is no mistake in the job, and whoever broke it can mend it.
        let worked = self.0.worked[verb as usize].load(Ordering::Relaxed);
        let kind = if worked || failed.unsure { crate::error::Kind::Unavailable } else { kind };
        let tries = match failed.attempts {
            1 => String::new(),
            attempts => format!(", after {attempts} attempts"),
        };
        let verb = match verb {
            Verb::Read => "read",
            Verb::List => "list",
            Verb::Write => "write",
        };
        Error::new(kind, format!("cannot {verb} {}: {words}{tries}", self.uri(key)))
    }

    /// Looks at an object; none where there is no such object.
    pub(super) async fn look(&self, key: &str) -> Result<Option<Seen>> {
        let request = || async {
            let object = self.0.client.head_object().bucket(&self.0.name).key(key);
            let head = object.send().await?;
            let bytes = head.content_length.and_then(|bytes| u64::try_from(bytes).ok());
            let writer = head.metadata.and_then(|mut metadata| metadata.remove(WRITER));
            let etag = without_quotes(head.e_tag);
            Ok::<_, Fault>(Seen { bytes: bytes.unwrap_or_default(), etag, writer })
        };
        match repeat(self.0.patience.small, request).await {
            Ok(seen) => Ok(self.works(Verb::Read, Some(seen))),
            Err(failed) if failed.fault.is_missing() => Ok(None),
            Err(failed) => Err(self.error(Verb::Read, key, &failed)),
        }
    }
}
