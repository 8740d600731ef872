//! [`FileWriter`] and [`FileCommitter`]: to a directory or to a bucket, as the sink's address says.
//!
//! Opened by [`super::FileSink`], driven by the engine. Invariant: a committer makes visible what
//! a snapshot holds, wherever that lies: the address may have changed since.

use async_trait::async_trait;
use millstream_protocol::id::Epoch;

use super::super::super::format::Encode;
use super::commit::{LocalCommitter, publish_files};
#[cfg(feature = "s3")]
use super::object::{ObjectCommitter, ObjectWriter, complete_all};
use super::pending::FilePending;
use super::write::LocalWriter;
use crate::batch::Batch;
use crate::error::Result;
use crate::sink::{Committer, Prepared, Recovery, Room, Writer};

/// Writes the records of one task.
pub struct FileWriter<F>(WriterWay<F>);

enum WriterWay<F> {
    Local(LocalWriter<F>),
    #[cfg(feature = "s3")]
    Bucket(ObjectWriter<F>),
}

impl<F> From<LocalWriter<F>> for FileWriter<F> {
    fn from(writer: LocalWriter<F>) -> Self {
        Self(WriterWay::Local(writer))
    }
}

#[cfg(feature = "s3")]
impl<F> From<ObjectWriter<F>> for FileWriter<F> {
    fn from(writer: ObjectWriter<F>) -> Self {
        Self(WriterWay::Bucket(writer))
    }
}

impl<F: Encode> Writer for FileWriter<F> {
    type Item = F::Record;
    type Pending = FilePending;

    fn write(&mut self, batch: Batch<F::Record>) -> Result<()> {
        match &mut self.0 {
            WriterWay::Local(writer) => writer.write(&batch.records),
            #[cfg(feature = "s3")]
            WriterWay::Bucket(writer) => writer.write(&batch.records),
        }
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepared<FilePending>> {
        match &mut self.0 {
            WriterWay::Local(writer) => writer.prepare(epoch),
            #[cfg(feature = "s3")]
            WriterWay::Bucket(writer) => writer.prepare(epoch),
        }
    }

    fn room(&mut self) -> Result<Room> {
        match &mut self.0 {
            WriterWay::Local(_) => Ok(Room::Enough),
            #[cfg(feature = "s3")]
            WriterWay::Bucket(writer) => writer.room(),
        }
    }
}

/// Makes the output of one task visible.
#[derive(Clone, Debug)]
pub struct FileCommitter(CommitterWay);

#[derive(Clone, Debug)]
enum CommitterWay {
    Local(LocalCommitter),
    #[cfg(feature = "s3")]
    Bucket(ObjectCommitter),
}

impl From<LocalCommitter> for FileCommitter {
    fn from(committer: LocalCommitter) -> Self {
        Self(CommitterWay::Local(committer))
    }
}

#[cfg(feature = "s3")]
impl From<ObjectCommitter> for FileCommitter {
    fn from(committer: ObjectCommitter) -> Self {
        Self(CommitterWay::Bucket(committer))
    }
}

#[async_trait]
impl Committer for FileCommitter {
    type Pending = FilePending;

    async fn commit(&self, _: Epoch, pending: FilePending) -> Result<()> {
        publish(pending).await
    }

    async fn recover(&self, from: Recovery<FilePending>) -> Result<()> {
        let Recovery { epoch, pending, committed: _ } = from;
        match &self.0 {
            CommitterWay::Local(committer) => committer.look(epoch).await?,
            #[cfg(feature = "s3")]
            CommitterWay::Bucket(committer) => committer.look(epoch).await?,
        }
        for pending in pending {
            publish(pending).await?;
        }
        match &self.0 {
            CommitterWay::Local(committer) => committer.clear(epoch).await,
            #[cfg(feature = "s3")]
            CommitterWay::Bucket(committer) => committer.clear().await,
        }
    }
}

/// Makes what waits visible.
async fn publish(pending: FilePending) -> Result<()> {
    match pending {
        FilePending::Files(files) => publish_files(files).await,
        #[cfg(feature = "s3")]
        FilePending::Objects(objects) => complete_all(objects).await,
        #[cfg(not(feature = "s3"))]
        FilePending::Objects(objects) => {
            let key = objects.objects.iter().find_map(|it| Some(&*it.get()?.key));
            Err(super::super::address::not_built(&objects.bucket, key.unwrap_or_default()))
        }
    }
}
