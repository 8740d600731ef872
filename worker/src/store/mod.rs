//! Stores: where a job's log and parts lie. Opened from `spec.snapshots.store`, used by the
//! session.

mod file;
mod memory;
#[cfg(test)]
mod suite;

use std::sync::Arc;

use millstream_dataflow::snapshot::Store;
use millstream_dataflow::{Error, Result};
use millstream_protocol::path::{JobPrefix, Store as Place};

pub use file::FileStore;
pub(crate) use file::read_text;
pub use memory::MemoryStore;

/// Opens the store of a job, at the job's prefix.
pub fn open(prefix: &JobPrefix) -> Result<Arc<dyn Store>> {
    match prefix.store() {
        Place::File { path } => {
            let root = std::path::Path::new(path).join(prefix.within_store().trim_end_matches('/'));
            Ok(Arc::new(FileStore::new(root)))
        }
        Place::S3 { .. } => Err(Error::invalid(format!(
            "spec.snapshots.store: {} is an S3 store, which this build cannot open: write file:///path",
            prefix.store()
        ))),
    }
}
