//! [`Processes`]: the workers of a local run, each a process of its own.
//!
//! Started by [`crate::local`]; the coordinator calls them as it would call pods. Invariants: a
//! process that ends is replaced; one whose session is lost is killed first, so that no two ever
//! serve as the same worker; none outlives this one.

use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use millstream_coordinator::remote::{self, Lost, Process, RemoteSession, Roster};
use millstream_dataflow::{Context as _, Error, Kind, Result};
use millstream_protocol::id::WorkerIndex;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::cli::LogFormat;
use crate::local::THIS_PROGRAM;
use crate::tls::transport;

/// How often it is looked for the address of a process that starts.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a process may take to say where it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Before a process that ended is replaced.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// It is doubled each time that one ends before it serves, up to this.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A session that is over may be so because the job is at its end, which is said right behind.
const LOST_PAUSE: Duration = Duration::from_millis(300);
/// What the folders are called in which processes say where they listen: behind it stand the
/// worker's number and the id of this process.
const FOLDER: &str = "millstream-worker-";
/// How long a process may take to end when it is told to.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Losses that wait to be acted upon.
const LOSSES: usize = 4;

/// The workers of a local run.
pub(crate) struct Processes {
    start: Start,
    roster: Roster,
    /// By ordinal.
    kept: Vec<Kept>,
}

/// How they are started.
pub(crate) struct Start {
    /// For which job, as `namespace/name`.
    pub(crate) job: String,
    pub(crate) threads: u32,
    pub(crate) log_format: LogFormat,
    /// Where worker 0 answers probes.
    pub(crate) health: Option<SocketAddr>,
    /// The folder with its files for TLS.
    pub(crate) tls: Option<PathBuf>,
}

/// One of them.
struct Kept {
    stop: watch::Sender<bool>,
    keeper: JoinSet<()>,
}

/// What it takes to start one of them.
struct Keeper {
    worker: WorkerIndex,
    args: Vec<String>,
    /// The folder with its files for TLS.
    tls: Option<PathBuf>,
    /// Where it says where it listens.
    folder: TempDir,
    /// Why none could be started last: it is tried again and again.
    told: Option<String>,
    address: watch::Sender<Option<Process>>,
    lost: mpsc::Receiver<Lost>,
    stop: watch::Receiver<bool>,
}

impl Processes {
    /// Starts so many workers; the session is with them.
    pub(crate) fn start(workers: u32, start: Start) -> Result<(Self, RemoteSession)> {
        let transport = transport(start.tls.as_deref())?;
        sweep();
        let (roster, session) = remote::session(&start.job, transport);
        let mut processes = Self { start, roster, kept: Vec::new() };
        processes.grow(workers)?;
        Ok((processes, session))
    }

    /// How many are kept.
    pub(crate) fn count(&self) -> u32 {
        self.kept.len() as u32
    }

    /// Starts workers until there are so many; none where one of them cannot be.
    pub(crate) fn grow(&mut self, workers: u32) -> Result<()> {
        let mut new = Vec::new();
        for worker in (self.count()..workers).map(WorkerIndex) {
            let (stop, stopped) = watch::channel(false);
            let (address, found) = watch::channel(None);
            let (say_lost, lost) = mpsc::channel(LOSSES);
            new.push((stop, found, say_lost, self.start.keeper(worker, address, lost, stopped)?));
        }
        for (stop, found, say_lost, keeper) in new {
            self.roster.add(keeper.worker, found, Some(say_lost));
            let mut kept = Kept { stop, keeper: JoinSet::new() };
            kept.keeper.spawn(keeper.keep());
            self.kept.push(kept);
        }
        Ok(())
    }

    /// Ends workers, the last one first, until there are so many.
    pub(crate) async fn shrink(&mut self, workers: u32) {
        let surplus = self.kept.split_off(self.kept.len().min(workers as usize));
        for kept in &surplus {
            kept.stop.send_replace(true);
        }
        for mut kept in surplus {
            while kept.keeper.join_next().await.is_some() {}
        }
    }
}

impl Start {
    fn keeper(
        &self,
        worker: WorkerIndex,
        address: watch::Sender<Option<Process>>,
        lost: mpsc::Receiver<Lost>,
        stop: watch::Receiver<bool>,
    ) -> Result<Keeper> {
        let Self { job: _, threads, log_format, health, tls } = self;
        let folder = folder_of(worker)?;
        let mut args = ["serve", "--listen", "127.0.0.1:0"].map(str::to_owned).to_vec();
        args.extend(["--child".to_owned(), std::process::id().to_string()]);
        args.extend(["--threads".to_owned(), threads.to_string()]);
        if let Some(address) = health {
            let address = health_of(*address, worker)?;
            args.extend(["--health".to_owned(), address.to_string()]);
        }
        if *log_format == LogFormat::Json {
            args.extend(["--log-format", "json"].map(str::to_owned));
        }
        let tls = tls.clone();
        Ok(Keeper { worker, args, tls, folder, told: None, address, lost, stop })
    }
}

/// A folder for a worker, and the one that it lies in, where that was removed.
fn folder_of(worker: WorkerIndex) -> Result<TempDir> {
    let place = std::env::temp_dir();
    let attempt = || {
        format!(
            "cannot make a folder in {}: mend it, or set TMPDIR to another place",
            place.display()
        )
    };
    std::fs::create_dir_all(&place).or_kind(Kind::Invalid, attempt)?;
    let prefix = format!("{FOLDER}{worker}-{}-", std::process::id());
    TempDir::with_prefix_in(prefix, &place).or_kind(Kind::Invalid, attempt)
}

