//! Coordinators that come and go while the tasks go on, on workers that others have started.
//!
//! Invariant: what one coordinator had begun, the next one ends or gives up; nothing is lost or
//! done twice by that.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use millstream_testkit::free_ports;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::place::{Place, RESTARTS, RUNNING, number, parts};

/// How long, where nobody says.
const SECONDS: u64 = 40;
/// Records that come in a second into each partition.
const PER_SECOND: u32 = 100;
/// How long a coordinator lives, in milliseconds: some see no snapshot, some see several.
const LIVES_MS: std::ops::Range<u64> = 50..2500;
/// One in so many ends with the death of a worker.
const WORKER_DIES: u32 = 6;
/// What is said where tasks go on.
const TAKES_OVER: &str = " continues from its running tasks ";

#[expect(clippy::disallowed_methods, reason = "the bound of what happens to other processes")]
fn now() -> Instant {
    Instant::now()
}

pub(crate) fn coordinators_come_and_go_while_the_tasks_go_on() {
    let parts = parts();
    let seed = number("MILLSTREAM_CHAOS_SEED").unwrap_or_else(|| std::process::id().into());
    let seconds = number("MILLSTREAM_CHAOS_SECONDS").map_or(SECONDS, |all| all.div_ceil(2));
    let mut rng = SmallRng::seed_from_u64(seed);
    let records = seconds * u64::from(PER_SECOND) * 2;
    let place = Place::with_records(&parts, "outlive", records as i64);
    let feed = place.feed_at(PER_SECOND);
    let addresses = free_ports::<2>().map(|port| format!("127.0.0.1:{port}"));
    let mut served: Vec<_> = addresses.iter().map(|address| place.serve(address)).collect();
    let restart = ["spec.restart.initialBackoff=100ms", "spec.restart.maxBackoff=1s"];
    let sets = restart.map(str::to_owned);
    let start = || place.start_with(&["--at", &addresses.join(",")], &sets);
    let mut lived = format!("outlive, seed {seed}:");
    let until = now() + Duration::from_secs(seconds);
    let (mut taken_over, mut restarts) = (0, 0);
    while now() < until {
        let mut life = start();
        let alive = Duration::from_millis(rng.random_range(LIVES_MS));
        let _ = write!(lived, " {alive:?}");
        if rng.random_range(0..4) > 0 {
            assert!(life.wait_for(RUNNING), "{lived}: it ended:\n{}", life.said());
        }
        assert!(life.go_on(alive), "{lived}: it ended:\n{}", life.said());
        if rng.random_range(0..WORKER_DIES) == 0 {
            let dies = rng.random_range(0..served.len());
            let _ = write!(lived, " worker {dies} dies");
            // It is gone, and with it who listens there, before the next one comes.
            served.remove(dies).kill();
            served.insert(dies, place.serve(&addresses[dies]));
        }
        taken_over += usize::from(life.said().contains(TAKES_OVER));
        restarts += life.said().matches(RESTARTS).count();
        life.kill();
    }
    feed.finish();
    let life = start();
    let end = life.end();
    assert_eq!(end.code, Some(0), "{lived}: {end:?}");
    place.check_all(&parts, &lived);
    println!("{lived} ({taken_over} taken over, {restarts} restarts)");
    assert!(taken_over > 3, "{lived}");
}
