//! A store in a bucket of S3, or of what speaks its protocol.
//!
//! Opened by [`super::open`]; what it is asked goes through [`repeat`] to the SDK's client. An
//! object is created with `If-None-Match: *`, and carries the token of the call that wrote it: so a
//! call whose answer was lost, and whose next attempt finds the object there, knows it for its own.
//! Invariant: nothing is repeated or given up but in [`repeat`].

mod pieces;
mod put;
#[cfg(test)]
pub(super) mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use futures::{StreamExt, TryStreamExt};
use millstream_dataflow::snapshot::{Body, Put, Store};
use millstream_dataflow::{Error, Kind, Result};
use millstream_s3::{Failed, Fault, Patience, Words, repeat};
use tokio::sync::OnceCell;

use super::Access;

/// What one request moves at most: small enough to be repeated, large enough that a request's
/// round trip does not matter. Ten thousand of them, the most that S3 takes, make 160 GB.
const PIECE_BYTES: u64 = 16 << 20;

/// How many pieces of one object move at once: what fills a line of 10 Gbit/s, and bounds the
/// memory that is in flight.
const PIECES_AT_ONCE: usize = 4;

/// What users know of a store.
const WORDS: Words = Words {
    address: "spec.snapshots.store",
    settings: "spec.snapshots",
    endpoint: "spec.snapshots.endpoint",
    region: "spec.snapshots.region",
    actions: "s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket",
    needs: "snapshots need: conditional writes (If-None-Match)",
};

/// A store in a bucket.
#[derive(Debug)]
pub(crate) struct S3Store {
    client: Client,
    bucket: String,
    /// What stands in front of every name: empty, or with a slash at its end.
    root: String,
    /// For messages.
    endpoint: String,
    patience: Patience,
    piece_bytes: u64,
    /// Set when the store has shown that it honours conditions.
    conditional: OnceCell<()>,
    /// Which requests have succeeded before, by [`Verb`].
    worked: [AtomicBool; 4],
}

/// What was being attempted.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Read,
    List,
    Write,
    Delete,
}

impl Verb {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::List => "list",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

impl S3Store {
    /// A store below this prefix of a bucket. Makes no request to the store.
    pub(crate) async fn new(bucket: &str, root: String, access: &Access) -> Self {
        let loader = millstream_s3::loader(access).await;
        let (client, endpoint) = millstream_s3::connect(loader, access).await;
        Self::with_client(client, bucket, root, endpoint)
    }

    fn with_client(client: Client, bucket: &str, root: String, endpoint: String) -> Self {
        Self {
            client,
            bucket: bucket.to_owned(),
            root,
            endpoint,
            patience: Patience::default(),
            piece_bytes: PIECE_BYTES,
            conditional: OnceCell::new(),
            worked: Default::default(),
        }
    }

