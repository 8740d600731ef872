//! [`Witness`]: a sink that lets others see, from outside, when it puts out something.
//!
//! Read by [`super::recovery`]. A file for each time that it is opened, in the worker's process:
//! when its first and its last output were. Invariant: the times are of the clock that all
//! processes of the machine share; the last one is exact once its task is gone.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_bench_stream::clock::monotonic_ns;
use millstream_worker::sink::{Prepared, Sink, SinkContext, Writer};
use millstream_worker::{Batch, Epoch, Guarantee, Result};

use crate::ours::ends::Nothing;

/// How far the last output that a file tells of may lie behind, while its task runs.
const BEHIND_NS: u64 = 1_000_000;
/// What the files begin with.
const PREFIX: &str = "output-";

/// Discards what comes.
#[derive(Clone)]
pub(super) struct Witness<T> {
    folder: PathBuf,
    marker: std::marker::PhantomData<fn(T)>,
}

impl<T> Witness<T> {
    /// Its files go into this folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, marker: std::marker::PhantomData }
    }
}

pub(super) struct Seen<T> {
    path: PathBuf,
    /// Once there was output.
    file: Option<File>,
    last_ns: u64,
    told_ns: u64,
    marker: std::marker::PhantomData<fn(T)>,
}

impl<T: Clone + Send + 'static> Sink for Witness<T> {
    type Item = T;
    type Pending = ();
    type Writer = Seen<T>;
    type Committer = Nothing;

    fn guarantee(&self) -> Guarantee {
        Guarantee::AtLeastOnce
    }

    fn open(&self, _: SinkContext) -> Result<(Seen<T>, Nothing)> {
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let opened = OPENED.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{PREFIX}{}-{opened}", std::process::id()));
        Ok((Seen { path, file: None, last_ns: 0, told_ns: 0, marker: self.marker }, Nothing))
    }
}

impl<T: Send + 'static> Writer for Seen<T> {
    type Item = T;
    type Pending = ();

    fn write(&mut self, _: Batch<T>) -> Result<()> {
        let now = monotonic_ns();
        self.last_ns = now;
        if self.file.is_none() {
            let file = File::create(&self.path)?;
            file.write_all_at(&[now.to_le_bytes(), now.to_le_bytes()].concat(), 0)?;
            self.file = Some(file);
            self.told_ns = now;
        } else if now - self.told_ns >= BEHIND_NS {
            self.tell()?;
        }
        Ok(())
    }

    fn prepare(&mut self, _: Epoch) -> Result<Prepared<()>> {
        Ok(Prepared::nothing())
    }
}

impl<T> Seen<T> {
    fn tell(&mut self) -> std::io::Result<()> {
        self.told_ns = self.last_ns;
        self.file.as_ref().map_or(Ok(()), |file| {
            file.write_all_at(&self.last_ns.to_le_bytes(), size_of::<u64>() as u64)
        })
    }
}

impl<T> Drop for Seen<T> {
    fn drop(&mut self) {
        let _ = self.tell();
    }
}

/// When a sink put out its first record, and its last so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Output {
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
}

/// Of all sinks that have put out something.
pub(super) fn outputs(folder: &Path) -> anyhow::Result<Vec<Output>> {
    let mut outputs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // One that is empty is about to be written.
        if let ([first, last], _) = fs::read(entry.path())?.as_chunks() {
            let [first_ns, last_ns] = [first, last].map(|bytes| u64::from_le_bytes(*bytes));
            outputs.push(Output { first_ns, last_ns });
        }
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_output_is_told_when_the_task_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{PREFIX}1"));
        let mut seen =
            Seen { path, file: None, last_ns: 0, told_ns: 0, marker: Default::default() };
        let batch = || Batch::untimed(vec![1u64]);
        seen.write(batch()).unwrap();
        let first = outputs(folder.path()).unwrap()[0];
        assert_eq!(first.first_ns, first.last_ns);
        seen.write(batch()).unwrap();
        drop(seen);
        let both = outputs(folder.path()).unwrap()[0];
        assert!(both.first_ns == first.first_ns && both.last_ns > first.last_ns);
    }
}
