//! Chaos: a job in several processes, of which any is killed or held up every few seconds, the
//! coordinator's too, and which goes on with other numbers of workers, while it runs and from start
//! to start, and other backends, in the clear or by TLS.
//!
//! `MILLSTREAM_CHAOS_SECONDS` says for how long, `MILLSTREAM_CHAOS_SEEDS` for how many seeds, and
//! `MILLSTREAM_CHAOS_SEED` which is the first. Invariant: every difference is reported with the
//! seed that replays the choices (the moments themselves are the machine's).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use millstream_testkit::{Authority, Certificate, Life};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::killed::BACKENDS;
use crate::place::{Place, RESTARTS, RESUMED, RUNNING, number, parts};
use crate::workers::{signal, workers};

/// How long, and for how many seeds, where nobody says.
const SECONDS: u64 = 100;
const SEEDS: u64 = 1;

/// Workers of the coordinators that follow each other.
const WORKERS: [u32; 4] = [1, 3, 2, 4];
/// What happens to the workers of one coordinator before it ends.
const EVENTS: std::ops::Range<u32> = 2..6;
/// Between two things that happen, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 200..3000;
/// How long a worker is held, in milliseconds: some are found out, some are not.
const HELD_MS: std::ops::Range<u64> = 100..8000;
/// How long a coordinator is.
const COORDINATOR_HELD_MS: std::ops::Range<u64> = 100..3000;

/// Records that come in a second into each partition.
const PER_SECOND: u32 = 100;

/// What happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    KillWorker,
    HoldWorker(Duration),
    HoldCoordinator(Duration),
    /// The job is to go on with so many workers.
    Scale(u32),
}

fn milliseconds(rng: &mut SmallRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

impl Event {
    fn draw(rng: &mut SmallRng) -> Self {
        match rng.random_range(0..7) {
            0 | 1 => Self::KillWorker,
            2 | 3 => Self::Scale(WORKERS[rng.random_range(0..WORKERS.len())]),
            4 | 5 => Self::HoldWorker(milliseconds(rng, HELD_MS)),
            _ => Self::HoldCoordinator(milliseconds(rng, COORDINATOR_HELD_MS)),
        }
    }
}

/// A process that is held, and until when.
struct Held {
    process: u32,
    until: Instant,
}

/// What happens to a job.
struct Chaos<'p> {
    place: &'p Place,
    /// Whose certificates the processes have where they talk by TLS.
    ca: Authority,
    rng: SmallRng,
    held: Vec<Held>,
    /// Coordinators that were killed. Their workers may be held.
    killed: Vec<Life>,
    /// Those who have asked for other workers.
    scaling: Vec<Life>,
    until: Instant,
    /// What happened, to be told.
    lived: String,
    resumed: usize,
    restarts: usize,
    scaled: usize,
}

#[expect(clippy::disallowed_methods, reason = "the bound of what happens to other processes")]
fn now() -> Instant {
    Instant::now()
}

pub(crate) fn workers_and_coordinators_are_killed_and_held_at_random() {
    let parts = parts();
    let seconds = number("MILLSTREAM_CHAOS_SECONDS").unwrap_or(SECONDS);
    let seeds = number("MILLSTREAM_CHAOS_SEEDS").unwrap_or(SEEDS);
    let first = number("MILLSTREAM_CHAOS_SEED").unwrap_or_else(|| std::process::id().into());
    for seed in first..first + seeds {
        // Twice as many as come meanwhile: the end is hurried to.
        let records = seconds * u64::from(PER_SECOND) * 2;
        let place = Place::with_records(&parts, &format!("chaos-{seed}"), records as i64);
        let feed = place.feed_at(PER_SECOND);
        let mut chaos = Chaos {
            place: &place,
            ca: Authority::new("chaos"),
            rng: SmallRng::seed_from_u64(seed),
            held: Vec::new(),
            killed: Vec::new(),
            scaling: Vec::new(),
            until: now() + Duration::from_secs(seconds),
            lived: format!("chaos, seed {seed}:"),
            resumed: 0,
            restarts: 0,
            scaled: 0,
        };
        for workers in WORKERS.into_iter().cycle() {
            chaos.live(workers);
            if now() >= chaos.until {
                break;
            }
        }
        feed.finish();
        let lived = chaos.finish();
        place.check_all(&parts, &lived);
        println!("{lived}");
    }
}

