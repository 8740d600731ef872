//! [`LocalParts`]: copies of parts on the disk of this machine, so that a process that starts where
//! one ran before reads little or nothing from the store.
//!
//! A cache and never the truth: what a copy holds is checked against the manifest by whoever reads
//! it, and a disk that fails costs a warning. A file per object, with each part where it lies in
//! the object; what was never read is a hole.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use millstream_dataflow::clock::{Clock as _, SystemClock};
use millstream_dataflow::snapshot::Body;
use millstream_protocol::id::{Epoch, WorkerIndex};
use millstream_protocol::path::{JobPrefix, Name};
use xxhash_rust::xxh3::xxh3_64;

/// Copies that nothing was added to or removed from for so long are of a job that is gone.
const ABANDONED_AFTER: Duration = Duration::from_hours(7 * 24);

/// The copies of one worker of a job.
#[derive(Clone, Debug)]
pub struct LocalParts {
    folder: PathBuf,
    /// Whether a failure of the disk was told.
    told: Arc<AtomicBool>,
}

impl LocalParts {
    /// The copies of a worker in a folder that is this user's; those of jobs that are gone are
    /// removed from it. None where the disk does not let us.
    pub(crate) fn open(base: &Path, job: &JobPrefix, worker: WorkerIndex) -> Option<Self> {
        let of_job = base.join(format!("{:016x}", xxh3_64(job.to_string().as_bytes())));
        let parts = Self { folder: of_job.join(worker.to_string()), told: Arc::default() };
        sweep(base, &of_job);
        fs::create_dir_all(&parts.folder).map_err(|error| parts.tell("make", &error)).ok()?;
        Some(parts)
    }

    /// Where the copy of an object lies, if there is one.
    pub(crate) fn path(&self, object: &str) -> Option<PathBuf> {
        // Names come from a manifest: only what is spelled as a part's becomes a path.
        let is_part = matches!(object.parse(), Ok(Name::Part(_)));
        is_part.then(|| self.folder.join(object.replace('/', "-")))
    }

    /// A file to write stretches of an object to.
    pub(crate) fn writer(&self, object: &str) -> Option<Arc<File>> {
        let path = self.path(object)?;
        // What is there of the object stays: another part of it was read before.
        let opened =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        opened.map(Arc::new).map_err(|error| self.tell("write", &error)).ok()
    }

    /// Keeps a copy of an object.
    pub(crate) fn keep(&self, object: &str, body: &Body) {
        let Some(file) = self.writer(object) else { return };
        let mut at = 0;
        let written = body.each(|bytes| {
            file.write_all_at(bytes, at)?;
            at += bytes.len() as u64;
            Ok(())
        });
        if let Err(error) = written {
            self.tell("write", &error);
            self.remove(object);
        }
    }

    /// Removes all copies but those of these objects, which the snapshot of this epoch names, and
    /// those of later epochs.
    pub(crate) fn retain(&self, epoch: Epoch, objects: &BTreeSet<String>) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default().replacen('-', "/", 3);
            let is_later = matches!(name.parse(), Ok(Name::Part(part)) if part.epoch > epoch);
            if !is_later && !objects.contains(&name) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes all of them: of a job that has ended.
    pub(crate) fn clear(&self) {
        let _ = fs::remove_dir_all(&self.folder);
        for folder in self.folder.ancestors().skip(1).take(2) {
            // Where other workers or jobs have copies, it stays.
            let _ = fs::remove_dir(folder);
        }
    }

    fn remove(&self, object: &str) {
        if let Some(path) = self.path(object) {
            let _ = fs::remove_file(path);
        }
    }

    /// Says once that there are no copies.
    fn tell(&self, verb: &str, error: &std::io::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "cannot {verb} local copies of parts in {}, so that the next start reads them from \
                 the store: {error}",
                self.folder.display()
            );
        }
    }
}

/// Removes the copies of jobs that are gone.
fn sweep(base: &Path, own: &Path) {
    let now = UNIX_EPOCH + Duration::from_millis(SystemClock::new().now().millis().unsigned_abs());
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        let of_workers = fs::read_dir(&path).into_iter().flatten().flatten();
        let changed = of_workers.filter_map(|it| it.metadata().ok()?.modified().ok()).max();
        let changed = changed.or_else(|| entry.metadata().ok()?.modified().ok()).unwrap_or(now);
        if path != own && now.duration_since(changed).is_ok_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_dir_all(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn job(name: &str) -> JobPrefix {
        JobPrefix::new("s3://bucket/x".parse().unwrap(), "default", name).unwrap()
    }

    #[test]
    fn what_a_snapshot_needs_and_what_is_under_way_is_kept() {
        let base = tempfile::tempdir().unwrap();
        let parts = LocalParts::open(base.path(), &job("a"), WorkerIndex(3)).unwrap();
        for object in ["parts/1/1/3-a", "parts/1/2/3-b", "parts/1/3/3-c", "parts/1/4/3-d"] {
            parts.keep(object, &b"x".to_vec().into());
        }
        parts.keep("parts/../../etc", &b"x".to_vec().into());
        fs::write(parts.folder.join("something"), "").unwrap();
        parts.retain(Epoch(3), &BTreeSet::from(["parts/1/1/3-a".into(), "parts/1/3/3-c".into()]));
        let left = ["parts-1-1-3-a", "parts-1-3-3-c", "parts-1-4-3-d"];
        assert_eq!(names(&parts.folder), left);
        let other = LocalParts::open(base.path(), &job("b"), WorkerIndex(0)).unwrap();
        parts.clear();
        assert_eq!(names(base.path()).len(), 1);
        other.clear();
        assert!(!base.path().exists());
    }

    #[test]
    fn copies_of_jobs_that_are_gone_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let old = LocalParts::open(base.path(), &job("old"), WorkerIndex(0)).unwrap();
        let young = LocalParts::open(base.path(), &job("young"), WorkerIndex(0)).unwrap();
        let long_ago = UNIX_EPOCH + Duration::from_secs(1);
        for folder in [&old.folder, old.folder.parent().unwrap()] {
            File::open(folder).unwrap().set_modified(long_ago).unwrap();
        }
        let own = LocalParts::open(base.path(), &job("own"), WorkerIndex(0)).unwrap();
        assert!(!old.folder.exists() && young.folder.exists() && own.folder.exists());
    }
}
