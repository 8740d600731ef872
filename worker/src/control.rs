//! The way to a job that runs on this machine: a socket that its `run` answers at.
//!
//! Asked by the commands `scale`, `savepoint` and `stop`; answered by [`crate::desk`]. A line of
//! JSON there, lines of JSON back, the last of which says how it ended. Invariant: the socket
//! belongs to the job's place in its store and to this user.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use millstream_dataflow::{Context as _, Error, Kind, Result};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::path::JobPrefix;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use xxhash_rust::xxh3::xxh3_64;

/// The longest line that is read: what is asked is short, and messages are not long.
const LINE_MAX: u64 = 1 << 20;
/// How long whoever connects may take to say what is wanted.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What is asked of a job that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Ask {
    /// To go on with so many workers.
    Scale {
        /// How many.
        workers: u32,
    },
    /// To take a snapshot that is kept.
    Savepoint,
    /// To stop behind a snapshot, which is kept where that is asked for.
    Stop {
        /// Whether it is to be kept.
        savepoint: bool,
    },
}

/// What is answered, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// What is waited for.
    Note(String),
    /// It is done.
    Done(String),
    /// It is not, and will not be.
    Failed(Failure),
}

fn place(job: &JobPrefix) -> Result<PathBuf> {
    let name = format!("{:016x}", xxh3_64(job.to_string().as_bytes()));
    Ok(crate::config::local_directory("control")?.join(name))
}

/// Where a run is asked. Gone when this is dropped.
pub(crate) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// As [`Self::listen`], unless another run of the job answers there.
    pub(crate) async fn listen_unless_taken(job: &JobPrefix) -> Result<Option<Self>> {
        match UnixStream::connect(place(job)?).await {
            Ok(_) => Ok(None),
            Err(_) => Self::listen(job).map(Some),
        }
    }

    /// Whether whoever asks finds this one.
    pub(crate) fn is_found(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|it| it.ino() == self.inode)
    }

    /// Takes the place of another run of the same job, which this one replaces.
    pub(crate) fn listen(job: &JobPrefix) -> Result<Self> {
        let path = place(job)?;
        let attempt = || format!("cannot listen at {}", path.display());
        // What a run that was killed has left behind.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).or_kind(Kind::Unavailable, attempt)?;
        let inode = std::fs::metadata(&path).or_kind(Kind::Unavailable, attempt)?.ino();
        Ok(Self { listener, path, inode })
    }

    /// The next one who asks, with what is asked.
    pub(crate) async fn next(&self) -> Result<(Ask, Asker)> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let (read, write) = stream.into_split();
            let mut read = BufReader::new(read);
            if let Ok(Ok(Some(ask))) = timeout(ASK_TIMEOUT, line(&mut read)).await {
                return Ok((ask, Asker { write, read }));
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_found() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Whoever waits for answers.
pub(crate) struct Asker {
    write: OwnedWriteHalf,
    read: BufReader<OwnedReadHalf>,
}

impl Asker {
    /// Returns when they have hung up: nothing more is said on this way.
    pub(crate) async fn gone(&mut self) {
        let mut rest = [0; 64];
        while self.read.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }

    /// Whether they were still there to hear it.
    pub(crate) async fn answer(&mut self, answer: &Answer) -> bool {
        let mut text = serde_json::to_vec(answer).expect("answers are plain data");
        text.push(b'\n');
        self.write.write_all(&text).await.is_ok()
    }
}

async fn line<T: for<'de> Deserialize<'de>>(
    from: &mut BufReader<OwnedReadHalf>,
) -> std::io::Result<Option<T>> {
    let mut text = String::new();
    if from.take(LINE_MAX).read_line(&mut text).await? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&text)?))
}

/// Asks the job that runs here; says what it waits for; returns how it ended.
pub(crate) async fn ask(job: &JobPrefix, ask: &Ask, note: impl Fn(&str)) -> Result<String> {
    let path = place(job)?;
    let nobody = || {
        format!(
            "no run of {job} answers on this machine: it must have been started here, by this \
                 user, and still run"
        )
    };
    let stream = UnixStream::connect(&path).await.or_kind(Kind::Invalid, nobody)?;
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_vec(ask).expect("what is asked is plain data");
    text.push(b'\n');
    write.write_all(&text).await.or_kind(Kind::Unavailable, nobody)?;
    let mut answers = BufReader::new(read);
    loop {
        match line(&mut answers).await.or_kind(Kind::Unavailable, nobody)? {
            Some(Answer::Note(text)) => note(&text),
            Some(Answer::Done(text)) => return Ok(text),
            Some(Answer::Failed(Failure { kind, message })) => {
                return Err(Error::new(kind, message));
            }
            None => {
                let message = "the run ended before it was done: its own output says why";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
    }
}