impl Chaos<'_> {
    /// A coordinator with so many workers, until it ends.
    fn live(&mut self, workers: u32) {
        let mut life = self.start(workers);
        assert!(life.wait_for(RUNNING), "{}: it ended:\n{}", self.lived, life.said());
        for _ in 0..self.rng.random_range(EVENTS) {
            let pause = milliseconds(&mut self.rng, PAUSE_MS);
            self.pass(&mut life, pause);
            let event = Event::draw(&mut self.rng);
            let _ = write!(self.lived, " {event:?}");
            self.happen(event, &mut life);
        }
        let pause = milliseconds(&mut self.rng, PAUSE_MS);
        self.pass(&mut life, pause);
        // Some are still waited for, because something else happened.
        self.scaled +=
            self.scaling.drain(..).map(Life::kill).filter(|it| it.code == Some(0)).count();
        self.resumed += usize::from(life.said().contains(RESUMED));
        self.restarts += life.said().matches(RESTARTS).count();
        if self.rng.random_bool(0.7) {
            let _ = write!(self.lived, " KillCoordinator;");
            life.signal("KILL");
            self.killed.push(life);
        } else {
            let _ = write!(self.lived, " Stop;");
            // All are to take part in the last snapshot.
            self.let_go();
            life.signal("TERM");
            let end = life.end();
            // A job that just restarts stops without another snapshot, and says so.
            assert!(matches!(end.code, Some(0 | 4)), "{}: {end:?}", self.lived);
        }
    }

    fn start(&mut self, workers: u32) -> Life {
        let (backend, sets) = BACKENDS[self.rng.random_range(0..BACKENDS.len())];
        let restart = ["spec.restart.initialBackoff=100ms", "spec.restart.maxBackoff=1s"];
        let sets: Vec<_> = sets.iter().chain(&restart).map(|set| (*set).to_owned()).collect();
        let _ = write!(self.lived, " {workers} workers, {backend}");
        let workers = workers.to_string();
        let mut args = vec!["--workers", &workers, "--threads", "1"];
        if self.rng.random_bool(0.5) {
            // Those of an earlier coordinator may still look at them.
            self.ca.write(&self.place.path("tls"), &Certificate::default());
            args.extend(["--tls", "tls"]);
            self.lived += " by TLS";
        }
        self.lived.push(':');
        self.place.start_with(&args, &sets)
    }

    /// Lets time pass, in which those are let go whose time is over.
    fn pass(&mut self, life: &mut Life, time: Duration) {
        let until = now() + time;
        loop {
            let due = self.held.iter().map(|held| held.until).chain([until]).min();
            let pause = due.unwrap_or(until).saturating_duration_since(now());
            assert!(life.go_on(pause), "{}: it ended:\n{}", self.lived, life.said());
            let now = now();
            for over in self.held.extract_if(.., |held| held.until <= now) {
                signal("-CONT", over.process);
            }
            if now >= until {
                return;
            }
        }
    }

    fn happen(&mut self, event: Event, life: &mut Life) {
        if let Event::HoldCoordinator(time) = event {
            life.signal("STOP");
            self.pass(life, time);
            life.signal("CONT");
            return;
        }
        if let Event::Scale(workers) = event {
            self.scaling.push(self.place.scale(workers));
            return;
        }
        let workers = workers(life.id());
        // All may be on their way at the moment.
        if workers.is_empty() {
            return;
        }
        let picked = self.rng.random_range(0..workers.len());
        let process = *workers.values().nth(picked).expect("it is one of them");
        match event {
            Event::HoldWorker(time) if signal("-STOP", process) => {
                self.held.push(Held { process, until: now() + time });
            }
            Event::KillWorker => {
                signal("-KILL", process);
            }
            _ => {}
        }
    }

    fn let_go(&mut self) {
        for held in self.held.drain(..) {
            signal("-CONT", held.process);
        }
    }

    /// Lets the job come to its end, and all processes.
    fn finish(mut self) -> String {
        let workers = self.rng.random_range(1..4);
        let mut life = self.start(workers);
        assert!(life.wait_for(RUNNING), "{}: it ended:\n{}", self.lived, life.said());
        self.let_go();
        for killed in self.killed.drain(..) {
            let end = killed.end();
            assert_eq!(end.code, None, "{}: {end:?}", self.lived);
        }
        let end = life.end();
        assert_eq!(end.code, Some(0), "{}: {end:?}", self.lived);
        let _ = write!(
            self.lived,
            " ({} resumed, {} restarts, {} scaled)",
            self.resumed, self.restarts, self.scaled
        );
        assert!(self.resumed > 0 && self.restarts > 0, "{}", self.lived);
        std::mem::take(&mut self.lived)
    }
}

impl Drop for Chaos<'_> {
    /// Whoever is held would stay for ever.
    fn drop(&mut self) {
        self.let_go();
    }
}
