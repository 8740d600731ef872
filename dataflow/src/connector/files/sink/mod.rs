//! [`FileSink`]: writes records to files that appear complete, each record in one of them, once.
//!
//! [`FileWriter`] writes below `.pending/` and says at the cut which files belong to the snapshot;
//! when that is published, [`FileCommitter`] moves them into the directory. [`name`] spells every
//! path. Invariant: a file in the directory is complete, durable, and named by a published
//! snapshot.

mod commit;
mod name;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use millstream_protocol::id::Epoch;
use millstream_protocol::plan::Guarantee;
use serde::{Deserialize, Serialize};

pub use commit::FileCommitter;
pub use write::FileWriter;

use super::super::format::{Csv, Encode, Json, Lines};
use crate::error::Result;
use crate::sink::{Sink, SinkContext};
use name::Names;

/// How large a file gets before the next is begun. Large enough to be read fast, small enough to be
/// read soon: as HDFS and S3 tools have it.
const ROLL_BYTES: u64 = 128 * 1024 * 1024;

/// A sink of files in a directory, exactly once.
///
/// Files appear when the snapshot that their records belong to is published, complete, under the
/// name `<prefix>-<run>-<epoch>-<task>-<number>.<format>`. Until then they lie in `.pending/` below
/// the directory, which must be on storage that every worker shares, and on one file system.
///
/// ```
/// use millstream_dataflow::{Job, connector::{collection::Collection, files::FileSink}};
/// let mut job = Job::new(Default::default());
/// job.source("numbers", Collection::of([1, 2, 3]))
///     .sink("out", FileSink::json("out/numbers").roll_bytes(16 << 20));
/// ```
#[derive(Clone, Debug)]
pub struct FileSink<F> {
    directory: PathBuf,
    prefix: Option<String>,
    format: F,
    roll_bytes: u64,
}

/// A file that waits for its snapshot to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingFile {
    /// Where it lies.
    pub pending: String,
    /// Where it will appear.
    pub target: String,
}

/// The files of one task and epoch that wait for their snapshot to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePending {
    /// The epoch.
    pub epoch: Epoch,
    /// The task that wrote them.
    pub task: u32,
    /// The files, in the order in which they were written.
    pub files: Vec<PendingFile>,
}

impl FileSink<Lines> {
    /// Writes a JSON value per line, to files that end in `.ndjson`.
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::FileSink;
    /// let sink = FileSink::json::<(String, f64)>("out").prefix("averages");
    /// ```
    pub fn json<T: Serialize + Send + 'static>(directory: impl Into<PathBuf>) -> FileSink<Json<T>> {
        FileSink::of(directory, Json::new())
    }

    /// Writes comma-separated values, to files that end in `.csv`; each begins with a header line
    /// where the records are structs.
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::FileSink;
    /// let sink = FileSink::csv::<(String, f64)>("out").delimiter(b';');
    /// ```
    pub fn csv<T: Serialize + Send + 'static>(directory: impl Into<PathBuf>) -> FileSink<Csv<T>> {
        FileSink::of(directory, Csv::new())
    }

    /// Writes strings as lines, to files that end in `.txt`.
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::FileSink;
    /// let sink = FileSink::lines("out");
    /// ```
    pub fn lines(directory: impl Into<PathBuf>) -> Self {
        FileSink::of(directory, Lines)
    }
}

impl<F: Encode> FileSink<F> {
    /// Writes a format of your own.
    pub fn of(directory: impl Into<PathBuf>, format: F) -> Self {
        Self { directory: directory.into(), prefix: None, format, roll_bytes: ROLL_BYTES }
    }

    /// What the names of files begin with, instead of `<namespace>.<job>.<sink>`. Sinks that share
    /// a directory need different ones.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), ..self }
    }

    /// Begins a new file when one holds so many bytes (128 MiB is the default). It exceeds them by
    /// at most a batch of records. A snapshot begins a new file in any case.
    #[must_use]
    pub fn roll_bytes(self, bytes: u64) -> Self {
        Self { roll_bytes: bytes.max(1), ..self }
    }
}

impl<T> FileSink<Csv<T>> {
    /// What stands between fields; a comma is the default.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.delimiter = delimiter;
        self
    }

    /// Leaves out the header line.
    #[must_use]
    pub fn without_header(mut self) -> Self {
        self.format.header = false;
        self
    }
}

impl<F: Encode> Sink for FileSink<F> {
    type Item = F::Record;
    type Pending = FilePending;
    type Writer = FileWriter<F>;
    type Committer = FileCommitter;

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, ctx: SinkContext) -> Result<(FileWriter<F>, FileCommitter)> {
        let prefix = self.prefix.as_deref();
        let names = Arc::new(Names::new(&self.directory, prefix, &ctx, self.format.extension())?);
        let writer = FileWriter::open(names.clone(), self.format.clone(), self.roll_bytes)?;
        Ok((writer, FileCommitter::new(names)))
    }
}
