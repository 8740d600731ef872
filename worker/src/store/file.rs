//! A store in a directory: for local runs.
//!
//! An object is created by writing a file of another name, bringing it to disk, and linking it into
//! place: link(2) refuses a name that exists, so one of several attempts wins, and a file is whole
//! or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use millstream_dataflow::snapshot::{Put, Store};
use millstream_dataflow::{Context as _, Error, Kind, Result};
use uuid::Uuid;

/// Where files lie until they are linked into place. No object's name starts with a dot.
const TEMPORARY: &str = ".temporary";

/// A store in a directory.
#[derive(Clone, Debug)]
pub struct FileStore {
    root: PathBuf,
}

impl FileStore {
    /// A store below this directory, which is made when the first object is created.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes the pieces to a file of its own, and brings them to disk.
    fn write_temporary(&self, pieces: &[Vec<u8>]) -> io::Result<PathBuf> {
        let folder = self.root.join(TEMPORARY);
        fs::create_dir_all(&folder)?;
        let path = folder.join(Uuid::new_v4().to_string());
        let written =
            OpenOptions::new().write(true).create_new(true).open(&path).and_then(|mut file| {
                pieces.iter().try_for_each(|piece| file.write_all(piece))?;
                file.sync_all()
            });
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(path)
    }

    fn create_now(&self, name: &str, pieces: &[Vec<u8>]) -> io::Result<Put> {
        let path = self.path(name);
        if path.exists() {
            return Ok(Put::Exists);
        }
        let temporary = self.write_temporary(pieces)?;
        let linked = make_parent(&path).and_then(|()| fs::hard_link(&temporary, &path));
        let _ = fs::remove_file(&temporary);
        match linked {
            Ok(()) => sync_folder(&path).map(|()| Put::Created),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Put::Exists),
            Err(error) => Err(error),
        }
    }

    fn overwrite_now(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let path = self.path(name);
        let temporary = self.write_temporary(&[bytes])?;
        make_parent(&path)?;
        fs::rename(&temporary, &path)?;
        sync_folder(&path)
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
        ErrorKind::NotADirectory | ErrorKind::InvalidFilename => {
            (Kind::Invalid, ": correct spec.snapshots.store")
        }
        _ => (Kind::Unavailable, ""),
    };
    Error::new(kind, format!("cannot {what} {}: {error}{hint}", path.display()))
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
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
        self.create_of(name, vec![bytes.to_vec()]).await
    }

    async fn create_of(&self, name: &str, pieces: Vec<Vec<u8>>) -> Result<Put> {
        let object = name.to_owned();
        self.run("write", name, move |store| store.create_now(&object, &pieces)).await
    }

    async fn overwrite(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let (object, bytes) = (name.to_owned(), bytes.to_vec());
        self.run("write", name, move |store| store.overwrite_now(&object, bytes)).await
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

    async fn list(&self, prefix: &str, after: &str) -> Result<Vec<String>> {
        let (from, behind) = (prefix.to_owned(), after.to_owned());
        self.run("list", prefix, move |store| store.list_now(&from, &behind)).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let object = name.to_owned();
        self.run("delete", name, move |store| match fs::remove_file(store.path(&object)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await
    }

    fn describe(&self) -> String {
        format!("file://{}", self.root.display())
    }
}

/// Reads a job's file for [`crate::config`]; here because stores and config share the wording.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).or_kind(Kind::Invalid, || format!("cannot read {}", path.display()))
}
