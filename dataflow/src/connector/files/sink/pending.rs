//! [`FilePending`]: what a snapshot keeps of files and objects that are not to be seen yet.
//!
//! Made by the writers, handed to the committers by way of the snapshot. Invariant: it says all
//! that is needed to make the output visible, from whichever process.

use std::sync::{Arc, OnceLock};

use millstream_protocol::access::Access;
use millstream_protocol::id::Epoch;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The output of one task and epoch that waits for its snapshot to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilePending {
    /// In a directory.
    Files(PendingFiles),
    /// In a bucket.
    Objects(PendingObjects),
}

/// Files that wait for their snapshot to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingFiles {
    /// The epoch.
    pub epoch: Epoch,
    /// The task that wrote them.
    pub task: u32,
    /// The files, in the order in which they were written.
    pub files: Vec<PendingFile>,
}

/// A file that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingFile {
    /// Where it lies.
    pub pending: String,
    /// Where it will appear.
    pub target: String,
}

/// Uploads that wait for their snapshot to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingObjects {
    /// The epoch.
    pub epoch: Epoch,
    /// The task that wrote them.
    pub task: u32,
    /// How the bucket is reached.
    pub access: Access,
    /// The bucket.
    pub bucket: String,
    /// The objects, in the order in which they were written.
    pub objects: Vec<Uploading>,
}

/// An upload whose parts are all there, and that is not completed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingObject {
    /// Where the object will appear.
    pub key: String,
    /// The id of the upload.
    pub upload: String,
    /// What the object's metadata will have for it: nobody else writes the same.
    pub writer: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// The `ETag` of each part, in order.
    pub etags: Vec<String>,
}

/// A [`PendingObject`], known once its parts are there: before its snapshot is put into bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uploading(Arc<OnceLock<PendingObject>>);

impl Uploading {
    /// The upload, once all its parts are there.
    pub fn get(&self) -> Option<&PendingObject> {
        self.0.get()
    }

    /// Its parts are there.
    #[cfg(feature = "s3")]
    pub(super) fn set(&self, object: PendingObject) {
        // Whoever uploads it says so once.
        let _ = self.0.set(object);
    }
}

impl Serialize for Uploading {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let missing = || serde::ser::Error::custom("an upload lacks parts");
        self.get().ok_or_else(missing)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Uploading {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = PendingObject::deserialize(deserializer)?;
        Ok(Self(Arc::new(OnceLock::from(object))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::schema_of;

    #[test]
    fn an_upload_is_kept_once_its_parts_are_there() {
        let known = Uploading::default();
        let pending = |objects: &[Uploading]| {
            let (bucket, objects) = ("b".to_owned(), objects.to_vec());
            FilePending::Objects(PendingObjects { bucket, objects, ..PendingObjects::default() })
        };
        let kept = pending(std::slice::from_ref(&known));
        postcard::to_stdvec(&kept).unwrap_err();
        let object = PendingObject { bytes: 7, ..PendingObject::default() };
        known.0.set(object.clone()).unwrap();
        let bytes = postcard::to_stdvec(&kept).unwrap();
        let restored: FilePending = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(restored, pending(&[Uploading(Arc::new(OnceLock::from(object)))]));
        assert!(!schema_of::<FilePending>().starts_with("opaque"));
    }
}
