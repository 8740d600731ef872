//! The kill test: killed at random moments, with other threads in each life, the job writes what an
//! undisturbed one writes.
//!
//! `MILLSTREAM_FAILURES_LIVES` says how often it is killed, `MILLSTREAM_FAILURES_SEEDS` for how
//! many seeds, and `MILLSTREAM_FAILURES_SEED` which is the first. Invariant: every difference is
//! reported with the seed that replays the choices (the moments themselves are the machine's).

use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use millstream_testkit::{Call, Fault, Life, Passage};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::input::Feed;
use crate::place::{PATIENCE, Parts, Place, RESUMED, RUNNING, is_put, number, parts};

/// How often the job is killed, and for how many seeds, where nobody says.
const LIVES: u64 = 5;
const SEEDS: u64 = 1;

/// Of so many lives, one at least goes on from a snapshot.
const LIVES_TO_RESUME: u64 = 20;

/// Where state is kept: a name, and the settings of the job for it.
pub(crate) const BACKENDS: [(&str, &[&str]); 2] =
    [("memory", &[]), ("rocksdb", &["spec.state.backend=RocksDB", "spec.state.memory=16Mi"])];

/// How many threads a life may have.
const THREADS: std::ops::RangeInclusive<u32> = 1..=4;
/// Records that come in a second into each of three partitions, and how many there are for each
/// life: for ten seconds, which are more than it takes.
const PER_SECOND: u32 = 100;
const PER_LIFE: u64 = 1000;
/// When a life is killed, in milliseconds after its start, or after its tasks run.
const STARTED_MS: std::ops::Range<u64> = 0..600;
const RUNNING_MS: std::ops::Range<u64> = 0..2000;
/// The same in microseconds after a request that was waited for.
const SEEN_US: std::ops::Range<u64> = 0..8000;
/// How many requests of its kind pass before that.
const PASS: std::ops::Range<usize> = 1..5;

/// How often it is looked whether that has come.
const LOOK_EVERY: Duration = Duration::from_micros(200);

/// What the store and the broker are asked for in the course of a snapshot.
const REQUESTS: [&str; 3] = ["/parts/", "/log/", "/committed/"];
const CALLS: [Call; 4] = [Call::TakeOver, Call::Produce, Call::WriteOffsets, Call::End];

/// When a life is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start.
    Started(Duration),
    /// So long after its tasks run.
    Running(Duration),
    /// So long after the store was asked for this for the nth time.
    Store(&'static str, usize, Duration),
    /// The same for the broker.
    Broker(Call, usize, Duration),
}

impl Moment {
    fn draw(rng: &mut SmallRng) -> Self {
        let after = Duration::from_micros(rng.random_range(SEEN_US));
        match rng.random_range(0..8) {
            0 => Self::Started(Duration::from_millis(rng.random_range(STARTED_MS))),
            1 => Self::Running(Duration::from_millis(rng.random_range(RUNNING_MS))),
            2 | 3 => {
                let request = REQUESTS[rng.random_range(0..REQUESTS.len())];
                Self::Store(request, rng.random_range(PASS), after)
            }
            _ => {
                let call = CALLS[rng.random_range(0..CALLS.len())];
                // An id is taken over once.
                let pass = if call == Call::TakeOver { 0 } else { rng.random_range(PASS) };
                Self::Broker(call, pass, after)
            }
        }
    }

    /// Begins to look for it.
    fn look(self, parts: &Parts, place: &Place) -> Receiver<()> {
        let (say, said) = sync_channel(1);
        let mut left = match self {
            Self::Store(_, pass, _) | Self::Broker(_, pass, _) => pass,
            Self::Started(_) | Self::Running(_) => 0,
        };
        let mut count = move |is_it: bool| {
            if is_it && left == 0 {
                let _ = say.try_send(());
            }
            left = left.saturating_sub(usize::from(is_it));
        };
        match self {
            Self::Store(below, ..) => place.proxy.rule(move |request| {
                count(is_put(request, below));
                Fault::None
            }),
            Self::Broker(call, ..) => parts.kafka.gate().rule(move |next| {
                count(next == call);
                Passage::Through
            }),
            Self::Started(_) | Self::Running(_) => {}
        }
        said
    }

