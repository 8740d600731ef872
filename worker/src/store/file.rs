//! A store in a directory: for local runs.
//!
//! An object is created by writing a file, bringing it to disk, and linking it into place: link(2)
//! refuses a name that exists, so one of several attempts wins, and a file is whole or not there.

mod whole;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use async_trait::async_trait;
use millstream_dataflow::snapshot::{Body, Put, Store};
use millstream_dataflow::{Context as _, Error, Kind, Result};

/// More than any object that Kubernetes takes.
const JOB_BYTES_MAX: u64 = 2 << 20;

/// So often a directory is made for a new object: whoever deletes the last one in it removes it.
const DIRECTORY_ATTEMPTS: u32 = 5;

/// A store in a directory.
#[derive(Clone, Debug)]
pub struct FileStore {
    root: PathBuf,
    /// What others left is removed once, before the first write.
    swept: Arc<Once>,
}

impl FileStore {
    /// A store below this directory, which is made when the first object is created.
    pub fn new(root: PathBuf) -> Self {
        Self { root, swept: Arc::new(Once::new()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn create_now(&self, name: &str, body: &Body) -> io::Result<Put> {
        let path = self.path(name);
        let put = match fs::symlink_metadata(&path) {
            Ok(there) if there.is_dir() => return Err(ErrorKind::IsADirectory.into()),
            Ok(_) => return Ok(Put::Exists),
            Err(_) => self.write_in(&path, |root| whole::create(root, &path, body))?,
        };
        Ok(if put { Put::Created } else { Put::Exists })
    }

    fn overwrite_now(&self, name: &str, body: &Body) -> io::Result<()> {
        let path = self.path(name);
        self.write_in(&path, |root| whole::overwrite(root, &path, body))
    }

    /// Writes a file in its directory, which is made, and brought to disk behind it.
    fn write_in<R>(&self, path: &Path, write: impl Fn(&Path) -> io::Result<R>) -> io::Result<R> {
        self.swept.call_once(|| whole::sweep(&self.root));
        let folder = path.parent().unwrap_or(&self.root);
        let mut attempts = 0;
        let written = loop {
            attempts += 1;
            let written = fs::create_dir_all(folder).and_then(|()| write(&self.root));
            match written {
                // The latter of a directory that was there when it was to be made, and is gone.
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists)
                        && attempts < DIRECTORY_ATTEMPTS => {}
                written => break written?,
            }
        };
        File::open(folder)?.sync_all()?;
        Ok(written)
    }

    /// Removes a file, and every directory that is empty without it.
    fn delete_now(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let above = path.ancestors().skip(1).take_while(|it| it.starts_with(&self.root));
        for folder in above {
            if folder == self.root {
                let _ = fs::remove_dir(folder.join(whole::TEMPORARY));
            }
            // One that holds something else stays, and so does what lies above it.
            match fs::remove_dir(folder) {
                Err(error) if error.kind() != ErrorKind::NotFound => break,
                _ => {}
            }
        }
        Ok(())
    }

    fn list_now(&self, prefix: &str, after: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        // A prefix may end within a name: list its folder, keep what matches.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        collect(&self.root, folder, &mut names)?;
        names.retain(|name| name.starts_with(prefix) && name.as_str() > after);
        names.sort_unstable();
        Ok(names)
    }

    async fn run<R: Send + 'static>(
        &self,
        what: &'static str,
        name: &str,
        work: impl FnOnce(&Self) -> io::Result<R> + Send + 'static,
    ) -> Result<R> {
        let (store, path) = (self.clone(), self.path(name));
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        let done = done.map_err(|error| Error::bug(format!("{what}: {error}")))?;
        done.map_err(|error| failure(what, &path, &error))
    }
}

fn failure(what: &str, path: &Path, error: &io::Error) -> Error {
    // A full disk may be emptied and a stale mount come back; a path that is wrong, or closed to
    // us, stays so.
    let (kind, hint) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (Kind::Unavailable, ": free some space")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            (Kind::Invalid, ": the user that runs the job must be able to write there")
        }
        // Directories that are missing are made: where one cannot be found, none can be made.
        ErrorKind::NotADirectory | ErrorKind::InvalidFilename | ErrorKind::NotFound => {
            (Kind::Invalid, ": correct spec.snapshots.store")
        }
        ErrorKind::IsADirectory => {
            (Kind::Invalid, ": a file of the job belongs there: move what is there away")
        }
        _ => (Kind::Unavailable, ""),
    };
    Error::new(kind, format!("cannot {what} {}: {error}{hint}", path.display()))
}

