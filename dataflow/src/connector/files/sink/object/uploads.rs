//! [`Uploads`]: the uploads of one task that are under way.
//!
//! Fed by [`super::write`] on an engine thread, sends parts on the runtime of
//! [`bucket`](super::super::super::bucket). Invariant: a part is sent at most once at a time, and
//! the memory of those that are not there yet is bounded by the writer, which asks for
//! [`Uploads::has_room`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use millstream_protocol::id::Epoch;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::super::super::bucket::{Bucket, Verb, WRITING, io};
use super::super::pending::{PendingObject, Uploading};
use super::key::Keys;
use crate::error::{Error, Kind, Result};

/// Parts of a task that are under way at once: enough to fill a line of 1 Gbit/s at 100 ms of
/// delay, with some 40 MiB of memory.
const PARTS_AT_ONCE: usize = 4;

/// How many parts S3 takes for one object.
pub(super) const PARTS_MAX: usize = 10_000;

/// A part, and its share of the room for parts.
type Part = (Bytes, Option<OwnedSemaphorePermit>);

/// Where the parts of an upload go.
pub(super) type Parts = mpsc::Sender<Part>;

/// The uploads of one task.
pub(super) struct Uploads {
    keys: Arc<Keys>,
    runtime: Handle,
    running: JoinSet<()>,
    next_number: Arc<AtomicU64>,
    room: Arc<Semaphore>,
    landing: Arc<Landing>,
}

/// What has become of the uploads of a task.
#[derive(Default)]
pub(super) struct Landing {
    /// Why one of them came to nothing, or that nobody waits any more.
    failed: Mutex<Option<(Kind, String)>>,
    said: Condvar,
}

impl Landing {
    fn lock(&self) -> MutexGuard<'_, Option<(Kind, String)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, kind: Kind, why: String) {
        self.lock().get_or_insert((kind, why));
        self.said.notify_all();
    }

    fn landed(&self, uploading: &Uploading, object: PendingObject) {
        let _failed = self.lock();
        uploading.set(object);
        self.said.notify_all();
    }

    /// Fails once an upload has: its records come back by a replay alone.
    pub(super) fn check(&self) -> Result<()> {
        let failed = self.lock();
        failed.as_ref().map_or(Ok(()), |(kind, why)| Err(Error::new(*kind, why)))
    }

    /// Waits until the parts of these uploads are all there. Each request has its time-out.
    pub(super) fn wait(&self, uploads: &[Uploading]) -> Result<()> {
        let waits = |failed: &mut Option<_>| {
            failed.is_none() && uploads.iter().any(|upload| upload.get().is_none())
        };
        drop(self.said.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner));
        self.check()
    }
}

/// An upload that ends without a word must not be waited for: it panicked, or was stopped.
struct Ended {
    landing: Arc<Landing>,
    uploading: Uploading,
}

impl Drop for Ended {
    fn drop(&mut self) {
        if self.uploading.get().is_none() {
            self.landing.fail(Kind::Bug, "an upload did not end".to_owned());
        }
    }
}

impl Uploads {
    pub(super) fn new(keys: Arc<Keys>) -> Result<Self> {
        Ok(Self {
            keys,
            runtime: io::handle()?,
            running: JoinSet::new(),
            next_number: Arc::default(),
            room: Arc::new(Semaphore::new(PARTS_AT_ONCE)),
            landing: Arc::default(),
        })
    }

    pub(super) fn landing(&self) -> &Arc<Landing> {
        &self.landing
    }

    /// Whether a part more would be taken without exceeding the memory for them.
    pub(super) fn has_room(&self) -> bool {
        self.room.available_permits() > 0
    }

    /// Begins an upload; it ends when its sender of parts is dropped.
    pub(super) fn begin(&mut self, epoch: Epoch) -> (Parts, Uploading) {
        while self.running.try_join_next().is_some() {}
        let (sender, parts) = mpsc::channel(PARTS_MAX);
        let uploading = Uploading::default();
        let (keys, numbers) = (self.keys.clone(), self.next_number.clone());
        let (landing, known) = (self.landing.clone(), uploading.clone());
        let work = async move {
            let _ended = Ended { landing: landing.clone(), uploading: known.clone() };
            match upload(&keys, &numbers, epoch, parts).await {
                Ok(object) => landing.landed(&known, object),
                Err(error) => landing.fail(error.kind(), error.to_string()),
            }
        };
        self.running.spawn_on(work, &self.runtime);
        (sender, uploading)
    }

    /// Hands over a part.
    pub(super) fn send(&self, to: &Parts, part: Vec<u8>) -> Result<()> {
        let permit = self.room.clone().try_acquire_owned().ok();
        if to.try_send((part.into(), permit)).is_err() {
            self.landing.check()?;
            return Err(Error::bug("an upload takes no more parts"));
        }
        Ok(())
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        // Whoever waits for them must not wait for what is stopped here.
        self.landing.fail(Kind::Unavailable, "the run has ended".to_owned());
    }
}

/// Uploads an object, up to its completion.
async fn upload(
    keys: &Keys,
    numbers: &AtomicU64,
    epoch: Epoch,
    mut parts: mpsc::Receiver<Part>,
) -> Result<PendingObject> {
    let bucket = Bucket::open(&keys.bucket, &keys.access, &WRITING).await?;
    // Never where something is already, which can only be of a history that began anew and counts
    // from the same numbers.
    let (key, writer) = loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let key = keys.key(epoch, number);
        if bucket.look(&key).await?.is_none() {
            break (key, keys.writer(number));
        }
    };
    let id = bucket.begin(&key, &writer).await?;
    let unfinished = (key, id);
    let (mut bytes, mut etags, mut sending) = (0, Vec::new(), JoinSet::new());
    loop {
        tokio::select! {
            part = parts.recv(), if sending.len() < PARTS_AT_ONCE => {
                let Some((part, permit)) = part else { break };
                bytes += part.len() as u64;
                etags.push(String::new());
                let (bucket, to, place) = (bucket.clone(), unfinished.clone(), etags.len());
                sending.spawn(async move {
                    let sent = bucket.send(&to, place as i32, part).await;
                    drop(permit);
                    (place, sent)
                });
            }
            Some(sent) = sending.join_next() => take(&bucket, &unfinished.0, sent, &mut etags)?,
        }
    }
    while let Some(sent) = sending.join_next().await {
        take(&bucket, &unfinished.0, sent, &mut etags)?;
    }
    let (key, upload) = unfinished;
    Ok(PendingObject { key, upload, writer, bytes, etags })
}

/// Notes the `ETag` of a part that was sent.
fn take(
    bucket: &Bucket,
    key: &str,
    sent: Result<(usize, Result<String, millstream_s3::Failed>), tokio::task::JoinError>,
    etags: &mut [String],
) -> Result<()> {
    let (place, sent) = sent.map_err(|_| Error::bug("the upload of a part did not end"))?;
    etags[place - 1] = sent.map_err(|failed| {
        if failed.fault.is_upload_gone() {
            return Error::unavailable(format!(
                "the upload of {} is gone: a newer run of the job has given it up, or a lifecycle \
                 rule that ends uploads before their snapshot is published",
                bucket.uri(key)
            ));
        }
        bucket.error(Verb::Write, key, &failed)
    })?;
    Ok(())
}
