//! [`Report`]: a sink of one's own, exactly once: a file per task and snapshot.
//!
//! The lines of a snapshot travel in it as pending output, and become a file when it is published.
//! The file's name is fixed at the cut, so that making it visible again after a crash writes the
//! same file again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use millstream_worker::sink::{Committer, Prepared, Recovery, Sink, SinkContext, Writer};
use millstream_worker::{Batch, Context as _, Epoch, Guarantee, Kind, Result};
use serde::{Deserialize, Serialize};

/// Writes lines to files in a directory.
#[derive(Clone, Debug)]
pub struct Report {
    directory: PathBuf,
}

impl Report {
    /// In this directory, which is made.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

/// The lines of a snapshot, and the name of their file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    name: String,
    lines: Vec<String>,
}

impl Sink for Report {
    type Item = String;
    type Pending = Page;
    type Writer = ReportWriter;
    type Committer = ReportCommitter;

    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    fn open(&self, ctx: SinkContext) -> Result<(ReportWriter, ReportCommitter)> {
        let directory = self.directory.clone();
        Ok((ReportWriter { ctx, lines: Vec::new() }, ReportCommitter { directory }))
    }
}

/// Gathers the lines of one task.
pub struct ReportWriter {
    ctx: SinkContext,
    lines: Vec<String>,
}

impl Writer for ReportWriter {
    type Item = String;
    type Pending = Page;

    fn write(&mut self, batch: Batch<String>) -> Result<()> {
        self.lines.extend(batch.records);
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepared<Page>> {
        if self.lines.is_empty() {
            return Ok(Prepared::nothing());
        }
        // No two runs share a name: a run that was cut off may still be writing.
        let name = format!("{}-{epoch}-{}.txt", self.ctx.run, self.ctx.info.task);
        let lines = std::mem::take(&mut self.lines);
        Ok(Prepared { pending: Some(Page { name, lines }), durable: None })
    }
}

/// Makes pages visible. Runs beside the engine and may wait for the disk.
pub struct ReportCommitter {
    directory: PathBuf,
}

#[async_trait]
impl Committer for ReportCommitter {
    type Pending = Page;

    async fn commit(&self, _: Epoch, page: Page) -> Result<()> {
        let path = self.directory.join(&page.name);
        let written = write_whole(&path, &page.lines);
        written.or_kind(Kind::Unavailable, || format!("cannot write {}", path.display()))
    }

    async fn recover(&self, from: Recovery<Page>) -> Result<()> {
        for page in from.pending {
            self.commit(from.epoch, page).await?;
        }
        Ok(())
    }
}

/// Writes a file that is there as a whole or not at all.
fn write_whole(path: &Path, lines: &[String]) -> io::Result<()> {
    let (temporary, directory) = (path.with_extension("part"), path.parent());
    directory.map_or(Ok(()), fs::create_dir_all)?;
    let mut file = File::create(&temporary)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
