//! The stories that the test tells: killed and started again, and two processes at once.
//!
//! Each runs in a directory of its own, with the job's file, its input, its store and its output in
//! it. Invariant: what a story compares with comes from a run that nobody disturbed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;

use crate::input::{self, RECORDS};
use crate::life::Life;
use crate::output::Output;
use crate::program::SINKS;

/// Why a test failed.
#[derive(Clone, Debug)]
pub(crate) struct Failed(pub(crate) String);

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// How many threads a life may have.
const THREADS: std::ops::RangeInclusive<u32> = 1..=3;
/// When a life is killed, in milliseconds after its tasks run: with a snapshot every 200 ms, some
/// lives get none and some get two.
const KILLED_AFTER_MS: std::ops::Range<u64> = 50..600;
/// The same after its start, for those that are killed while they claim and restore.
const KILLED_EARLY_MS: std::ops::Range<u64> = 0..120;
/// In microseconds after a snapshot was published, for those that are killed while they commit.
const KILLED_COMMITTING_US: std::ops::Range<u64> = 0..4000;
/// How often the log is looked at for that.
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// What a life may read for at the most, with time for a busy machine to be late: the input lasts
/// for all of them.
const LIFE_MS: u64 = 650;
/// Of so many lives, one at least goes on from a snapshot.
const LIVES_TO_RESUME: u32 = 5;
/// Faster than it can be read.
const RATE_MAX: u64 = 1_000_000_000;
/// How often a seed is begun anew, at half the rate, because the job ended before it was killed.
const TRIES: u32 = 3;

/// When a life is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start.
    Started(Duration),
    /// So long after its tasks run.
    Running(Duration),
    /// So long after it has published a snapshot.
    Published(Duration),
}

impl Moment {
    fn draw(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..4) {
            0 => Self::Started(Duration::from_millis(rng.random_range(KILLED_EARLY_MS))),
            1 => Self::Published(Duration::from_micros(rng.random_range(KILLED_COMMITTING_US))),
            _ => Self::Running(Duration::from_millis(rng.random_range(KILLED_AFTER_MS))),
        }
    }

    /// Waits until it is there; false if the process ended before.
    fn wait(self, life: &mut Life, place: &Place) -> Result<bool, Failed> {
        match self {
            Self::Started(after) => life.go_on(after),
            Self::Running(after) => Ok(life.wait_running()? && life.go_on(after)?),
            Self::Published(after) => {
                if !life.wait_running()? {
                    return Ok(false);
                }
                let entries = place.log_entries()?;
                while place.log_entries()? == entries {
                    if !life.go_on(LOOK_EVERY)? {
                        return Ok(false);
                    }
                }
                life.go_on(after)
            }
        }
    }
}

/// The place where one job runs.
struct Place {
    directory: TempDir,
    job: PathBuf,
}

impl Place {
    fn new() -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        let dir = directory.path().display();
        let text = format!(
            "apiVersion: millstream.dev/v1alpha1\n\
             kind: StreamJob\n\
             metadata: {{name: killed}}\n\
             spec:\n  \
               program: {{name: killed, args: {{dir: '{dir}'}}}}\n  \
               snapshots: {{store: 'file://{dir}/store', interval: 200ms}}\n"
        );
        let job = directory.path().join("job.yaml");
        std::fs::write(&job, text)?;
        input::write(directory.path())?;
        Ok(Self { directory, job })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn start(&self, threads: u32, rate: u64) -> Result<Life, Failed> {
        Life::start(&self.job, threads, rate)
    }

    /// How many entries the job's log has.
    fn log_entries(&self) -> Result<usize, Failed> {
        Ok(std::fs::read_dir(self.path().join("store/default/killed/log"))?.count())
    }

    /// Lets the job end by itself, and compares.
    fn finish(&self, threads: u32) -> Result<(), Failed> {
        let end = self.start(threads, RATE_MAX)?.end()?;
        if end.code != Some(0) {
            return Err(Failed(format!("the last life failed: {end:?}")));
        }
        self.check()
    }

    /// Compares the output with that of the undisturbed run.
    fn check(&self) -> Result<(), Failed> {
        let output = Output::read(self.path())?;
        output.check(reference()?)
    }
}

/// The output of an undisturbed run, made once: a failure too is the same for all.
fn reference() -> Result<&'static Output, Failed> {
    static REFERENCE: OnceLock<Result<Output, Failed>> = OnceLock::new();
    REFERENCE.get_or_init(undisturbed).as_ref().map_err(Clone::clone)
}