/// Where a worker answers probes, when the first does so here. A port that is taken is told of
/// before anything runs.
fn health_of(first: SocketAddr, worker: WorkerIndex) -> Result<SocketAddr> {
    let port = u16::try_from(u32::from(first.port()) + worker.0).map_err(|_| {
        Error::invalid(format!("--health: worker {worker} has no port behind {}", first.port()))
    })?;
    // 0: any port.
    let port = if first.port() == 0 { 0 } else { port };
    let address = SocketAddr::new(first.ip(), port);
    let free = TcpListener::bind(address);
    free.or_kind(Kind::Invalid, || format!("--health: worker {worker} cannot use {address}"))?;
    Ok(address)
}

impl Keeper {
    /// Keeps a process alive until told to stop.
    async fn keep(mut self) {
        let mut pause = RESTART_PAUSE;
        while !*self.stop.borrow() {
            let has_served = match self.spawn() {
                Ok(child) => self.mind(child).await,
                Err(error) => {
                    self.tell_unstarted(error.to_string());
                    false
                }
            };
            if has_served {
                self.told = None;
            }
            self.address.send_replace(None);
            pause = if has_served { RESTART_PAUSE } else { RESTART_PAUSE_MAX.min(pause * 2) };
            let _ = timeout(pause, stopped(&mut self.stop)).await;
        }
    }

    /// Starts what this process was started from: another executable builds other plans.
    fn spawn(&mut self) -> Result<Child> {
        if !self.folder.path().is_dir() {
            self.folder = folder_of(self.worker)?;
        }
        let _ = std::fs::remove_file(self.announced());
        let mut command = Command::new(THIS_PROGRAM);
        // What lists processes shows the name, and not where the program was found.
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        command
            .args(&self.args)
            .arg("--announce")
            .arg(self.announced())
            .args(self.tls.iter().flat_map(|folder| [OsStr::new("--tls"), folder.as_os_str()]))
            .stdin(if self.worker == WorkerIndex(0) { Stdio::inherit() } else { Stdio::null() })
            .kill_on_drop(true);
        command.spawn().or_kind(Kind::Unavailable, || format!("cannot execute {THIS_PROGRAM}"))
    }

    /// Says why no process can be started: once, until there is another reason.
    fn tell_unstarted(&mut self, reason: String) {
        if self.told.as_ref() == Some(&reason) {
            tracing::debug!("cannot start worker {}: {reason}", self.worker);
        } else {
            tracing::warn!(
                "cannot start worker {}, which is tried again and again: {reason}",
                self.worker
            );
            self.told = Some(reason);
        }
    }

    fn announced(&self) -> PathBuf {
        self.folder.path().join("address")
    }

    /// Sees one process to its end; returns whether it has served.
    async fn mind(&mut self, mut child: Child) -> bool {
        let announced = self.announced();
        let start = async {
            let mut look = interval(LOOK_EVERY);
            loop {
                look.tick().await;
                if let Ok(address) = std::fs::read_to_string(&announced) {
                    return address;
                }
            }
        };
        let ended = tokio::select! {
            address = timeout(START_TIMEOUT, start) => {
                let Ok(address) = address else {
                    tracing::warn!("worker {} does not start", self.worker);
                    return false;
                };
                self.address.send_replace(Some(Process { address, pod: None }));
                None
            }
            status = child.wait() => Some(status),
            () = stopped(&mut self.stop) => {
                end(&mut child).await;
                return false;
            }
        };
        if let Some(status) = ended {
            tell(self.worker, status);
            return false;
        }
        tokio::select! {
            status = child.wait() => tell(self.worker, status),
            () = lost(&mut self.lost, &self.address) => {
                // Nobody is to call it again.
                self.address.send_replace(None);
                if timeout(LOST_PAUSE, stopped(&mut self.stop)).await.is_ok() {
                    end(&mut child).await;
                } else {
                    tracing::warn!("worker {} is lost: its process is killed", self.worker);
                    let _ = child.kill().await;
                }
            }
            () = stopped(&mut self.stop) => end(&mut child).await,
        }
        true
    }
}

/// Removes the folders of processes like this one that were killed.
fn sweep() {
    let entries = std::fs::read_dir(std::env::temp_dir());
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.to_str().and_then(|name| name.strip_prefix(FOLDER));
        let of = rest.and_then(|rest| rest.split('-').nth(1)?.parse::<u32>().ok());
        let is_gone = |of: &u32| !Path::new("/proc").join(of.to_string()).exists();
        if of.as_ref().is_some_and(is_gone) {
            // Those of another user stay.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Returns when the session with the process at this address is lost.
async fn lost(lost: &mut mpsc::Receiver<Lost>, address: &watch::Sender<Option<Process>>) {
    while let Some(Lost(which)) = lost.recv().await {
        if address.borrow().as_ref().is_some_and(|process| process.address == which) {
            return;
        }
    }
    // The coordinator is gone: it has lost nobody.
    std::future::pending::<()>().await;
}

fn tell(worker: WorkerIndex, status: std::io::Result<ExitStatus>) {
    match status {
        Ok(status) => tracing::warn!("the process of worker {worker} ended: {status}"),
        Err(error) => tracing::warn!("the process of worker {worker} is gone: {error}"),
    }
}

/// Lets a process end by itself, for a while.
async fn end(child: &mut Child) {
    if let Some(pid) = child.id() {
        // SAFETY: it sends a signal to a child that was not waited for yet, and touches no memory.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGUSR1) };
    }
    if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
