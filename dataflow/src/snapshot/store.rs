//! [`Store`]: where a job keeps its log and its parts. Implemented beside the engine, for files and
//! buckets.

use std::path::PathBuf;

use async_trait::async_trait;

use super::Body;
use crate::error::Result;

/// What came of an attempt to create an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It did not exist, and does now.
    Created,
    /// It existed already, and was left as it is.
    Exists,
}

/// A store of objects under one prefix. Names are paths with `/`.
///
/// # Guarantees
/// An object that was created is there for every later call, from every process; of several
/// attempts to create
/// one name, one wins. Listing is in order of names.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Creates an object unless one of that name exists.
    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Put>;

    /// The same for a large object.
    async fn create_of(&self, name: &str, body: &Body) -> Result<Put> {
        self.create(name, &body.to_bytes()?).await
    }

    /// Writes an object, over one that exists.
    async fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// The bytes of an object; `None` where there is none.
    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// A stretch of an object's bytes; an error where it is shorter or missing.
    async fn read_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>>;

    /// The names below a prefix that sort behind `after`, in order.
    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>>;

    /// Removes an object; success where there is none.
    async fn delete(&self, name: &str) -> Result<()>;

    /// The file that an object is, in a store of which objects are files of this machine.
    fn local(&self, _name: &str) -> Option<PathBuf> {
        None
    }

    /// The store as a user names it, for messages.
    fn describe(&self) -> String;
}
