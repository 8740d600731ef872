//! Stores: where a job's log and parts lie. Opened from `spec.snapshots.store`, used by the
//! session.

mod file;
mod memory;
#[cfg(feature = "s3")]
mod s3;
#[cfg(test)]
mod suite;

use std::sync::Arc;

use millstream_dataflow::Result;
use millstream_dataflow::snapshot::Store;
use millstream_protocol::path::{JobPrefix, Store as Place};

pub use file::FileStore;
pub(crate) use file::read_text;
pub use memory::MemoryStore;
pub(crate) use millstream_protocol::access::Access;

/// Opens the store of a job, at the job's prefix. Makes no request to it.
pub(crate) async fn open(prefix: &JobPrefix, access: &Access) -> Result<Arc<dyn Store>> {
    match prefix.store() {
        Place::File { path } => {
            let root = std::path::Path::new(path).join(prefix.within_store().trim_end_matches('/'));
            Ok(Arc::new(FileStore::new(root)))
        }
        Place::S3 { bucket, prefix: folder } => {
            let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            open_bucket(bucket, folder + &prefix.within_store(), access).await
        }
    }
}

#[cfg(feature = "s3")]
async fn open_bucket(bucket: &str, root: String, access: &Access) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(s3::S3Store::new(bucket, root, access).await))
}

#[cfg(not(feature = "s3"))]
#[expect(clippy::unused_async, reason = "as with the feature")]
async fn open_bucket(bucket: &str, root: String, _: &Access) -> Result<Arc<dyn Store>> {
    Err(millstream_dataflow::Error::invalid(format!(
        "s3://{bucket}/{root} is in S3, which this binary cannot open: build it with the feature \
         s3 of millstream-worker, or write file:///path"
    )))
}