    /// Waits until it is there; false where the process ends before.
    fn wait(self, life: &mut Life, said: &Receiver<()>) -> bool {
        match self {
            Self::Started(after) => life.go_on(after),
            Self::Running(after) => life.wait_for(RUNNING) && life.go_on(after),
            Self::Store(_, _, after) | Self::Broker(_, _, after) => {
                let mut looks = PATIENCE.as_micros() / LOOK_EVERY.as_micros();
                while said.try_recv().is_err() {
                    looks -= 1;
                    assert!(looks > 0, "{self:?} does not come:\n{}", life.said());
                    if !life.go_on(LOOK_EVERY) {
                        return false;
                    }
                }
                life.go_on(after)
            }
        }
    }
}

pub(crate) fn killed_at_random_moments_with_other_threads_each_time() {
    let parts = parts();
    let lives = number("MILLSTREAM_FAILURES_LIVES").unwrap_or(LIVES);
    let seeds = number("MILLSTREAM_FAILURES_SEEDS").unwrap_or(SEEDS);
    let first = number("MILLSTREAM_FAILURES_SEED").unwrap_or_else(|| std::process::id().into());
    for (seed, backend) in (first..first + seeds).flat_map(|seed| BACKENDS.map(|it| (seed, it))) {
        let mut lived = format!("seed {seed}, state in {}:", backend.0);
        killed(&parts, seed, lives, backend, &mut lived);
        println!("{lived}");
    }
}

fn killed(
    parts: &Parts,
    seed: u64,
    lives: u64,
    (backend, sets): (&str, &[&str]),
    lived: &mut String,
) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    let name = format!("killed-{seed}-{backend}");
    let place = Place::with_records(parts, &name, ((lives + 1) * PER_LIFE) as i64);
    let feed = place.feed_at(PER_SECOND);
    let (mut resumed, mut seen) = (0, 0);
    // Something to lose.
    let mut life = place.run(2, &sets);
    place.commits(&mut life, 2);
    life.kill();
    for _ in 0..lives {
        let (threads, moment) = (rng.random_range(THREADS), Moment::draw(&mut rng));
        let _ = write!(lived, " {threads}x{moment:?}");
        let said = moment.look(parts, &place);
        let mut life = place.start(threads, &sets);
        assert!(moment.wait(&mut life, &said), "{lived}: it ended:\n{}", life.said());
        let end = life.kill();
        assert_eq!(end.code, None, "{lived}: {end:?}");
        parts.kafka.gate().cut();
        place.proxy.pass();
        resumed += u32::from(end.said.contains(RESUMED));
        let now = place.check_part(lived)[0].len();
        assert!(now >= seen, "{lived}: what was visible is gone");
        seen = now;
    }
    let _ = write!(lived, " ({resumed} resumed, {seen} lines seen)");
    // Few lives may all end while they start.
    assert!(resumed > 0 || lives < LIVES_TO_RESUME, "{lived}");
    finish(parts, &place, feed, (&mut rng, &sets), lived);
}

/// One life more is killed while it hurries to the end, or at the end: it may get there before.
fn finish(
    parts: &Parts,
    place: &Place,
    feed: Feed,
    (rng, sets): (&mut SmallRng, &[String]),
    lived: &mut String,
) {
    feed.finish();
    let (threads, moment) = (rng.random_range(THREADS), Moment::draw(rng));
    let _ = write!(lived, " then {threads}x{moment:?}");
    let said = moment.look(parts, place);
    let mut life = place.start(threads, sets);
    moment.wait(&mut life, &said);
    let end = life.kill();
    assert!(matches!(end.code, None | Some(0)), "{lived}: {end:?}");
    parts.kafka.gate().cut();
    place.proxy.pass();
    let end = place.start(rng.random_range(THREADS), sets).end();
    assert_eq!(end.code, Some(0), "{lived}: {end:?}");
    place.check_complete(lived);
    // A run that finds the job finished touches nothing, and so clears nothing up.
    if !end.said.contains("had finished before") {
        place.check_orphans(parts, lived);
    }
    // A job that has finished stays as it is.
    let end = place.start(rng.random_range(THREADS), sets).end();
    assert_eq!(end.code, Some(0), "{lived}: {end:?}");
    place.check_complete(lived);
}
