//! Parts of snapshots: read from the store, or from this machine's disk where they are there.
//!
//! Used by [`crate::host`] for a restore and for what it uploads, and by [`crate::snapshots`].
//! Whatever is read is checked against the manifest that names it.

mod local;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use millstream_dataflow::snapshot::{Body, Store, append_checksum};
use millstream_dataflow::{Error, Kind, Result};
use millstream_protocol::id::Seq;
use millstream_protocol::log::PartRef;
use tokio::task::spawn_blocking;

pub use local::LocalParts;

/// What to do about a part that is damaged.
const MEND: &str = "restore from another snapshot, or bring the object back from a backup";
/// Read at once from a store, or from a disk to check it.
const STRETCH_BYTES: u64 = 16 << 20;
/// Parts that are read beside each other, each a stretch at a time.
const PARTS_AT_ONCE: usize = 4;

/// A part that was read, and how.
pub(crate) struct Read {
    pub(crate) body: Body,
    /// Whether the store was asked.
    pub(crate) from_store: bool,
}

/// Where parts are read.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) store: &'a dyn Store,
    /// Where copies lie, and are put.
    pub(crate) local: Option<&'a LocalParts>,
}

/// Reads the parts that a manifest names, in their order, and checks each against it. Errors name
/// the object.
pub(crate) async fn read_all<'a>(
    places: Places<'a>,
    parts: impl Iterator<Item = &'a PartRef>,
    manifest: Seq,
) -> Result<Vec<Read>> {
    let reads: Vec<_> = parts.map(|part| read(places, part, manifest)).collect();
    futures::stream::iter(reads).buffered(PARTS_AT_ONCE).try_collect().await
}

/// Reads a part that a manifest names, and checks it against that. Errors name the object.
pub(crate) async fn read(places: Places<'_>, part: &PartRef, manifest: Seq) -> Result<Read> {
    let Places { store, local } = places;
    let here = [store.local(&part.object), local.and_then(|local| local.path(&part.object))];
    for path in here.into_iter().flatten() {
        let part = part.clone();
        let checked = spawn_blocking(move || open_checked(&path, &part)).await;
        if let Ok(Some(body)) = checked {
            return Ok(Read { body, from_store: false });
        }
    }
    let damaged = |error: Error| match error.kind() {
        Kind::Corrupt => Error::corrupt(format!("{error}: {MEND}")),
        _ => error,
    };
    let body = fetch(places, part).await.map_err(damaged)?;
    if body.checksum() == part.crc32c {
        return Ok(Read { body, from_store: true });
    }
    Err(Error::corrupt(format!(
        "{}/{} does not match its checksum in manifest {manifest}: {MEND}",
        store.describe(),
        part.object
    )))
}

/// A part in a file that may hold other parts, parts of it, or nothing of it: what does not match
/// its checksum is not there.
fn open_checked(path: &Path, part: &PartRef) -> Option<Body> {
    let file = File::open(path).ok()?;
    let end = part.offset.checked_add(part.length)?;
    if file.metadata().ok()?.len() < end {
        return None;
    }
    let (mut sum, mut buffer) = (0, vec![0; part.length.min(STRETCH_BYTES) as usize]);
    for start in (part.offset..end).step_by(STRETCH_BYTES as usize) {
        let stretch = &mut buffer[..(end - start).min(STRETCH_BYTES) as usize];
        file.read_exact_at(stretch, start).ok()?;
        sum = append_checksum(sum, stretch);
    }
    let is_it = sum == part.crc32c;
    is_it.then(|| Body::of_file(Arc::new(file), part.offset, part.length, sum))
}

/// Reads a part from the store, into a local file where there is room for one.
async fn fetch(Places { store, local }: Places<'_>, part: &PartRef) -> Result<Body> {
    let into = local.and_then(|local| local.writer(&part.object));
    let (mut body, end) = (Body::default(), part.offset + part.length);
    for start in (part.offset..end).step_by(STRETCH_BYTES as usize) {
        let length = (end - start).min(STRETCH_BYTES);
        let bytes = store.read_range(&part.object, start, length).await?;
        let stretch = match &into {
            Some(file) => {
                let file = file.clone();
                let written = spawn_blocking(move || put(&file, start, bytes)).await;
                written.map_err(|error| Error::bug(error.to_string()))?
            }
            None => bytes.into(),
        };
        body.append(stretch);
    }
    Ok(body)
}

