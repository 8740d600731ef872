//! Schedules of the model: none, and thousands of, faults.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, available_parallelism};

use super::simulation::World;

/// Runs one schedule; where something does not hold, prints what led to it.
fn simulate(seed: u64) -> World {
    let mut world = World::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| world.run()));
    if let Err(panic) = result {
        let reason = panic.downcast::<String>().map_or_else(|_| String::new(), |text| *text);
        let trace = world.trace.join("\n");
        panic!("{trace}\n{reason}\nreplay it by building with COORDINATOR_SEEDS=={seed}");
    }
    world
}

/// Where nothing breaks, nothing restarts, and the log has a claim and then manifests only.
#[test]
fn undisturbed_there_is_one_run_without_a_restart() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.chance.on = false;
        world.run();
        let runs = world.outside.entries().filter(|(_, entry)| entry.as_claim().is_some()).count();
        assert_eq!((world.hosts.len(), runs), (1, 1), "seed {seed}");
        let status = world.hosts[0].machine.status();
        assert_eq!(status.restarts, 0);
        assert_eq!(status.snapshot_failure, None);
        let kept =
            world.outside.entries().filter(|(_, entry)| entry.as_manifest().is_some()).count();
        assert_eq!(kept, 3, "seed {seed}: the newest three are kept");
        let parts = world.outside.parts().len();
        let epochs = world.outside.log().len() - 1;
        let workers = world.hosts[0].workers.len();
        assert!(parts <= epochs * workers, "{parts} parts for {epochs} epochs");
    }
}

/// The seeds to simulate: what the environment of the build says, `20000` of them, `1000..2000`, or
/// just `=17`.
fn seeds() -> Range<u64> {
    let given = option_env!("COORDINATOR_SEEDS").unwrap_or("600");
    let number = |text: &str| -> u64 {
        text.parse().unwrap_or_else(|error| panic!("COORDINATOR_SEEDS is {given:?}: {error}"))
    };
    match (given.strip_prefix('='), given.split_once("..")) {
        (Some(seed), _) => number(seed)..number(seed) + 1,
        (None, Some((first, end))) => number(first)..number(end),
        (None, None) => 0..number(given),
    }
}

/// Each seed is a schedule of crashes, pauses, rivals, takeovers, edits, savepoints that come and
/// go, stalled and lost writes, lost, late and doubled messages. In each, the log is one line,
/// nothing unpublished is visible, nothing named is deleted, and in the end each record is visible
/// once.
#[test]
fn whatever_breaks_each_record_is_visible_once() {
    let seeds = seeds();
    let count = seeds.end - seeds.start;
    let next = AtomicU64::new(seeds.start);
    let (taken_over, rescaled) = (AtomicU64::new(0), AtomicU64::new(0));
    let let_go = AtomicU64::new(0);
    let left_in = Mutex::new(BTreeSet::new());
    let simulate_on = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        let world = simulate(seed);
        let claims = world.outside.entries().filter_map(|(_, entry)| entry.as_claim().cloned());
        let over = claims.into_iter().any(|claim| claim.term.0 > 1);
        taken_over.fetch_add(over.into(), Ordering::Relaxed);
        rescaled.fetch_add(world.rescaled.into(), Ordering::Relaxed);
        let_go.fetch_add(world.outside.let_go as u64, Ordering::Relaxed);
        left_in.lock().unwrap().extend(world.left_in);
    };
    thread::scope(|scope| {
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            scope.spawn(simulate_on);
        }
    });
    let (taken_over, rescaled) = (taken_over.into_inner(), rescaled.into_inner());
    if count >= 100 {
        assert!(taken_over > count / 10, "{taken_over} of {count} had a run that was taken over");
        assert!(rescaled > count / 20, "{rescaled} of {count} were rescaled while they ran");
        let let_go = let_go.into_inner();
        assert!(let_go > count / 50, "{let_go} savepoints were let go in {count}");
        let left_in: Vec<String> = left_in.into_inner().unwrap().into_iter().collect();
        let everywhere = [
            "Adopting",
            "Claiming",
            "Deploying",
            "Resolving",
            "Restarting",
            "Running",
            "Stopping",
            "Waiting",
        ];
        assert_eq!(left_in, everywhere, "where jobs heard that a worker leaves");
    }
}
