//! Files that are whole or not there: written, brought to disk, and only then given their name.
//!
//! Used by [`super`]. On Linux a new file has no name at all before (`O_TMPFILE`): a process that
//! is killed leaves nothing. Where the file system knows no such files, and for one that takes
//! the place of another, it lies in a directory beside the objects, and [`sweep`] removes what
//! killed processes left there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use millstream_dataflow::clock::{Clock, SystemClock};
use millstream_dataflow::snapshot::Body;
use uuid::Uuid;

/// Where files lie that have a name before their own. No object's name starts with a dot.
pub(super) const TEMPORARY: &str = ".temporary";
/// What was not written to for so long, nobody writes to any more: a write takes seconds.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// Creates a file in a directory that is there. False: the name is taken.
pub(super) fn create(root: &Path, path: &Path, body: &Body) -> io::Result<bool> {
    let linked = match unnamed(path.parent().unwrap_or(root)) {
        Some(mut file) => {
            fill(&mut file, body)?;
            // Perhaps it fails only because it has no name: one that has one hears the real reason.
            link_unnamed(&file, path).or_else(|error| match error.kind() {
                ErrorKind::AlreadyExists => Err(error),
                _ => create_named(root, path, body),
            })
        }
        None => create_named(root, path, body),
    };
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn create_named(root: &Path, path: &Path, body: &Body) -> io::Result<()> {
    fs::hard_link(&Named::write(root, body)?.0, path)
}

/// Creates a file, or takes the place of the one that is there.
pub(super) fn overwrite(root: &Path, path: &Path, body: &Body) -> io::Result<()> {
    fs::rename(&Named::write(root, body)?.0, path)
}

/// Removes what processes left that were killed while they wrote.
pub(super) fn sweep(root: &Path) {
    let folder = root.join(TEMPORARY);
    let now = UNIX_EPOCH + Duration::from_millis(SystemClock::new().now().millis().unsigned_abs());
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|file| file.modified()).unwrap_or(now);
        if now.duration_since(written).is_ok_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_file(entry.path());
        }
    }
    // Where others lie in it, it stays.
    let _ = fs::remove_dir(&folder);
}

/// A file under a name of its own, which it loses in the end.
struct Named(PathBuf);

impl Named {
    fn write(root: &Path, body: &Body) -> io::Result<Self> {
        let folder = root.join(TEMPORARY);
        fs::create_dir_all(&folder)?;
        let named = Self(folder.join(Uuid::new_v4().to_string()));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&named.0)?;
        fill(&mut file, body)?;
        Ok(named)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn fill(file: &mut File, body: &Body) -> io::Result<()> {
    body.each(|bytes| file.write_all(bytes))?;
    file.sync_all()
}

/// A file without a name, in this directory's file system, where there can be one.
#[cfg(target_os = "linux")]
fn unnamed(folder: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(folder).ok()
}

/// Gives a file without a name one that must be free.
#[cfg(target_os = "linux")]
fn link_unnamed(file: &File, path: &Path) -> io::Result<()> {
    use std::ffi::CString;
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStrExt;
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let to = CString::new(path.as_os_str().as_bytes())?;
    let (here, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
    // SAFETY: both are strings that end in a zero, and live until the call returns.
    match unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), follow) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(target_os = "linux"))]
fn unnamed(_: &Path) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn link_unnamed(_: &File, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8]) -> Body {
        bytes.to_vec().into()
    }

    #[test]
    fn with_a_name_and_without_one_the_first_wins_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (root, path) = (folder.path(), folder.path().join("one"));
        assert!(create(root, &path, &body(b"ab")).unwrap());
        assert!(!create(root, &path, &body(b"other")).unwrap());
        let taken = create_named(root, &path, &body(b"other")).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"ab");
        create_named(root, &root.join("two"), &body(b"c")).unwrap();
        overwrite(root, &path, &body(b"d")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"d");
        assert_eq!(fs::read_dir(root.join(TEMPORARY)).unwrap().count(), 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_being_created_has_no_name_that_a_kill_could_leave() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = unnamed(folder.path()).expect("this file system has files without a name");
        fill(&mut file, &body(b"a")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        link_unnamed(&file, &folder.path().join("one")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_what_is_abandoned_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        sweep(root);
        let (old, new) =
            (Named::write(root, &body(b"")).unwrap(), Named::write(root, &body(b"")).unwrap());
        let file = File::options().write(true).open(&old.0).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        let long_ago = written - ABANDONED_AFTER - Duration::from_secs(1);
        file.set_modified(long_ago).unwrap();
        sweep(root);
        assert!(!old.0.exists() && new.0.exists());
        drop(new);
        sweep(root);
        assert!(!root.join(TEMPORARY).exists());
    }
}
