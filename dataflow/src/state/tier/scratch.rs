//! [`Scratch`]: a folder that goes with whoever made it.
//!
//! Used by [`super::rocks`]. A lock on the file beside it says that its maker lives; the lock is
//! the system's and ends with the process, however that ends. So whoever makes a folder first
//! removes those whose makers are gone.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Context as _, Kind, Result};

const LOCK: &str = "lock";

/// A folder of its own in another.
pub(crate) struct Scratch {
    path: PathBuf,
    /// Held for as long as the folder is in use.
    lock: Option<File>,
}

impl Scratch {
    /// Makes one, and removes what others left behind that are gone.
    pub(crate) fn make(parent: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let cannot = || {
            let path = parent.display();
            format!("cannot make a folder for local state in {path}: set TMPDIR to another place")
        };
        fs::create_dir_all(parent).or_kind(Kind::Unavailable, cannot)?;
        remove_left(parent);
        let name = format!("{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        // Locked before there is a folder: one without a lock has no maker.
        let lock = open_lock(&path).or_kind(Kind::Unavailable, cannot)?;
        lock.lock().or_kind(Kind::Unavailable, cannot)?;
        DirBuilder::new().mode(0o700).create(&path).or_kind(Kind::Unavailable, cannot)?;
        Ok(Self { path, lock: Some(lock) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.path);
        drop(self.lock.take());
    }
}

fn lock_path(path: &Path) -> PathBuf {
    path.with_extension(LOCK)
}

fn open_lock(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(lock_path(path))
}

fn remove(path: &Path) {
    for result in [fs::remove_dir_all(path), fs::remove_file(lock_path(path))] {
        if let Err(error) = result {
            tracing::warn!("{} is left behind: {error}", path.display());
        }
    }
}

/// Removes the folders of makers that are gone.
fn remove_left(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        let Ok(lock) = open_lock(&path) else { continue };
        match lock.try_lock() {
            Ok(()) => {
                tracing::info!(
                    "removing {}, left behind by a process that is gone",
                    path.display()
                );
                remove(&path);
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_behind_goes_and_what_is_in_use_stays() {
        let home = tempfile::tempdir().unwrap();
        let parent = home.path().join("state");
        let left = parent.join("1-0");
        fs::create_dir_all(left.join("deep")).unwrap();
        fs::write(left.with_extension(LOCK), "").unwrap();
        let first = Scratch::make(&parent).unwrap();
        assert!(!left.exists() && !left.with_extension(LOCK).exists());
        fs::write(first.path().join("file"), "x").unwrap();
        let second = Scratch::make(&parent).unwrap();
        assert!(first.path().join("file").exists());
        drop(first);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 2);
        drop(second);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    }
}
