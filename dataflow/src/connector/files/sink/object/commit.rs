//! [`ObjectCommitter`]: completes the uploads of published snapshots, and gives up what lower runs
//! left.
//!
//! Receives what [`super::write`] prepared, from the engine after the snapshot is published or,
//! after a restore, out of the snapshot. Invariant: a repeated commit changes nothing, no object is
//! ever replaced, and an upload that is gone without its object is an error.

use std::sync::Arc;

use millstream_protocol::id::Epoch;
use tokio::task::JoinSet;

use super::super::super::bucket::{Bucket, Verb, WRITING, io};
use super::super::pending::{PendingObject, PendingObjects};
use super::key::Keys;
use crate::error::{Error, Result};

/// Requests of one commit at once: a completion takes a store some 100 ms.
const AT_ONCE: usize = 8;

/// Looks after the objects of one task.
#[derive(Clone, Debug)]
pub(in super::super) struct ObjectCommitter {
    keys: Arc<Keys>,
}

impl ObjectCommitter {
    pub(in super::super) fn new(keys: Arc<Keys>) -> Self {
        Self { keys }
    }

    /// Fails if there are objects of later epochs than the history that goes on at this one knows:
    /// whoever put an old store back would find the results since then twice.
    pub(in super::super) async fn look(&self, epoch: Epoch) -> Result<()> {
        self.keys.cut(epoch);
        let keys = self.keys.clone();
        io::beside(async move {
            let bucket = Bucket::open(&keys.bucket, &keys.access, &WRITING).await?;
            let (found, _) = bucket.page(keys.all(), Some(&keys.behind(epoch)), None).await?;
            let told = found.iter().filter_map(|listed| keys.read(&listed.key));
            let later = told.filter(|told| told.run < keys.run && told.epoch > epoch);
            match later.map(|told| told.epoch).max() {
                Some(newest) => ahead(&keys, newest, epoch),
                None => Ok(()),
            }
        })
        .await
    }

    /// Gives up the uploads that lower runs left, once those that the snapshot names are completed.
    /// Where that is denied they stay, and cost what their parts cost.
    pub(in super::super) async fn clear(&self) -> Result<()> {
        let keys = self.keys.clone();
        io::beside(async move {
            let bucket = Bucket::open(&keys.bucket, &keys.access, &WRITING).await?;
            let cleared = async {
                let unfinished = bucket.unfinished(keys.all()).await?;
                for upload in unfinished.iter().filter(|(key, _)| keys.is_left_over(key)) {
                    bucket.abort(upload).await?;
                }
                Ok::<_, Error>(())
            };
            if let Err(error) = cleared.await {
                let (sink, all) = (&keys.sink, keys.targets());
                tracing::warn!(
                    "sink {sink}: uploads that earlier runs left of {all} stay: {error}"
                );
            }
            Ok(())
        })
        .await
    }
}

/// What follows from results of later epochs than the job goes on at.
fn ahead(keys: &Keys, newest: Epoch, epoch: Epoch) -> Result<()> {
    let all = keys.targets();
    if epoch > Epoch(0) {
        return Err(Error::invalid(format!(
            "the bucket holds results up to snapshot {newest} at least, and the job goes on at \
             snapshot {epoch}: results since then would be there twice. Was an old store put back, \
             or an older snapshot restored? To go on all the same, remove every {all} whose epoch \
             is above {epoch}"
        )));
    }
    // Once per sink.
    if keys.task == 0 {
        tracing::warn!(
            "sink {}: the bucket holds results of this job up to snapshot {newest} at least, and \
             the job begins anew: results are there twice unless every {all} that is there now is \
             removed",
            keys.sink
        );
    }
    Ok(())
}

/// Completes uploads.
pub(in super::super) async fn complete_all(pending: PendingObjects) -> Result<()> {
    io::beside(async move {
        let PendingObjects { epoch: _, task: _, access, bucket, objects } = pending;
        let bucket = Bucket::open(&bucket, &access, &WRITING).await?;
        for some in objects.chunks(AT_ONCE) {
            let mut running = JoinSet::new();
            for uploading in some {
                let missing = || Error::bug("an upload is committed that lacks parts");
                let object = uploading.get().ok_or_else(missing)?.clone();
                let bucket = bucket.clone();
                running.spawn(async move { complete(&bucket, &object).await });
            }
            while let Some(done) = running.join_next().await {
                done.unwrap_or_else(|_| {
                    Err(Error::bug("the completion of an upload did not end"))
                })?;
            }
        }
        Ok(())
    })
    .await
}

/// Completes an upload, unless that was done before.
async fn complete(bucket: &Bucket, object: &PendingObject) -> Result<()> {
    let PendingObject { key, upload, writer, bytes, etags } = object;
    let completed = bucket.complete(&(key.clone(), upload.clone()), etags).await;
    let Err(failed) = completed else { return Ok(()) };
    let gone = failed.fault.is_upload_gone();
    if !gone && !failed.fault.is_taken() {
        return Err(bucket.error(Verb::Write, key, &failed));
    }
    let uri = bucket.uri(key);
    match bucket.look(key).await? {
        Some(seen) if seen.writer.as_ref() == Some(writer) && seen.bytes == *bytes => Ok(()),
        Some(_) => Err(Error::invalid(format!(
            "{uri} exists and is not of this sink: give the sink a prefix of its own, and move \
             that object away"
        ))),
        None if gone => Err(Error::corrupt(format!(
            "{uri} cannot be completed, and the snapshot counts on it: its upload is gone, and \
             there is no such object. A lifecycle rule has ended the upload, or somebody has \
             removed the object before its snapshot was known to be visible. Give the rule more \
             days, and go on at an older snapshot, or begin anew"
        ))),
        None => Err(Error::unavailable(format!("{uri} was there, and is gone"))),
    }
}
