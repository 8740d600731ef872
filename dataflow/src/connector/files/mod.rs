//! Files: [`Files`] reads them, [`FileSink`] writes them.
//!
//! The source lists files ([`find`]), reads and decodes them on a thread of its own ([`thread`],
//! [`input`]), and hands them to the engine ([`reader`]). A split is a file; its position is the
//! place behind the last record emitted.

mod address;
#[cfg(feature = "s3")]
mod bucket;
mod fault;
mod find;
mod head;
mod hold;
mod input;
mod item;
mod pace;
mod reader;
mod sink;
#[cfg(test)]
mod tests;
mod thread;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use fault::fail;
use find::Pattern;
pub use reader::FilesReader;
pub use sink::{
    FileCommitter, FilePending, FileSink, FileWriter, PendingFile, PendingFiles, PendingObject,
    PendingObjects, Uploading,
};

use super::format::{Csv, Format, Json, Lines};
use crate::data::Data;
use crate::error::Result;
use crate::source::{Source, SourceContext};

/// How often a followed directory is looked at. Half a second is felt as at once, and costs nothing
/// on a disk with a thousand files.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// How often a followed prefix of a bucket is listed. A listing is paid for, a request for each
/// thousand objects: of ten thousand, half a dollar a day.
const FOLLOW_OBJECTS_EVERY: Duration = Duration::from_secs(10);

/// A source of files: one, a directory, or a glob.
///
/// Bounded, unless [`Files::follow`] is called. Files that end in `.gz` or `.zst` are decompressed.
/// A directory is read with all below it, in order of name; what begins with a dot is passed over.
/// Every task, on whatever machine, must see the same files.
///
/// With the feature `s3` the path may be in a bucket, `s3://bucket/prefix/`: each object is read at
/// the version that was found, known by its `ETag`.
///
/// A split is a file. All files of a task hold the watermark back until they are read, and up to 64
/// of them are read in turn, so that none runs far ahead of the others; those beyond wait in order
/// of name.
///
/// ```
/// use millstream_dataflow::{Job, connector::files::Files};
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Reading { sensor: String, celsius: f64 }
/// let job = Job::new(Default::default());
/// job.source("readings", Files::json::<Reading>("readings/*.ndjson.gz"))
///     .filter(|reading| reading.celsius > 30.0);
/// ```
#[derive(Clone, Debug)]
pub struct Files<F> {
    pattern: Pattern,
    format: F,
    follow: Option<Duration>,
    records_per_second: Option<f64>,
}

/// Where in a file to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// Bytes before the next record; uncompressed ones in a compressed file.
    pub offset: u64,
    /// Lines before the next record, for messages.
    pub lines: u64,
    /// All that the file held when it was last looked at has been read.
    pub complete: bool,
    /// CRC32C of the first bytes before `offset`, up to 1024: a file that was replaced since is
    /// not taken for the one that was read.
    pub head: u32,
    /// The `ETag` of an object, by which it is known again; empty for a file.
    pub version: String,
}

impl Files<Lines> {
    /// Reads lines of UTF-8 text.
    ///
    /// ```
    /// # use millstream_dataflow::{Job, connector::files::Files};
    /// # let job = Job::new(Default::default());
    /// let words = job.source("log", Files::lines("server.log")).map(|line| line.len());
    /// ```
    pub fn lines(path: impl Into<String>) -> Self {
        Files::of(path, Lines)
    }

    /// Reads a JSON value per line.
    ///
    /// ```
    /// # use millstream_dataflow::{Job, connector::files::Files};
    /// # let job = Job::new(Default::default());
    /// job.source("pairs", Files::json::<(String, f64)>("pairs/"));
    /// ```
    pub fn json<T: Data>(path: impl Into<String>) -> Files<Json<T>> {
        Files::of(path, Json::new())
    }

    /// Reads comma-separated values behind a header line. A struct's fields find the columns of
    /// their names; a tuple, an array or a list takes the columns in order.
    ///
    /// ```
    /// # use millstream_dataflow::{Job, connector::files::Files};
    /// # let job = Job::new(Default::default());
    /// job.source("rows", Files::csv::<(String, f64)>("readings.csv").delimiter(b';'));
    /// ```
    pub fn csv<T: Data>(path: impl Into<String>) -> Files<Csv<T>> {
        Files::of(path, Csv::new())
    }
}

impl<F: Format> Files<F> {
    /// Reads a format of your own.
    pub fn of(path: impl Into<String>, format: F) -> Self {
        Self { pattern: Pattern::new(path), format, follow: None, records_per_second: None }
    }

    /// Goes on when all is read: waits for files to grow and for new ones, without end.
    ///
    /// A new file is read from its beginning. A file is known by its path: one that is renamed is a
    /// new one, and one that becomes shorter, or begins with other bytes than were read, fails the
    /// job. A line is read once its newline is
    /// there. A compressed file must be complete when it appears: write it elsewhere, then rename
    /// it.
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::Files;
    /// let log = Files::lines("logs/*.log").follow();
    /// ```
    #[must_use]
    pub fn follow(self) -> Self {
        let in_bucket = self.pattern.is_in_bucket();
        self.follow_every(if in_bucket { FOLLOW_OBJECTS_EVERY } else { FOLLOW_EVERY })
    }

    /// The same, looking so often (by default twice a second, in a bucket every ten seconds).
    #[must_use]
    pub fn follow_every(self, interval: Duration) -> Self {
        Self { follow: Some(interval), ..self }
    }

    /// Where a bucket is reached, `http://` or `https://`; by default AWS, or what the environment
    /// and the profile name. For addresses in S3 alone, as the next two.
    ///
    /// ```
    /// # use millstream_dataflow::connector::files::Files;
    /// let logs = Files::lines("s3://logs/2026/**/*.log.gz").endpoint("http://minio:9000");
    /// ```
    #[must_use]
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.pattern.access.endpoint = Some(url.into());
        self
    }

    /// The region of the bucket; by default what environment, profile or instance name.
    #[must_use]
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.pattern.access.region = Some(region.into());
        self
    }

    /// Whether the bucket stands in the path of a request, rather than in its host name; by default
    /// where there is an endpoint.
    #[must_use]
    pub fn path_style(mut self, path_style: bool) -> Self {
        self.pattern.access.path_style = Some(path_style);
        self
    }

    /// Reads at most so many records per second, over all tasks: each task takes the share of its
    /// files. A finite number, 0.000001 or more; another is refused when the source opens.
    #[must_use]
    pub fn records_per_second(self, rate: f64) -> Self {
        Self { records_per_second: Some(rate), ..self }
    }
}

impl<T> Files<Csv<T>> {
    /// What stands between fields; a comma is the default.
    #[must_use]
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.delimiter = delimiter;
        self
    }

    /// Takes the first line as a record too: fields go by their place.
    #[must_use]
    pub fn without_header(mut self) -> Self {
        self.format.header = false;
        self
    }
}

impl<F: Format> Source for Files<F> {
    type Item = F::Record;
    type Position = FilePosition;
    type Reader = FilesReader<F>;

    fn open(&self, ctx: SourceContext<FilePosition>) -> Result<FilesReader<F>> {
        FilesReader::open(self, ctx)
    }
}
