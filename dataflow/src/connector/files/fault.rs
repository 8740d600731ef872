//! Errors of the file system, each with the path and of the kind that says what to do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::{Error, Kind};

/// The number of "too many levels of symbolic links" on Linux.
const ELOOP: i32 = 40;

/// An error of ours on its way through whoever reads, a decompressor say.
#[derive(Debug)]
pub(super) struct Carried(Error);

impl Carried {
    #[cfg(feature = "s3")]
    pub(super) fn pack(error: Error) -> io::Error {
        io::Error::other(Self(error))
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

/// An error of the file system at a path. A full disk may be emptied and a stale mount come back,
/// so those are tried again; a path that is wrong, or closed to us, stays so until somebody changes
/// it.
pub(super) fn fail(attempt: &str, path: &Path, error: io::Error) -> Error {
    let error = match error.downcast::<Carried>() {
        Ok(Carried(error)) => return error,
        Err(error) => error,
    };
    let path = path.display();
    // Not in `ErrorKind`'s stable part.
    if error.raw_os_error() == Some(ELOOP) {
        return Error::invalid(format!(
            "{attempt} {path}: {error}: a symbolic link there leads back to itself, remove it"
        ));
    }
    let kind = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            return Error::unavailable(format!(
                "{attempt} {path}: the disk is full ({error}): free space there, or add some"
            ));
        }
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidFilename => Kind::Invalid,
        // What decompressors say of damaged bytes.
        ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof => {
            Kind::Corrupt
        }
        ErrorKind::Other if error.raw_os_error().is_none() => Kind::Corrupt,
        _ => Kind::Unavailable,
    };
    Error::new(kind, format!("{attempt} {path}: {error}"))
}
