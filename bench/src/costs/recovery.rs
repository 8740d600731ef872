//! How long a job in processes is without output: when a worker dies, and when their number
//! changes.
//!
//! Called by [`super::case`]. This program is the workers' as well: with [`ROLE`] set it has the
//! program below. Invariant: the time runs until every worker has put out a record again, and only
//! where the state that was restored is as large as it is said to be.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use millstream_bench_stream::Stopwatch;
use millstream_worker::connector::discard::Discard;
use millstream_worker::connector::generator::Generator;
use millstream_worker::{Job, Result};

use super::Figures;
use crate::runner::THIS_PROGRAM;

/// Set where this program is to be a worker's.
pub const ROLE: &str = "MILLSTREAM_BENCH_WORKER";

/// What is kept of a key: how many records it had, and a kilobyte.
type Kept = (u64, [[u8; 32]; 32]);
/// Bytes of that, at the least.
const KEPT_BYTES: u64 = 1024;

/// What every worker says at its first record.
const OUTPUT: &str = "out: the first record";
/// What a worker says that has seen its part of the keys.
const FULL: &str = "all keys are there";

/// A kilobyte for each key; says when it puts out something, and when all keys are there.
pub fn large_state(job: &mut Job) -> Result<()> {
    let (keys, rate): (u64, f64) = (job.args().parse("keys")?, job.args().parse("rate")?);
    let records = Generator::new(|n| n).splits(2).records_per_second(rate);
    // Of each deployment, on each worker.
    let (first, all): (&'static Once, &'static Once) = (leak(), leak());
    let left: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(keys / 3)));
    let keyed = job.source("records", records).key_by(move |n| n % keys);
    let sums = keyed.scan("sums", Kept::default(), move |kept: &mut Kept, n| {
        first.call_once(|| eprintln!("{OUTPUT}"));
        if kept.0 == 0 && left.fetch_sub(1, Ordering::Relaxed) == 1 {
            all.call_once(|| eprintln!("{FULL}"));
        }
        kept.0 += 1;
        fill(&mut kept.1, n);
        kept.0
    });
    sums.sink("out", Discard::new());
    Ok(())
}

/// Bytes that no compression makes fewer.
fn fill(rows: &mut [[u8; 32]; 32], n: u64) {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for part in rows.iter_mut().flat_map(|row| row.chunks_exact_mut(8)) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        part.copy_from_slice(&x.to_le_bytes());
    }
}

fn leak() -> &'static Once {
    Box::leak(Box::new(Once::new()))
}

/// How often it is looked for a snapshot.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A job under way.
struct Running<'a> {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    folder: &'a Path,
}

/// With a kilobyte of state for so many keys.
pub(super) fn run(keys: u64) -> anyhow::Result<Figures> {
    let folder = tempfile::tempdir()?;
    let job = format!(
        "apiVersion: millstream.dev/v1alpha1\n\
         kind: StreamJob\n\
         metadata: {{name: recovery}}\n\
         spec:\n  \
           program: {{name: large-state, args: {{keys: '{keys}', rate: '200000'}}}}\n  \
           snapshots: {{store: 'file://store', interval: 500ms}}\n  \
           restart: {{initialBackoff: 100ms}}\n"
    );
    fs::write(folder.path().join("job.yaml"), job)?;
    let mut running = Running::start(folder.path(), 2)?;
    // Of the keys, each of the two has half; a third of all is said by both.
    running.wait_for(FULL, 2)?;
    running.snapshot(keys)?;
    let watch = Stopwatch::start();
    running.kill_worker(1)?;
    running.wait_for(OUTPUT, 2)?;
    let recovery = watch.seconds();

    running.snapshot(keys)?;
    let watch = Stopwatch::start();
    running.stop()?;
    let mut running = Running::start(folder.path(), 1)?;
    running.wait_for(OUTPUT, 1)?;
    let fewer = watch.seconds();

    running.snapshot(keys)?;
    let watch = Stopwatch::start();
    running.stop()?;
    let mut running = Running::start(folder.path(), 2)?;
    running.wait_for(OUTPUT, 2)?;
    let more = watch.seconds();
    running.stop()?;
    Ok(Figures::from([
        ("recovery_s".to_owned(), recovery),
        ("fewer_s".to_owned(), fewer),
        ("more_s".to_owned(), more),
        ("state_mb".to_owned(), (keys * KEPT_BYTES) as f64 / 1e6),
    ]))
}

impl<'a> Running<'a> {
    fn start(folder: &'a Path, workers: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(THIS_PROGRAM);
        command.args(["run", "job.yaml", "--threads", "1", "--workers", &workers.to_string()]);
        command.current_dir(folder).env(ROLE, "1").env("MILLSTREAM_LOG", "info");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("start the job")?;
        let stderr = child.stderr.take().context("its standard error")?;
        Ok(Self { child, lines: BufReader::new(stderr).lines(), folder })
    }

    /// Returns when so many lines have held this text.
    fn wait_for(&mut self, text: &str, times: usize) -> anyhow::Result<()> {
        let mut said = String::new();
        let mut left = times;
        while left > 0 {
            let Some(line) = self.lines.next() else { bail!("the job ended: {said}") };
            let line = line?;
            // Processes that speak at the same moment may do so in one line.
            left = left.saturating_sub(line.matches(text).count());
            said += &line;
            said.push('\n');
        }
        Ok(())
    }

    /// Waits until a snapshot that was begun from here on is there, of all keys.
    fn snapshot(&mut self, keys: u64) -> anyhow::Result<()> {
        // Twice: the first may have been begun before.
        for _ in 0..2 {
            let entries = self.entries()?;
            while self.entries()? == entries {
                ensure!(self.child.try_wait()?.is_none(), "the job ended");
                std::thread::park_timeout(LOOK_EVERY);
            }
        }
        let bytes = size_of_files(&self.folder.join("store/default/recovery/parts"))?;
        ensure!(bytes >= keys * KEPT_BYTES, "the state has {bytes} bytes only");
        Ok(())
    }

    /// The name of the newest entry of the log.
    fn entries(&self) -> anyhow::Result<Option<std::ffi::OsString>> {
        let log = fs::read_dir(self.folder.join("store/default/recovery/log"))?;
        Ok(log.flatten().map(|entry| entry.file_name()).max())
    }

    fn kill_worker(&self, worker: u32) -> anyhow::Result<()> {
        let parent = format!("PPid:\t{}", self.child.id());
        let name = format!("/millstream-worker-{worker}-");
        for process in fs::read_dir("/proc")?.flatten() {
            let path = process.path();
            let read = |file| fs::read_to_string(path.join(file)).unwrap_or_default();
            if read("status").lines().any(|line| line == parent) && read("cmdline").contains(&name)
            {
                return signal("-KILL", &process.file_name().to_string_lossy());
            }
        }
        bail!("worker {worker} is not there")
    }

    fn stop(mut self) -> anyhow::Result<()> {
        signal("-TERM", &self.child.id().to_string())?;
        let said: Vec<_> = self.lines.by_ref().map_while(std::result::Result::ok).collect();
        ensure!(self.child.wait()?.success(), "it does not stop well: {}", said.join("\n"));
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // Both fail for one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(signal: &str, process: &str) -> anyhow::Result<()> {
    ensure!(Command::new("kill").args([signal, process]).status()?.success(), "cannot signal");
    Ok(())
}

fn size_of_files(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { size_of_files(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}
