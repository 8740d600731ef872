//! [`LocalCommitter`]: moves the files of published snapshots to where they are read.
//!
//! Receives what [`super::write`] prepared, from the engine after the snapshot is published or,
//! after a restore, out of the snapshot. Invariant: a repeated commit changes nothing, and no file
//! is ever replaced. Whoever reads the files may move them away, so that a commit happened is noted
//! beside the files that wait.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use millstream_protocol::id::{Epoch, Run};

use super::super::fail;
use super::name::{Names, sync_directory};
use super::pending::{PendingFile, PendingFiles};
use crate::error::{Error, Result};

/// Looks after the directory of one task.
#[derive(Clone, Debug)]
pub(super) struct LocalCommitter {
    names: Arc<Names>,
}

impl LocalCommitter {
    pub(super) fn new(names: Arc<Names>) -> Self {
        Self { names }
    }

    /// Fails where the directory knows more than the history that goes on at this epoch.
    pub(super) async fn look(&self, epoch: Epoch) -> Result<()> {
        let names = self.names.clone();
        blocking(move || look_at_notes(&names, epoch)).await
    }

    /// Removes what lower runs left, once all that waits is moved.
    pub(super) async fn clear(&self, epoch: Epoch) -> Result<()> {
        let names = self.names.clone();
        blocking(move || clear(&names, epoch)).await
    }
}

/// Moves files to where they are read.
pub(super) async fn publish_files(pending: PendingFiles) -> Result<()> {
    blocking(move || publish(&pending)).await
}

/// Does work that waits for a disk where it may.
async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::bug(format!("a commit of files did not end: {error}"))))
}

/// Moves files to where they are read, durably.
fn publish(pending: &PendingFiles) -> Result<()> {
    let Some(waiting) = pending.files.first().and_then(|file| Path::new(&file.pending).parent())
    else {
        return Ok(());
    };
    let done = Names::done(waiting, pending.task);
    let is_noted = || Ok::<_, Error>(noted(&done)? >= Some(pending.epoch));
    if !is_noted()? {
        let lost = lost(pending)?;
        // Somebody else who commits the same snapshot may have moved it since, and its reader taken
        // it away.
        if let Some(file) = lost.filter(|_| !matches!(is_noted(), Ok(true))) {
            return Err(Error::corrupt(format!(
                "{} is gone, and the snapshot counts on it: put it back, or give the job up \
                 (snapshots delete)",
                file.pending
            )));
        }
        // Before the first file moves: a file that is nowhere from here on was moved, and its
        // reader took it away.
        note(&done, pending.epoch)?;
    }
    let mut directories = BTreeSet::new();
    for file in &pending.files {
        reveal(file)?;
        directories.extend(Path::new(&file.target).parent());
    }
    directories.into_iter().try_for_each(sync_directory)
}

/// The newest epoch whose commit is noted: it has begun at least.
fn noted(done: &Path) -> Result<Option<Epoch>> {
    match std::fs::read_to_string(done) {
        // A note that was cut short by a crash is none.
        Ok(text) => Ok(text.strip_suffix('\n').and_then(|text| text.parse().ok()).map(Epoch)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail("cannot read", done, error)),
    }
}

/// Notes that an epoch is being committed, durably. Only ever a newer one: see the caller.
fn note(done: &Path, epoch: Epoch) -> Result<()> {
    let write = || {
        let mut file = std::fs::File::create(done)?;
        file.write_all(format!("{epoch}\n").as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| fail("cannot write", done, error))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(fail("cannot remove", path, error))
        }
        _ => Ok(()),
    }
}

/// A file that is neither where it waits nor where it is to appear.
fn lost(pending: &PendingFiles) -> Result<Option<&PendingFile>> {
    for file in &pending.files {
        if !is_there(&file.pending)? && !is_there(&file.target)? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn is_there(path: &str) -> Result<bool> {
    let path = Path::new(path);
    path.try_exists().map_err(|error| fail("cannot look at", path, error))
}

/// Moves a file, unless that was done before.
fn reveal(file: &PendingFile) -> Result<()> {
    let (pending, target) = (Path::new(&file.pending), Path::new(&file.target));
    if !is_there(&file.pending)? {
        return Ok(());
    }
    if is_there(&file.target)? {
        return Err(Error::invalid(format!(
            "{} exists and is not of this sink: give the sink a directory or a prefix of its own",
            target.display()
        )));
    }
    match std::fs::rename(pending, target) {
        // Somebody else who commits the same snapshot was faster.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        renamed => renamed.map_err(|error| fail("cannot move a finished file to", target, error)),
    }
}

/// Fails if snapshots were committed here that the history which goes on at `epoch` does not know:
/// whoever put an old store back would find the results since then twice. Each task looks at the
/// notes of all, so that one message says all that is to be removed.
fn look_at_notes(names: &Names, epoch: Epoch) -> Result<()> {
    let mut newest = epoch;
    for name in names_waiting(names)?.iter().filter(|name| Names::noted_by(name).is_some()) {
        newest = newest.max(noted(&names.waiting().join(name))?.unwrap_or_default());
    }
    if newest == epoch {
        return Ok(());
    }
    let (directory, files) = (names.directory().display(), names.targets());
    if epoch > Epoch(0) {
        return Err(Error::invalid(format!(
            "{directory} holds results up to snapshot {newest}, and the job goes on at snapshot \
             {epoch}: results since then would be there twice. Was an old store put back, or an \
             older snapshot restored? To go on all the same, remove every {files} whose epoch is \
             above {epoch}, and {}",
            names.notes()
        )));
    }
    // Once per sink.
    if names.task == 0 {
        tracing::warn!(
            "sink {}: {directory} holds results of this job up to snapshot {newest}, and the job \
             begins anew: results are there twice unless every {files} that is there now is \
             removed",
            names.sink
        );
    }
    Ok(())
}

fn names_waiting(names: &Names) -> Result<Vec<String>> {
    let waiting = names.waiting();
    let listed = std::fs::read_dir(waiting).and_then(|entries| {
        let all = entries.map(|entry| Ok(entry?.file_name().into_string().ok()));
        all.filter_map(std::io::Result::transpose).collect()
    });
    listed.map_err(|error: std::io::Error| fail("cannot list", waiting, error))
}

/// Removes what lower runs left and no snapshot names: what the snapshot named has been moved.
///
/// The notes stay where a job begins anew in its log: its epochs rise above those that are noted,
/// and whoever then goes back behind them is still to be told. In a log of its own, which begins
/// with run 1, epochs count from 1 again, and what is noted of another log says nothing of them.
fn clear(names: &Names, epoch: Epoch) -> Result<()> {
    for name in names_waiting(names)? {
        let is_other_log = epoch == Epoch(0) && names.run == Run(1);
        let is_note = is_other_log && names.is_note(&name);
        if is_note || names.is_left_over(&name) {
            remove(&names.waiting().join(name))?;
        }
    }
    Ok(())
}
