//! Creating an object in one request, and telling one's own from another's.
//!
//! Receives what [`super::S3Store`] is to create. Invariant: [`Put::Exists`] is said only of an
//! object that another call wrote.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use millstream_dataflow::snapshot::Put;
use millstream_dataflow::{Error, Result};
use millstream_protocol::path::Name;
use millstream_s3::{Failed, repeat};
use uuid::Uuid;

use super::{S3Store, Verb};

/// The user metadata that names the call which wrote an object.
pub(super) const WRITER: &str = "millstream-writer";

/// What must not be there for an object to be created: anything.
pub(super) const NOTHING: &str = "*";

/// A small object's size at most: what is moved while a store answers.
const SMALL_BYTES: usize = 1 << 20;

/// Names one call.
pub(super) fn token() -> String {
    Uuid::new_v4().simple().to_string()
}

impl S3Store {
    /// Writes an object; with a writer's token, only where there is none.
    pub(super) async fn put(
        &self,
        name: &str,
        bytes: Vec<u8>,
        new: Option<&str>,
    ) -> Result<(), Failed> {
        let small = bytes.len() <= SMALL_BYTES;
        let limits = if small { self.patience.small } else { self.patience.bulk };
        let body = Bytes::from(bytes);
        let request = || async {
            let mut object = self.client.put_object().bucket(&self.bucket).key(self.key(name));
            if let Some(writer) = new {
                object = object.if_none_match(NOTHING).metadata(WRITER, writer);
            }
            object.body(ByteStream::from(body.clone())).send().await?;
            Ok(())
        };
        repeat(limits, request).await
    }

    pub(super) async fn create_whole(&self, name: &str, bytes: Vec<u8>) -> Result<Put> {
        let writer = token();
        match self.put(name, bytes, Some(&writer)).await {
            Ok(()) => Ok(self.works(Verb::Write, Put::Created)),
            Err(failed) if failed.fault.is_taken() => self.whose(name, &writer).await,
            Err(failed) => Err(self.error(Verb::Write, name, failed)),
        }
    }

    /// Whether the object that is there is this call's own, of an attempt whose answer was lost.
    pub(super) async fn whose(&self, name: &str, writer: &str) -> Result<Put> {
        match self.writer_of(name).await {
            Ok(there) if there.as_deref() == Some(writer) => Ok(Put::Created),
            Ok(_) => Ok(Put::Exists),
            Err(failed) if failed.fault.is_missing() => {
                let message = format!("{} was there, and is gone", self.uri(name));
                Err(Error::unavailable(message))
            }
            Err(failed) => Err(self.error(Verb::Read, name, failed)),
        }
    }

    /// The token of the call that wrote an object.
    pub(super) async fn writer_of(&self, name: &str) -> Result<Option<String>, Failed> {
        let request = || async {
            let object = self.client.head_object().bucket(&self.bucket).key(self.key(name));
            let metadata = object.send().await?.metadata;
            Ok(metadata.and_then(|mut metadata| metadata.remove(WRITER)))
        };
        repeat(self.patience.small, request).await
    }

    /// Refuses a store that does not honour the condition: two coordinators would overwrite each
    /// other's entries there.
    ///
    /// # Flow
    /// Creates an object that may be there already, and creates it again unless it was.
    pub(super) async fn probe(&self) -> Result<()> {
        let name = Name::Probe.to_string();
        for _ in 0..2 {
            match self.put(&name, Vec::new(), Some(&token())).await {
                Ok(()) => {}
                Err(failed) if failed.fault.is_taken() => return Ok(()),
                Err(failed) => return Err(self.error(Verb::Write, &name, failed)),
            }
        }
        Err(Error::invalid(format!(
            "{} ignores If-None-Match: it wrote over {}; snapshots need a store that honours it",
            self.endpoint,
            self.uri(&name)
        )))
    }
}
