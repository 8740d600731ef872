//! [`Item`]: a file or an object that is read, as it was found.
//!
//! Made by [`super::find`]; opened by [`super::input`] on the thread of [`super::thread`].
//! Invariant: an object is read at the version that was found, or not at all.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "s3")]
use super::bucket::Object;
use super::fail;
use super::input::{Compression, too_short};
use crate::error::{Error, Result};

/// A file or an object.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Where it lies; for messages, and for the ending of its name.
    pub(super) path: PathBuf,
    /// None for a file.
    #[cfg(feature = "s3")]
    pub(super) object: Option<Object>,
}

/// A reader, from some byte on.
pub(super) type Input = Box<dyn Read + Send>;

impl Item {
    pub(super) fn file(path: PathBuf) -> Self {
        Self {
            path,
            #[cfg(feature = "s3")]
            object: None,
        }
    }

    #[cfg(feature = "s3")]
    fn as_object(&self) -> Option<&Object> {
        self.object.as_ref()
    }

    #[cfg(not(feature = "s3"))]
    fn as_object(&self) -> Option<&Never> {
        let _ = self;
        None
    }

    /// Which content it has, as its store says; empty for a file, which does not tell.
    pub(super) fn version(&self) -> &str {
        self.as_object().map_or("", |object| object.etag())
    }

    pub(super) fn compression(&self) -> Compression {
        Compression::of(&self.path)
    }

    /// Whether it stays as it is. A file may grow.
    pub(super) fn is_fixed(&self) -> bool {
        self.as_object().is_some() || self.compression() != Compression::None
    }

    /// Whether it is to be known again by its first bytes: it has no version.
    pub(super) fn has_head(&self) -> bool {
        self.as_object().is_none()
    }

    /// Its length, compressed as it is.
    pub(super) fn bytes(&self) -> Result<u64> {
        if let Some(object) = self.as_object() {
            return Ok(object.bytes());
        }
        let meta = std::fs::metadata(&self.path);
        Ok(meta.map_err(|error| fail("cannot look at", &self.path, error))?.len())
    }

    /// Opens it at its beginning.
    pub(super) fn open(&self) -> Result<Input> {
        match self.as_object() {
            Some(object) => object.open(0),
            None => Ok(Box::new(self.open_file()?)),
        }
    }

    /// Opens it at this byte.
    pub(super) fn open_at(&self, offset: u64) -> Result<Input> {
        if self.bytes()? < offset {
            return Err(too_short(&self.path, offset, self.bytes()?));
        }
        if let Some(object) = self.as_object() {
            return object.open(offset);
        }
        let mut file = self.open_file()?;
        let sought = file.seek(SeekFrom::Start(offset));
        sought.map_err(|error| fail("cannot read", &self.path, error))?;
        Ok(Box::new(file))
    }

    fn open_file(&self) -> Result<File> {
        File::open(&self.path).map_err(|error| fail("cannot open", &self.path, error))
    }

    /// Fails if this is not the version that was read.
    pub(super) fn check_version(&self, read: &str) -> Result<()> {
        let found = self.version();
        if read == found {
            return Ok(());
        }
        Err(changed(&self.path.display().to_string(), read, found))
    }
}

/// The error for an object that has other content than was read of it.
pub(super) fn changed(name: &str, read: &str, found: &str) -> Error {
    let version = |etag: &str| match etag {
        "" => "what had no ETag".to_owned(),
        etag => format!("ETag {etag}"),
    };
    Error::invalid(format!(
        "{name} was replaced: {} was read, and it is {} now; give new content a new name, and \
         restore the object to go on",
        version(read),
        version(found)
    ))
}

/// Ends waits for a network when nobody wants their results any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[cfg(feature = "s3")]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An object, where there are none.
#[cfg(not(feature = "s3"))]
enum Never {}

#[cfg(not(feature = "s3"))]
impl Never {
    fn etag(&self) -> &str {
        match *self {}
    }

    fn bytes(&self) -> u64 {
        match *self {}
    }

    fn open(&self, _: u64) -> Result<Input> {
        match *self {}
    }
}