    /// Before the first object is created.
    async fn first_look(&self) -> Result<()> {
        self.probe().await?;
        #[expect(clippy::disallowed_methods, reason = "compared with times that the store keeps")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.sweep(now.unwrap_or_default()).await;
        Ok(())
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    fn uri(&self, name: &str) -> String {
        format!("s3://{}/{}{name}", self.bucket, self.root)
    }

    /// Notes that a kind of request works.
    fn works<T>(&self, verb: Verb, answer: T) -> T {
        self.worked[verb as usize].store(true, Ordering::Relaxed);
        answer
    }

    /// The error for a request that came to nothing.
    fn error(&self, verb: Verb, name: &str, failed: Failed) -> Error {
        let (kind, words) = failed.fault.explain(&self.bucket, &self.endpoint, &WORDS);
        // What has worked before is no mistake in the job, and whoever broke it can mend it; and
        // after an attempt that may have succeeded, nobody may take the object for not written.
        let worked = self.worked[verb as usize].load(Ordering::Relaxed);
        let kind = if worked || failed.unsure { Kind::Unavailable } else { kind };
        let tries = match failed.attempts {
            1 => String::new(),
            attempts => format!(", after {attempts} attempts"),
        };
        Error::new(kind, format!("cannot {} {}: {words}{tries}", verb.as_str(), self.uri(name)))
    }

    async fn page(&self, prefix: &str, after: &str, token: Option<String>) -> Result<Page> {
        let after = (!after.is_empty() && token.is_none()).then(|| self.key(after));
        let request = || async {
            let page = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(self.key(prefix))
                .set_start_after(after.clone())
                .set_continuation_token(token.clone())
                .send()
                .await?;
            let more = page.is_truncated() == Some(true);
            let next = page.next_continuation_token().map(str::to_owned).filter(|_| more);
            let keys = page.contents.unwrap_or_default().into_iter().filter_map(|it| it.key);
            Ok((keys.collect(), next))
        };
        repeat(self.patience.small, request)
            .await
            .map(|page| self.works(Verb::List, page))
            .map_err(|failed| self.error(Verb::List, prefix, failed))
    }

    /// Up to a piece of an object: exactly the bytes asked for.
    async fn read_piece(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let range = format!("bytes={offset}-{}", offset + length - 1);
        let request = || async {
            let object = self.client.get_object().bucket(&self.bucket).key(self.key(name));
            let answer = object.range(&range).send().await?;
            Ok::<_, Fault>(answer.body.collect().await?.into_bytes())
        };
        let bytes = match repeat(self.patience.bulk, request).await {
            Ok(bytes) => self.works(Verb::Read, bytes),
            Err(failed) if failed.fault.is_missing() => {
                return Err(Error::corrupt(format!("{} is missing", self.uri(name))));
            }
            Err(failed) if failed.fault.is_beyond_end() => return Err(self.shorter(name)),
            Err(failed) => return Err(self.error(Verb::Read, name, failed)),
        };
        if bytes.len() as u64 == length { Ok(bytes.into()) } else { Err(self.shorter(name)) }
    }

    fn shorter(&self, name: &str) -> Error {
        Error::corrupt(format!("{} is shorter than the manifest says", self.uri(name)))
    }
}

/// Keys, and where the listing goes on.
type Page = (Vec<String>, Option<String>);

#[async_trait]
impl Store for S3Store {
    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        self.create_of(name, &bytes.to_vec().into()).await
    }

    async fn create_of(&self, name: &str, body: &Body) -> Result<Put> {
        self.conditional.get_or_try_init(|| self.first_look()).await?;
        if body.len() > self.piece_bytes {
            self.create_in_pieces(name, body).await
        } else {
            self.create_whole(name, body.to_bytes()?).await
        }
    }

    async fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put(name, bytes.to_vec(), None)
            .await
            .map(|()| self.works(Verb::Write, ()))
            .map_err(|failed| self.error(Verb::Write, name, failed))
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let request = || async {
            let object = self.client.get_object().bucket(&self.bucket).key(self.key(name));
            Ok::<_, Fault>(object.send().await?.body.collect().await?.to_vec())
        };
        match repeat(self.patience.small, request).await {
            Ok(bytes) => Ok(self.works(Verb::Read, Some(bytes))),
            Err(failed) if failed.fault.is_missing() => Ok(self.works(Verb::Read, None)),
            Err(failed) => Err(self.error(Verb::Read, name, failed)),
        }
    }

    async fn read_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let end = offset + length;
        let starts = (offset..end).step_by(self.piece_bytes as usize);
        let pieces =
            starts.map(|start| self.read_piece(name, start, self.piece_bytes.min(end - start)));
        let pieces = futures::stream::iter(pieces).buffered(PIECES_AT_ONCE);
        let read = Vec::with_capacity(length as usize);
        pieces
            .try_fold(read, |mut read, piece| async move {
                read.extend_from_slice(&piece);
                Ok(read)
            })
            .await
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut token = None;
        loop {
            let (keys, next) = self.page(prefix, after, token).await?;
            let new = keys.iter().filter_map(|key| key.strip_prefix(&self.root));
            names.extend(new.filter(|name| *name > after).map(str::to_owned));
            if next.is_none() {
                break;
            }
            token = next;
        }
        // What speaks the protocol does not always sort as S3 does.
        names.sort_unstable();
        Ok(names)
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let request = || async {
            let object = self.client.delete_object().bucket(&self.bucket).key(self.key(name));
            object.send().await?;
            Ok(())
        };
        match repeat(self.patience.small, request).await {
            Err(failed) if !failed.fault.is_missing() => {
                Err(self.error(Verb::Delete, name, failed))
            }
            _ => {
                self.works(Verb::Delete, ());
                Ok(())
            }
        }
    }

    fn describe(&self) -> String {
        self.uri("").trim_end_matches('/').to_owned()
    }
}
