//! [`FileCommitter`]: moves the files of published snapshots to where they are read.
//!
//! Receives what [`super::write`] prepared, from the engine after the snapshot is published or, after a
//! restore, out of the snapshot. Invariant: a repeated commit changes nothing, and no file is ever replaced.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use millstream_protocol::id::Epoch;

use super::super::fail;
use super::name::{Names, sync_directory};
use super::{FilePending, PendingFile};
use crate::error::{Error, Result};
use crate::sink::Committer;

/// Makes the files of one task appear.
#[derive(Clone, Debug)]
pub struct FileCommitter {
    names: Arc<Names>,
}

impl FileCommitter {
    pub(super) fn new(names: Arc<Names>) -> Self {
        Self { names }
    }
}

#[async_trait]
impl Committer for FileCommitter {
    type Pending = FilePending;

    async fn commit(&self, _: Epoch, pending: FilePending) -> Result<()> {
        blocking(move || publish(&pending)).await
    }

    async fn recover(&self, _: Epoch, pending: Vec<FilePending>) -> Result<()> {
        let names = self.names.clone();
        blocking(move || {
            pending.iter().try_for_each(publish)?;
            clear(&names)
        })
        .await
    }
}

/// Does work that waits for a disk where it may.
async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::bug(format!("a commit of files did not end: {error}"))))
}

/// Moves files to where they are read, durably.
fn publish(pending: &FilePending) -> Result<()> {
    let mut directories = BTreeSet::new();
    for file in &pending.files {
        reveal(file)?;
        directories.extend(Path::new(&file.target).parent());
    }
    directories.into_iter().try_for_each(sync_directory)
}

/// Moves a file, unless that was done before.
fn reveal(file: &PendingFile) -> Result<()> {
    let (pending, target) = (Path::new(&file.pending), Path::new(&file.target));
    let is_there = target.try_exists().map_err(|error| fail("cannot look at", target, error))?;
    let waits = pending.try_exists().map_err(|error| fail("cannot look at", pending, error))?;
    match (waits, is_there) {
        (true, false) => match std::fs::rename(pending, target) {
            // Somebody else who commits the same snapshot was faster.
            Err(error) if error.kind() == ErrorKind::NotFound && target.exists() => Ok(()),
            renamed => {
                renamed.map_err(|error| fail("cannot move a finished file to", target, error))
            }
        },
        (false, true) => Ok(()),
        (true, true) => Err(Error::invalid(format!(
            "{} exists and is not of this sink: give the sink a directory or a prefix of its own",
            target.display()
        ))),
        (false, false) => Err(Error::corrupt(format!(
            "{} is gone, and the snapshot counts on it: put it back, or restore an older snapshot",
            pending.display()
        ))),
    }
}

/// Removes what lower runs left and no snapshot names: what the snapshot named has been moved.
fn clear(names: &Names) -> Result<()> {
    let waiting = names.waiting();
    let entries =
        std::fs::read_dir(waiting).map_err(|error| fail("cannot list", waiting, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| fail("cannot list", waiting, error))?;
        if !entry.file_name().to_str().is_some_and(|name| names.is_left_over(name)) {
            continue;
        }
        match std::fs::remove_file(entry.path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(fail("cannot remove", &entry.path(), error));
            }
            _ => {}
        }
    }
    Ok(())
}
