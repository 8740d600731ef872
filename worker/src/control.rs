//! The way to a job that runs on this machine: a socket that its `run` answers at.
//!
//! Asked by the commands `scale`, `savepoint` and `stop`; answered by [`crate::desk`]. A line of
//! JSON there, lines of JSON back, the last of which says how it ended; before it there is one at
//! least every second. Invariant: the socket belongs to the job's place in its store and to this
//! user.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use millstream_dataflow::{Context as _, Error, Kind, Result};
use millstream_protocol::error_kind::{ErrorKind, Failure};
use millstream_protocol::path::JobPrefix;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{interval, timeout};
use xxhash_rust::xxh3::xxh3_64;

/// The longest line that is read: what is asked is short, and messages are not long.
const LINE_MAX: u64 = 1 << 20;
/// How long whoever connects may take to say what is wanted.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long whoever waits may take to take a line: they have room for a thousand.
const TAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// A run that says nothing for so long is stopped, or hangs: it has something to say every second.
const SILENCE: Duration = Duration::from_secs(5);

/// How often, and how many times, it is looked whether another run is there: one that has said
/// that it has ended is gone within moments.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LOOKS: u32 = 10;

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
    /// That it was heard, and is being seen to.
    Heard,
    /// What is waited for.
    Note(String),
    /// It is done.
    Done(String),
    /// The job was stopped, and has left no snapshot of its end.
    Short(String),
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

    /// The next one who asks.
    pub(crate) async fn next(&self) -> Result<Asker> {
        let (stream, _) = self.listener.accept().await?;
        let (read, write) = stream.into_split();
        Ok(Asker { write, read: BufReader::new(read) })
    }
}

/// Whoever runs a job on this machine: a process of this user that answers.
pub(crate) struct Holder(Option<i32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => write!(f, "process {id}"),
            None => f.write_str("another process"),
        }
    }
}

/// Who runs the job on this machine, if somebody does. One that is about to end is waited for.
/// Where nobody could be asked, nobody is found.
pub(crate) async fn holder(job: &JobPrefix) -> Option<Holder> {
    let path = place(job).ok()?;
    let mut look = interval(LOOK_EVERY);
    let mut holder = None;
    for _ in 0..LOOKS {
        look.tick().await;
        // What a process that was killed has left behind takes no connection.
        holder = Some(Holder(process(&UnixStream::connect(&path).await.ok()?)));
    }
    holder
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
    /// What is asked; none where nothing is that can be understood.
    pub(crate) async fn ask(&mut self) -> Option<Ask> {
        timeout(ASK_TIMEOUT, line(&mut self.read)).await.ok()?.ok()?
    }

    /// Returns when they have hung up: nothing more is said on this way.
    pub(crate) async fn gone(&mut self) {
        let mut rest = [0; 64];
        while self.read.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }

    /// Whether they were still there to hear it. Once they were not, nothing more is to be said.
    pub(crate) async fn answer(&mut self, answer: &Answer) -> bool {
        let mut text = serde_json::to_vec(answer).expect("answers are plain data");
        text.push(b'\n');
        timeout(TAKE_TIMEOUT, self.write.write_all(&text)).await.is_ok_and(|taken| taken.is_ok())
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

/// What came of what was asked.
pub(crate) enum Asked {
    /// It is done.
    Done(String),
    /// The job was stopped, and has left no snapshot of its end.
    Short(String),
    /// Nobody knows: it was waited for as long as whoever asked wanted to. What was heard last.
    Pending(Option<String>),
}

/// Asks the job that runs here; says what it waits for, for so long at most; returns how it ended.
pub(crate) async fn ask(
    job: &JobPrefix,
    ask: &Ask,
    limit: Duration,
    note: impl Fn(&str),
) -> Result<Asked> {
    let path = place(job)?;
    let nobody = || {
        format!(
            "no run of {job} answers on this machine: it must have been started here, by this \
                 user, and still run"
        )
    };
    let stream = UnixStream::connect(&path).await.or_kind(Kind::Invalid, nobody)?;
    let silent = format!("{} does not answer: it is stopped, or hangs", Holder(process(&stream)));
    let (read, mut write) = stream.into_split();
    let mut text = serde_json::to_vec(ask).expect("what is asked is plain data");
    text.push(b'\n');
    write.write_all(&text).await.or_kind(Kind::Unavailable, nobody)?;
    let mut last = None;
    let answered = answers(BufReader::new(read), &silent, |text| {
        note(text);
        last = Some(text.to_owned());
    });
    match timeout(limit, answered).await {
        Ok(answered) => answered,
        Err(_) => Ok(Asked::Pending(last)),
    }
}

/// The process at the other end.
fn process(stream: &UnixStream) -> Option<i32> {
    stream.peer_cred().ok()?.pid()
}

/// Takes answers up to the last one.
async fn answers(
    mut answers: BufReader<OwnedReadHalf>,
    silent: &str,
    mut note: impl FnMut(&str),
) -> Result<Asked> {
    loop {
        let answer = {
            let mut next = pin!(line(&mut answers));
            if let Ok(answer) = timeout(SILENCE, &mut next).await {
                answer
            } else {
                note(silent);
                next.await
            }
        };
        let unread = || "cannot read what the run answers".to_owned();
        match answer.or_kind(Kind::Unavailable, unread)? {
            Some(Answer::Heard) => {}
            Some(Answer::Note(text)) => note(&text),
            Some(Answer::Done(text)) => return Ok(Asked::Done(text)),
            Some(Answer::Short(text)) => return Ok(Asked::Short(text)),
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