/// Bytes in a file, or in memory where the disk takes no more.
fn put(file: &Arc<File>, start: u64, bytes: Vec<u8>) -> Body {
    let sum = append_checksum(0, &bytes);
    match file.write_all_at(&bytes, start) {
        Ok(()) => Body::of_file(file.clone(), start, bytes.len() as u64, sum),
        Err(_) => bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use millstream_dataflow::snapshot::Put;
    use millstream_protocol::id::{Epoch, TaskIndex, WorkerIndex};
    use millstream_protocol::path::JobPrefix;

    use super::*;
    use crate::store::{FileStore, MemoryStore};

    const OBJECT: &str = "parts/1/2/0-a";

    fn part(bytes: &[u8], offset: u64, length: u64) -> PartRef {
        let stretch = &bytes[offset as usize..(offset + length) as usize];
        PartRef {
            object: OBJECT.to_owned(),
            offset,
            length,
            crc32c: append_checksum(0, stretch),
            epoch: Epoch(2),
            task: TaskIndex(0),
            groups: None,
        }
    }

    fn bytes() -> Vec<u8> {
        (0..10_000_u32).flat_map(u32::to_le_bytes).collect()
    }

    fn local(folder: &Path) -> LocalParts {
        let job = JobPrefix::new("s3://bucket/x".parse().unwrap(), "default", "job").unwrap();
        LocalParts::open(folder, &job, WorkerIndex(0)).unwrap()
    }

    async fn stored(store: &dyn Store, bytes: &[u8]) {
        assert_eq!(store.create(OBJECT, bytes).await.unwrap(), Put::Created);
    }

    async fn read_of(places: Places<'_>, part: &PartRef) -> (Vec<u8>, bool) {
        let read = read(places, part, Seq(7)).await.unwrap();
        (read.body.to_bytes().unwrap(), read.from_store)
    }

    #[tokio::test]
    async fn what_was_read_once_is_read_from_the_disk() {
        let (folder, bytes, store) =
            (tempfile::tempdir().unwrap(), bytes(), MemoryStore::default());
        stored(&store, &bytes).await;
        let (one, other) = (part(&bytes, 100, 5000), part(&bytes, 20_000, 1000));
        for (round, from_store) in [(0, true), (1, false)] {
            // As after a restart of the process.
            let local = local(folder.path());
            let places = Places { store: &store, local: Some(&local) };
            let read = (read_of(places, &one).await, read_of(places, &other).await);
            assert_eq!(read.0, (bytes[100..5100].to_vec(), from_store), "{round}");
            assert_eq!(read.1, (bytes[20_000..21_000].to_vec(), from_store), "{round}");
        }
    }

    #[tokio::test]
    async fn a_copy_that_is_damaged_or_gone_is_read_anew() {
        let (folder, bytes, store) =
            (tempfile::tempdir().unwrap(), bytes(), MemoryStore::default());
        stored(&store, &bytes).await;
        let local = local(folder.path());
        local.keep(OBJECT, &bytes.clone().into());
        let places = Places { store: &store, local: Some(&local) };
        let part = part(&bytes, 0, 5000);
        assert!(!read_of(places, &part).await.1);
        let path = local.path(OBJECT).unwrap();
        let damages: [fn(&Path); 3] = [
            |path| std::fs::write(path, [0; 6000]).unwrap(),
            |path| File::options().write(true).open(path).unwrap().set_len(4999).unwrap(),
            |path| std::fs::remove_file(path).unwrap(),
        ];
        for damage in damages {
            damage(&path);
            assert_eq!(read_of(places, &part).await, (bytes[..5000].to_vec(), true));
            assert!(!read_of(places, &part).await.1);
        }
    }

    #[tokio::test]
    async fn a_store_on_this_machine_is_read_where_it_lies_and_without_a_disk_memory_does() {
        let (folder, bytes) = (tempfile::tempdir().unwrap(), bytes());
        let files = FileStore::new(folder.path().join("store"));
        stored(&files, &bytes).await;
        let part = part(&bytes, 7, 100);
        let places = Places { store: &files, local: None };
        assert_eq!(read_of(places, &part).await, (bytes[7..107].to_vec(), false));
        let store = MemoryStore::default();
        stored(&store, &bytes).await;
        let gone = local(folder.path());
        std::fs::remove_dir_all(gone.path(OBJECT).unwrap().parent().unwrap()).unwrap();
        let places = Places { store: &store, local: Some(&gone) };
        assert_eq!(read_of(places, &part).await, (bytes[7..107].to_vec(), true));
    }

    #[tokio::test]
    async fn what_does_not_match_the_manifest_is_refused() {
        let (bytes, store) = (bytes(), MemoryStore::default());
        stored(&store, &bytes).await;
        let wrong = PartRef { crc32c: 1, ..part(&bytes, 0, 10) };
        let error = read(Places { store: &store, local: None }, &wrong, Seq(7)).await;
        let error = error.err().unwrap();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().contains("in manifest 7"), "{error}");
    }
}
