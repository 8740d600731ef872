//! [`FileSink`]: writes records to files that appear complete, each record in one of them, once.
//!
//! The address decides ([`way`]). In a directory, [`write`](mod@write) writes below `.pending/` and
//! says at the cut which files belong to the snapshot; when that is published,
//! [`commit`](mod@commit) moves them into the directory. [`name`](mod@name) spells every path.
//! In a bucket, `object` does the same with uploads. Invariant: a file that can be seen is
//! complete, durable, and named by a published snapshot.

mod commit;
mod name;
#[cfg(feature = "s3")]
mod object;
mod pending;
#[cfg(test)]
mod tests;
mod way;
mod write;

use std::path::PathBuf;
use std::sync::Arc;

use millstream_protocol::access::Access;
use millstream_protocol::plan::Guarantee;
use serde::Serialize;

pub use pending::{
    FilePending, PendingFile, PendingFiles, PendingObject, PendingObjects, Uploading,
};
pub use way::{FileCommitter, FileWriter};

use super::super::format::{Csv, Encode, Json, Lines};
use super::address::Address;
use crate::error::{Error, Result};
use crate::sink::{Sink, SinkContext};
use commit::LocalCommitter;
use name::Names;
#[cfg(feature = "s3")]
use object::{Keys, ObjectCommitter, ObjectWriter};
use write::LocalWriter;

/// How large a file gets before the next is begun. Large enough to be read fast, small enough to be
/// read soon: as HDFS and S3 tools have it.
const ROLL_BYTES: u64 = 128 * 1024 * 1024;

/// A sink of files in a directory, exactly once.
///
/// Files appear when the snapshot that their records belong to is published, complete, under the
/// name `<prefix>-<run>-<epoch>-<task>-<number>.<format>`. Until then they lie in `.pending/` below
/// the directory, which must be on storage that every worker shares, and on one file system.
///
/// With the feature `s3` the directory may be a prefix of a bucket, `s3://bucket/prefix`. Each
/// object is a multipart upload there, completed when its snapshot is published, under the name
/// `<prefix>-<epoch>-<run>-<task>-<number>.<format>`.
///
/// ```
/// use millstream_dataflow::{Job, connector::{collection::Collection, files::FileSink}};
/// let job = Job::new(Default::default());
/// job.source("numbers", Collection::of([1, 2, 3]))
///     .sink("out", FileSink::json("out/numbers").roll_bytes(16 << 20));
/// ```
#[derive(Clone, Debug)]
pub struct FileSink<F> {
    directory: PathBuf,
    prefix: Option<String>,
    format: F,
    roll_bytes: u64,
    access: Access,
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
        let (prefix, access) = (None, Access::default());
        Self { directory: directory.into(), prefix, format, roll_bytes: ROLL_BYTES, access }
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

    /// Where a bucket is reached, `http://` or `https://`; by default AWS, or what the environment
    /// and the profile name. For addresses in S3 alone, as the next two.
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::FileSink;
    /// let sink = FileSink::lines("s3://logs/out").endpoint("http://minio:9000");
    /// ```
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.access.endpoint = Some(url.into());
        self
    }

    /// The region of the bucket; by default what environment, profile or instance name.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.access.region = Some(region.into());
        self
    }

    /// Whether the bucket stands in the path of a request, rather than in its host name; by default
    /// where there is an endpoint.
    #[must_use]
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.access.path_style = Some(path_style);
        self
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
        let text = self.directory.to_str().ok_or_else(|| {
            Error::invalid(format!("the path {} is not UTF-8", self.directory.display()))
        })?;
        let address = Address::parse(text)?;
        address.check(&self.access)?;
        match address {
            Address::Path(directory) => {
                let (prefix, extension) = (self.prefix.as_deref(), self.format.extension());
                let names = Arc::new(Names::new(&directory, prefix, &ctx, extension)?);
                let writer =
                    LocalWriter::open(names.clone(), self.format.clone(), self.roll_bytes)?;
                Ok((writer.into(), LocalCommitter::new(names).into()))
            }
            #[cfg(feature = "s3")]
            Address::Bucket { bucket, key } => {
                let (prefix, extension) = (self.prefix.as_deref(), self.format.extension());
                let keys = Keys::new((bucket, key), prefix, &ctx, extension)?;
                let keys = Arc::new(keys.reached_by(self.access.clone()));
                let writer =
                    ObjectWriter::open(keys.clone(), self.format.clone(), self.roll_bytes)?;
                Ok((writer.into(), ObjectCommitter::new(keys).into()))
            }
            #[cfg(not(feature = "s3"))]
            Address::Bucket { bucket, key } => Err(super::address::not_built(&bucket, &key)),
        }
    }
}