fn collect(root: &Path, folder: &str, names: &mut Vec<String>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if name.starts_with('.') {
            continue;
        }
        let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if entry.file_type()?.is_dir() {
            collect(root, &name, names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[async_trait]
impl Store for FileStore {
    async fn create(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        self.create_of(name, &bytes.to_vec().into()).await
    }

    async fn create_of(&self, name: &str, body: &Body) -> Result<Put> {
        let (object, body) = (name.to_owned(), body.clone());
        self.run("write", name, move |store| store.create_now(&object, &body)).await
    }

    async fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (object, body) = (name.to_owned(), bytes.to_vec().into());
        self.run("write", name, move |store| store.overwrite_now(&object, &body)).await
    }

    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let object = name.to_owned();
        self.run("read", name, move |store| match fs::read(store.path(&object)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn read_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
        let object = name.to_owned();
        let path = self.path(name);
        let read = move |store: &Self| {
            let mut file = File::open(store.path(&object))?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        let bytes = self.run("read", name, move |store| match read(store) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            bytes => bytes.map(Some),
        });
        let bytes = bytes.await?;
        let bytes =
            bytes.ok_or_else(|| Error::corrupt(format!("{} is missing", path.display())))?;
        if bytes.len() as u64 != length {
            let message = format!("{} is shorter than the manifest says", path.display());
            return Err(Error::corrupt(message));
        }
        Ok(bytes)
    }

    fn local(&self, name: &str) -> Option<PathBuf> {
        Some(self.path(name))
    }

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>> {
        let (from, behind) = (prefix.to_owned(), after.to_owned());
        self.run("list", prefix, move |store| store.list_now(&from, &behind)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let object = name.to_owned();
        self.run("delete", name, move |store| store.delete_now(&object)).await
    }

    fn describe(&self) -> String {
        format!("file://{}", self.root.display())
    }
}

/// Reads a job's file for [`crate::config`]; here because stores and config share the wording.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let attempt = || format!("cannot read {}", path.display());
    let file = File::open(path).or_kind(Kind::Invalid, attempt)?;
    let mut text = String::new();
    let read = file.take(JOB_BYTES_MAX + 1).read_to_string(&mut text);
    read.or_kind(Kind::Invalid, attempt)?;
    if text.len() as u64 > JOB_BYTES_MAX {
        let mebibytes = JOB_BYTES_MAX >> 20;
        return Err(Error::invalid(format!(
            "{}: has more than {mebibytes} MiB, and is not the file of a StreamJob",
            path.display()
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn a_directory_goes_with_the_last_object_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("default/job");
        let store = FileStore::new(root.clone());
        for name in ["log/1", "parts/1/1/0-a", "parts/1/2/0-b", "parts/1/2/0-c"] {
            store.create(name, b"x").await.unwrap();
        }
        store.delete("parts/1/1/0-a").await.unwrap();
        store.delete("parts/1/2/0-c").await.unwrap();
        assert_eq!(names(&root.join("parts/1")), ["2"]);
        store.delete("parts/1/2/0-b").await.unwrap();
        assert_eq!(names(&root), ["log"]);
        store.overwrite("log/1", b"y").await.unwrap();
        store.delete("log/1").await.unwrap();
        assert!(!root.exists() && folder.path().join("default").exists());
    }

    #[tokio::test]
    async fn directories_that_come_and_go_are_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().join("job"));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let store = store.clone();
            writers.spawn(async move {
                for round in 0..50 {
                    let name = format!("parts/1/{round}/{writer}");
                    assert_eq!(store.create(&name, b"x").await.unwrap(), Put::Created);
                    store.delete(&name).await.unwrap();
                }
            });
        }
        writers.join_all().await;
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[tokio::test]
    async fn where_no_file_can_be_nothing_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileStore::new(folder.path().to_owned());
        fs::create_dir_all(folder.path().join("log/1")).unwrap();
        for error in [
            store.create("log/1", b"x").await.unwrap_err(),
            store.read("log/1").await.unwrap_err(),
            FileStore::new("/proc/x".into()).create("log/1", b"x").await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
            assert!(error.to_string().contains("/log/1: "), "{error}");
        }
    }
}