fn undisturbed() -> Result<Output, Failed> {
    let place = Place::new()?;
    let end = place.start(2, RATE_MAX)?.end()?;
    let all = format!("finished: {} records in", 2 * RECORDS);
    if end.code != Some(0) || !end.said.contains(&all) || !end.said.contains(", 0 late") {
        return Err(Failed(format!("the undisturbed run was to read all, none late: {end:?}")));
    }
    let output = Output::read(place.path())?;
    if output.lines("scanned") != RECORDS as usize || SINKS.iter().any(|s| output.lines(s) < 100) {
        return Err(Failed("the undisturbed run wrote too little to compare with".to_owned()));
    }
    let lines: Vec<_> = SINKS.iter().map(|sink| format!("{sink} {}", output.lines(sink))).collect();
    println!("undisturbed: {} lines", lines.join(", "));
    Ok(output)
}

/// Kills the job so often, with threads and moments drawn from the seed, then lets it end.
pub(crate) fn killed(seed: u64, lives: u32) -> Result<(), Failed> {
    reference()?;
    let mut rate = RECORDS * 1000 / (u64::from(lives) * LIFE_MS);
    for _ in 0..TRIES {
        let mut lived = String::new();
        let done = killed_at(seed, lives, rate, &mut lived);
        match done {
            Ok(true) => {
                println!("seed {seed}:{lived}");
                return Ok(());
            }
            Ok(false) => rate = (rate / 2).max(1),
            Err(Failed(message)) => {
                return Err(Failed(format!(
                    "seed {seed}:{lived}\n{message}\nagain: MILLSTREAM_KILL_SEED={seed} \
                     MILLSTREAM_KILL_LIVES={lives} cargo test -p millstream-worker --test kill"
                )));
            }
        }
    }
    Err(Failed(format!(
        "seed {seed}: {TRIES} times the job ended before it was killed {lives} times"
    )))
}

/// One try at a rate; false if the job ended too early.
fn killed_at(seed: u64, lives: u32, rate: u64, lived: &mut String) -> Result<bool, Failed> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let place = Place::new()?;
    let mut resumed = 0;
    for _ in 0..lives {
        let (threads, moment) = (rng.random_range(THREADS), Moment::draw(&mut rng));
        let _ = write!(lived, " {threads}x{moment:?}");
        let mut life = place.start(threads, rate)?;
        if !moment.wait(&mut life, &place)? {
            return ended_early(life);
        }
        resumed += u32::from(life.kill()?.resumed());
    }
    // Else there was nothing to lose: kills came faster than snapshots.
    let _ = write!(lived, " ({resumed} resumed)");
    if resumed == 0 && lives >= LIVES_TO_RESUME {
        return Err(Failed("no life resumed from a snapshot".to_owned()));
    }
    // One more is killed while it hurries to the end, or at the end: it may get there before.
    let (threads, moment) = (rng.random_range(THREADS), Moment::draw(&mut rng));
    let _ = write!(lived, " then {threads}x{moment:?}");
    let mut life = place.start(threads, RATE_MAX)?;
    if moment.wait(&mut life, &place)? {
        life.kill()?;
    }
    place.finish(rng.random_range(THREADS))?;
    // A job that has finished stays as it is.
    place.finish(rng.random_range(THREADS))?;
    Ok(true)
}

/// Tells a life that had no records left from one that failed.
fn ended_early(life: Life) -> Result<bool, Failed> {
    let end = life.end()?;
    if end.code == Some(0) { Ok(false) } else { Err(Failed(format!("a life failed: {end:?}"))) }
}

/// Starts a second process on a job that runs: it takes the job, and the first one stops.
pub(crate) fn two_processes(threads: u32) -> Result<(), Failed> {
    reference()?;
    let place = Place::new()?;
    let mut first = place.start(threads, RECORDS / 20)?;
    if !first.wait_running()? || !first.go_on(Duration::from_millis(500))? {
        return Err(Failed(format!("the first process ended by itself: {:?}", first.end()?)));
    }
    first.disturb();
    let mut second = place.start(threads + 1, RECORDS / 20)?;
    if !second.wait_running()? {
        return Err(Failed(format!("the second process ended by itself: {:?}", second.end()?)));
    }
    let end = first.end()?;
    let says_why = end
        .said
        .lines()
        .any(|line| line.starts_with("error: killed: a newer run of this job owns it now: "));
    if end.code != Some(3) || !says_why {
        return Err(Failed(format!("the first process was to stop with code 3: {end:?}")));
    }
    if !second.go_on(Duration::from_millis(500))? {
        return Err(Failed(format!("the second process did not go on: {:?}", second.end()?)));
    }
    second.kill()?;
    place.finish(threads)
}
